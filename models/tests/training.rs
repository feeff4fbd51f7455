//! Training: it learns, it stops and goes on exactly, and it survives what goes wrong.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use primer_models::checkpoint::{Checkpoint, CheckpointDir};
use primer_models::generate::SampleOptions;
use primer_models::optim::Optimizer;
use primer_models::text::{Corpus, Part};
use primer_models::train::{BLOCKS, Event, Limit, RunFolder, Trainer, calibrate};
use primer_models::{Arch, Error, LanguageModel, RunConfig, Size, metrics};
use primer_tensor::Device;
use tempfile::tempdir;

use crate::models::tiny;

static GO: AtomicBool = AtomicBool::new(false);

fn device() -> Device {
    Device::cpu()
}

fn config(arch: Arch) -> RunConfig {
    let mut config = RunConfig { model: tiny(arch), ..RunConfig::new(arch, Size::Nano) };
    config.train.batch = 4;
    config.train.steps = 20;
    config.train.log_every = 5;
    config.train.eval_every = 10;
    config.train.checkpoint_every = 10;
    config.schedule.warmup = 3;
    config.optimizer.learning_rate = 1e-2;
    config
}

fn corpus() -> Corpus {
    let text: String = (0..400).map(|i| format!("{} sheep jump over the fence\n", i % 10)).collect();
    Corpus::from_text("sheep", text.as_bytes()).unwrap()
}

fn losses(events: &[Event]) -> Vec<f64> {
    events.iter().filter_map(|e| if let Event::Progress(p) = e { Some(p.loss) } else { None }).collect()
}

#[test]
fn the_loss_falls_on_a_regular_text() {
    for arch in Arch::ALL {
        let mut config = config(arch);
        config.train.steps = 60;
        let mut trainer = Trainer::new(&config, &corpus(), &device()).unwrap();
        let before = trainer.evaluate().unwrap();
        let mut events = Vec::new();
        trainer.run(60, &GO, &mut |e| events.push(e)).unwrap();
        let after = trainer.evaluate().unwrap();
        assert!(before > 5.0 && after < 3.0, "{arch}: {before} to {after}");
        let losses = losses(&events);
        assert_eq!(losses.len(), 12);
        assert!(losses[11] < losses[0] - 1.0, "{losses:?}");
    }
}

#[test]
fn a_resumed_run_is_the_run_that_never_stopped() {
    let folder = tempdir().unwrap();
    let every = Arch::ALL.map(|arch| (arch, Optimizer::Adamw));
    for (arch, optimizer) in every.into_iter().chain([(Arch::Vanilla, Optimizer::Adafactor)]) {
        let mut config = config(arch);
        config.optimizer.optimizer = optimizer;
        let mut whole = Trainer::new(&config, &corpus(), &device()).unwrap();
        whole.run(20, &GO, &mut |_| {}).unwrap();

        let mut first = Trainer::new(&config, &corpus(), &device()).unwrap();
        // An odd border: between two readings of the loss.
        first.run(8, &GO, &mut |_| {}).unwrap();
        let path = folder.path().join(format!("{arch}.safetensors"));
        first.checkpoint().unwrap().write(&path).unwrap();
        let mut second = Trainer::resume(&config, &corpus(), &device(), &path).unwrap();
        second.run(20, &GO, &mut |_| {}).unwrap();

        let (a, b) = (whole.checkpoint().unwrap(), second.checkpoint().unwrap());
        assert_eq!(a.step, b.step);
        // No assert_eq: a difference would print every weight.
        assert!(a.weights == b.weights, "{arch}: other weights");
        assert!(a.optimizer == b.optimizer, "{arch}: other moments");
    }
}

#[test]
fn accumulated_gradients_are_those_of_one_batch() {
    let mut whole = config(Arch::PrimerEz);
    let mut parts = whole.clone();
    (whole.train.batch, parts.train.batch, parts.train.accumulate) = (4, 2, 2);
    whole.optimizer.clip_norm = 0.0;
    parts.optimizer.clip_norm = 0.0;
    // On a text of one sequence repeated, all batches are the same, whatever their size.
    let text = Corpus::from_text("same", &b"abcdefghijkl".repeat(200)).unwrap();
    let after = |config: &RunConfig| {
        let mut trainer = Trainer::new(config, &text, &device()).unwrap();
        let mut events = Vec::new();
        trainer.run(5, &GO, &mut |e| events.push(e)).unwrap();
        (trainer.checkpoint().unwrap(), losses(&events), trainer.tokens_per_step())
    };
    let ((a, a_losses, a_tokens), (b, b_losses, b_tokens)) = (after(&whole), after(&parts));
    assert_eq!((a.step, a_tokens), (b.step, b_tokens));
    assert!(a_losses[0].is_finite() && (a_losses[0] - b_losses[0]).abs() < 1e-4, "{a_losses:?} {b_losses:?}");
    for (a, b) in a.weights.iter().zip(&b.weights) {
        let largest = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 2e-3, "{}: {largest}", a.name);
    }
    // Taken up again, it goes on in every bit.
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    b.write(&path).unwrap();
    let mut resumed = Trainer::resume(&parts, &text, &device(), &path).unwrap();
    resumed.run(8, &GO, &mut |_| {}).unwrap();
    let mut straight = Trainer::new(&parts, &text, &device()).unwrap();
    straight.run(8, &GO, &mut |_| {}).unwrap();
    assert!(resumed.checkpoint().unwrap().weights == straight.checkpoint().unwrap().weights);
}

#[test]
fn z_loss_keeps_the_denominator_near_1() {
    let with = |z_loss: f64| {
        let mut config = config(Arch::Vanilla);
        config.train.z_loss = z_loss;
        config.train.steps = 100;
        let mut trainer = Trainer::new(&config, &corpus(), &device()).unwrap();
        trainer.run(100, &GO, &mut |_| {}).unwrap();
        // Log-probabilities hide the denominator, so look at the logits.
        let model = primer_models::arch::Model::build(&config.model, 1).unwrap();
        let program = primer_tensor::Program::trace(&[model.logits.logsumexp().square().mean()], &[]).unwrap();
        let mut state = model.initial_state(&device(), 0).unwrap();
        for tensor in trainer.checkpoint().unwrap().weights {
            state.insert(&tensor.name, tensor.shape, &tensor.data).unwrap();
        }
        let mut executable = device().compile(&program).unwrap();
        let tokens: Vec<u32> =
            corpus().text(Part::Train, config.model.seq).unwrap().iter().map(|&b| u32::from(b)).collect();
        let inputs = [(primer_models::arch::TOKENS, primer_tensor::Data::U32(&tokens))];
        executable.run(&mut state, &inputs).unwrap();
        executable.output(0).unwrap()[0]
    };
    let (without, kept) = (with(0.0), with(0.5));
    assert!(kept < 0.5 * without, "{kept} against {without}");
}

#[test]
fn a_run_s_folder_can_be_left_and_taken_up() {
    let folder = tempdir().unwrap();
    let config = config(Arch::PrimerEz);
    let mut events = Vec::new();
    let mut run = RunFolder::create(folder.path(), &config, &corpus(), &device()).unwrap();
    run.run(Limit::Steps(10), &GO, &mut |e| events.push(e)).unwrap();
    assert!(events.iter().any(|e| matches!(e, Event::Saved { step: 10, .. })), "{events:?}");
    drop(run);

    let stored = RunFolder::config(folder.path(), RunConfig::new(Arch::Vanilla, Size::Mini)).unwrap();
    assert_eq!(stored, config);
    // The same device again, and then another.
    let on = |device: Device| RunFolder::resume(folder.path(), &stored, &corpus(), &device).unwrap();
    let lines = || std::fs::read_to_string(folder.path().join("devices.txt")).unwrap();
    let first = device().signature();
    assert_eq!(on(device()).device_before(), None);
    assert_eq!(lines(), format!("{first}\n"));
    assert_eq!(on(Device::reference()).device_before(), Some(first.as_str()));
    assert_eq!(lines(), format!("{first}\nreference (f64)\n"));
    let mut run = on(device());
    assert_eq!(lines(), format!("{first}\nreference (f64)\n{first}\n"));
    run.run(Limit::Steps(20), &GO, &mut |_| {}).unwrap();
    let lines = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = lines.iter().filter(|m| m.train_loss.is_some()).map(|m| m.step).collect();
    // Where a step takes seconds, others are read too.
    assert!([5, 10, 15, 20].iter().all(|step| steps.contains(step)), "{steps:?}");
    let evaluated: Vec<u64> = lines.iter().filter(|m| m.valid_loss.is_some()).map(|m| m.step).collect();
    assert_eq!(evaluated, [10, 20]);
    assert!(lines.windows(2).all(|w| w[0].seconds <= w[1].seconds));
    let best =
        lines.iter().filter(|m| m.valid_loss.is_some()).min_by(|a, b| a.valid_loss.partial_cmp(&b.valid_loss).unwrap());
    let kept = Checkpoint::read(&folder.path().join("checkpoints/best.safetensors")).unwrap();
    assert_eq!(kept.step, best.unwrap().step);

    let mut language = LanguageModel::load(folder.path(), &device()).unwrap();
    let options = SampleOptions { tokens: 20, seed: 4, ..SampleOptions::default() };
    let mut streamed = Vec::new();
    let text = language.sample(b"3 sheep", &options, &mut |bytes| {
        streamed.extend_from_slice(bytes);
        true
    });
    assert_eq!(text.unwrap(), streamed);
    assert_eq!(streamed.len(), 20);
    let again = language.sample(b"3 sheep", &options, &mut |_| true).unwrap();
    assert_eq!(again, streamed, "a seed fixes the text");
}

/// Nothing of a longer run that was in the folder before is left for the new one to go on with.
#[test]
fn a_run_takes_the_place_of_another() {
    let folder = tempdir().unwrap();
    let config = config(Arch::Vanilla);
    let mut sampled = config.clone();
    (sampled.train.sample_every, sampled.text.tokenizer) = (10, "bpe:300".parse().unwrap());
    let tokenizer = sampled.text.tokenizer.train(&corpus()).unwrap();
    sampled.model.vocab = tokenizer.vocab();
    let pairs = corpus().with_tokenizer(tokenizer);
    let mut first = RunFolder::create(folder.path(), &sampled, &pairs, &device()).unwrap();
    first.run(Limit::Steps(20), &GO, &mut |_| {}).unwrap();
    drop(first);

    let second = RunFolder::create(folder.path(), &config, &corpus(), &device()).unwrap();
    drop(second);
    let resumed = || RunFolder::resume(folder.path(), &config, &corpus(), &device());
    let error = resumed().unwrap_err();
    assert!(matches!(error, Error::NoCheckpoint { .. }), "{error}");
    let left = |name: &str| folder.path().join(name).exists();
    assert!(!left("samples.jsonl") && !left("tokenizer.json") && !left("checkpoints/best.safetensors"));
    let mut third = RunFolder::create(folder.path(), &config, &corpus(), &device()).unwrap();
    third.run(Limit::Steps(10), &GO, &mut |_| {}).unwrap();
    drop(third);
    assert_eq!(resumed().unwrap().trainer().step(), 10);
}

#[test]
fn stopping_ends_in_a_checkpoint() {
    let folder = tempdir().unwrap();
    let stop = AtomicBool::new(true);
    let mut run = RunFolder::create(folder.path(), &config(Arch::Vanilla), &corpus(), &device()).unwrap();
    let path = run.run(Limit::Steps(1000), &stop, &mut |_| {}).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().step, 0);
}

#[test]
fn slices_do_at_least_a_step_and_report_it() {
    let mut trainer = Trainer::new(&config(Arch::Vanilla), &corpus(), &device()).unwrap();
    let mut events = Vec::new();
    let slice = trainer.run_slice(Duration::ZERO, &GO, &mut |e| events.push(e)).unwrap();
    assert_eq!((slice.steps, trainer.step(), losses(&events).len()), (1, 1, 1));
    assert!(slice.seconds > 0.0);
}

#[test]
fn another_text_or_a_spoilt_file_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let config = config(Arch::Vanilla);
    let trainer = Trainer::new(&config, &corpus(), &device()).unwrap();
    let whole = trainer.checkpoint().unwrap();
    whole.write(&path).unwrap();

    let other = Corpus::from_text("other", &b"another text entirely\n".repeat(40)).unwrap();
    let error = Trainer::resume(&config, &other, &device(), &path).unwrap_err();
    assert!(matches!(error, Error::OtherCorpus { .. }), "{error}");

    let mut wider = config.clone();
    wider.model.d_ff = 48;
    let error = Trainer::resume(&wider, &corpus(), &device(), &path).unwrap_err();
    assert!(matches!(error, Error::OtherShape { .. }), "{error}");

    let primer = RunConfig { model: tiny(Arch::PrimerEz), ..config.clone() };
    let error = Trainer::resume(&primer, &corpus(), &device(), &path).unwrap_err();
    assert!(matches!(error, Error::OtherArchitecture { .. }), "{error}");

    // Weights of the same shapes mean something else with other heads.
    let mut heads = config.clone();
    heads.model.heads = 1;
    let error = Trainer::resume(&heads, &corpus(), &device(), &path).unwrap_err();
    assert!(matches!(&error, Error::OtherModel { key, .. } if key == "model.heads"), "{error}");

    for seconds in [f64::NAN, f64::INFINITY, -1.0] {
        Checkpoint { seconds, ..whole.clone() }.write(&path).unwrap();
        let error = Trainer::resume(&config, &corpus(), &device(), &path).unwrap_err();
        assert!(matches!(error, Error::DamagedCheckpoint { .. }), "{error}");
    }

    Checkpoint { optimizer: None, ..whole.clone() }.write(&path).unwrap();
    let error = Trainer::resume(&config, &corpus(), &device(), &path).unwrap_err();
    assert!(matches!(error, Error::DamagedCheckpoint { .. }), "{error}");
    assert!(LanguageModel::load(&path, &device()).is_ok(), "weights alone are enough to read with");

    whole.write(&path).unwrap();
    let mut other = config.clone();
    other.optimizer.optimizer = Optimizer::Adafactor;
    let error = Trainer::resume(&other, &corpus(), &device(), &path).unwrap_err().to_string();
    assert!(error.contains("adamw, not with adafactor"), "{error}");

    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Trainer::resume(&config, &corpus(), &device(), &path).unwrap_err();
    assert!(matches!(error, Error::DamagedCheckpoint { .. }), "{error}");
}

#[test]
fn a_short_text_is_refused_before_anything_is_built() {
    let short = Corpus::from_text("short", b"too short").unwrap();
    let error = Trainer::new(&config(Arch::Vanilla), &short, &device()).unwrap_err();
    assert!(matches!(error, Error::ShortCorpus { .. }), "{error}");
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let config = config(Arch::Vanilla);
    let mut trainer = Trainer::new(&config, &corpus(), &device()).unwrap();
    trainer.run(2, &GO, &mut |_| {}).unwrap();
    let mut spoilt = trainer.checkpoint().unwrap();
    let name = "blocks.0.ffn.b2";
    let bias = spoilt.weights.iter_mut().find(|t| t.name == name).unwrap();
    bias.data[0] = f32::INFINITY;
    spoilt.write(&path).unwrap();

    let mut trainer = Trainer::resume(&config, &corpus(), &device(), &path).unwrap();
    let mut events = Vec::new();
    trainer.run(5, &GO, &mut |e| events.push(e)).unwrap();
    assert!(events.iter().any(|e| matches!(e, Event::NonFinite { step: 5 })), "{events:?}");
    let after = trainer.checkpoint().unwrap();
    assert_eq!(after.weights, spoilt.weights);
    assert_eq!(after.optimizer, spoilt.optimizer);
}

#[test]
fn steps_are_timed_in_blocks_until_someone_stops_it() {
    let configs = [Arch::Vanilla, Arch::PrimerEz].map(config);
    let mut heard = Vec::new();
    let times =
        calibrate(&configs, &corpus(), &device(), &GO, &mut |done, of| heard.push((done, of))).unwrap().unwrap();
    assert_eq!((heard.len(), heard.last()), (2 * (BLOCKS + 1), Some(&(42, 42))));
    for time in &times {
        assert_eq!(time.blocks.len(), BLOCKS);
        assert!(time.quartiles[0] <= time.median && time.median <= time.quartiles[1] && time.blocks[0] > 0.0);
    }
    let stop = AtomicBool::new(true);
    assert_eq!(calibrate(&configs, &corpus(), &device(), &stop, &mut |_, _| {}).unwrap(), None);
}

#[test]
fn a_run_is_evaluated_after_the_steps_given() {
    let folder = tempdir().unwrap();
    let evaluations = |folder: &std::path::Path| -> Vec<u64> {
        let lines = metrics::read(&folder.join("metrics.jsonl")).unwrap();
        lines.iter().filter(|line| line.is_evaluation()).map(|line| line.step).collect()
    };
    let mut run = RunFolder::create(folder.path(), &config(Arch::Vanilla), &corpus(), &device()).unwrap();
    run.evaluate_at(vec![1, 3, 12]);
    run.run(Limit::Steps(11), &GO, &mut |_| {}).unwrap();
    assert_eq!(evaluations(folder.path()), [1, 3, 11], "and at the end, but not every ten steps");
    let checkpoints = CheckpointDir::new(folder.path().join("checkpoints"), 1);
    assert_eq!((checkpoints.latest_step(), CheckpointDir::new("nowhere", 1).latest_step()), (Some(11), None));
}

#[test]
fn a_run_s_metrics_say_where_a_gradient_was_not_finite() {
    let folder = tempdir().unwrap();
    let config = config(Arch::Vanilla);
    let mut run = RunFolder::create(folder.path(), &config, &corpus(), &device()).unwrap();
    run.run(Limit::Steps(2), &GO, &mut |_| {}).unwrap();
    let checkpoints = CheckpointDir::new(folder.path().join("checkpoints"), 1);
    let mut spoilt = run.trainer().checkpoint().unwrap();
    spoilt.weights.iter_mut().find(|t| t.name == "blocks.0.ffn.b2").unwrap().data[0] = f32::INFINITY;
    checkpoints.save(&spoilt).unwrap();
    let mut run = RunFolder::resume(folder.path(), &config, &corpus(), &device()).unwrap();
    run.run(Limit::Steps(6), &GO, &mut |_| {}).unwrap();
    let lines = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let noticed: Vec<u64> = lines.iter().filter(|line| line.non_finite).map(|line| line.step).collect();
    assert_eq!(noticed, [5, 6]);
    let last = lines.iter().rfind(|line| line.is_evaluation()).unwrap();
    assert_eq!((last.step, last.valid_loss), (6, None), "JSON has no NaN: {last:?}");
}
