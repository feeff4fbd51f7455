//! `primer train`

use crate::architecture::Architecture;
use crate::args::Train;
use crate::cmd::device;
use crate::cmd::train_progress::TrainProgress;
use crate::failure::{Failure, Outcome};
use crate::folder::{self, Existing};
use crate::stop::Stop;
use crate::terminal;
use primer_models::text::{Corpus, Tokenizer, TokenizerSpec};
use primer_models::train::{Limit, RunFolder};
use primer_models::{Arch, RunConfig, Size};
use serde_json::json;

/// Trains, or goes on training, and writes the run's folder.
///
/// # Errors
/// A setting, corpus, folder or checkpoint that can't be used; a device that fails.
pub fn run(args: &Train) -> Outcome {
    let mut config = config(args)?;
    let limit = limit(args, &config);
    let corpus = folder::corpus(&args.corpus)?;
    let chosen = device::open(&args.compute)?;
    let out = folder::prepare(args.out.as_deref(), "train", Existing::of(args.resume, args.force))?;
    if let Some(note) = corpus.note() {
        terminal::note(note);
    }
    terminal::note(&format!("device: {} ({})", chosen.device, chosen.why));
    terminal::note(&format!("folder: {}", out.display()));
    let corpus = with_tokenizer(corpus, args, &mut config)?;
    let stop = Stop::on_ctrl_c();
    let mut run = if args.resume {
        RunFolder::resume(&out, &config, &corpus, &chosen.device)?
    } else {
        RunFolder::create(&out, &config, &corpus, &chosen.device)?
    };

    if let Some(before) = run.device_before() {
        terminal::note(&format!("warning: until now this run computed on \"{before}\";"));
        terminal::note(&format!("         on \"{}\" its numbers differ in their last bits", chosen.device.signature()));
    }

    run.trainer().notes().for_each(terminal::note);

    let mut progress = TrainProgress::new(&chosen.device, limit, config.tokens_per_step());
    let checkpoint = run.run(limit, &stop.flag(), &mut |event| progress.show(&event))?;
    let trainer = run.trainer();
    let stopped = stop.asked();
    let last = progress.finish(&format!(
        "{} steps, {} tokens in {} of training{}",
        trainer.step(),
        trainer.step() * trainer.tokens_per_step(),
        terminal::clock(trainer.seconds()),
        if stopped { "; stopped and saved, go on with --resume" } else { "" }
    ));
    if args.json {
        return terminal::json(&json!({
            "out": out,
            "checkpoint": checkpoint,
            "steps": trainer.step(),
            "tokens": trainer.step() * trainer.tokens_per_step(),
            "seconds": trainer.seconds(),
            "validation_loss": last.loss,
            "validation_perplexity": last.loss.map(f64::exp),
            "validation_bits_per_byte": last.bits_per_byte,
            "matmul_gflops": last.matmul_gflops,
            "stopped": stopped,
            "device": chosen.device.to_string(),
            "corpus": corpus.name(),
            "corpus_sha256": corpus.sha256(),
            "tokenizer": corpus.tokenizer().id(),
        }));
    }
    terminal::line(&checkpoint.display().to_string())
}

/// The corpus with the run's tokenizer, or with a new one, whose vocabulary becomes the model's.
fn with_tokenizer(corpus: Corpus, args: &Train, config: &mut RunConfig) -> Outcome<Corpus> {
    let spec = config.text.tokenizer;
    if let (true, Some(out)) = (args.resume, &args.out) {
        return Ok(corpus.with_tokenizer(Tokenizer::of_run(out)?));
    }
    if spec != TokenizerSpec::Bytes {
        terminal::note(&format!("training the tokenizer {spec} ..."));
    }
    let tokenizer = spec.train(&corpus)?;
    // A small text doesn't fill the vocabulary.
    if config.model.vocab == spec.vocab() || config.model.vocab < tokenizer.vocab() {
        config.model.vocab = tokenizer.vocab();
    }
    Ok(corpus.with_tokenizer(tokenizer))
}

/// The settings in force: defaults of architecture and size, then the file, then the options.
fn config(args: &Train) -> Outcome<RunConfig> {
    // The tokenizer's vocabulary, whatever that of the paper's sizes.
    let vocab = args.tokenizer.unwrap_or(TokenizerSpec::Bytes).vocab();
    let defaults = |arch: &Architecture| arch.run(args.size.unwrap_or(Size::Nano), Some(vocab));
    let vanilla = Architecture::Written(Arch::Vanilla);
    let mut config = defaults(args.arch.as_ref().unwrap_or(&vanilla))?;
    if let (true, Some(out)) = (args.resume, &args.out) {
        config = RunFolder::config(out, config)?;
    }
    if let Some(file) = &args.config {
        let mut of_file = defaults(&vanilla)?;
        of_file.apply_file(file)?;
        // What the file leaves out is that of the file's own architecture.
        config = RunConfig::new(of_file.model.arch, args.size.unwrap_or(Size::Nano));
        config.model.vocab = vocab;
        config.apply_file(file)?;
        if let Some(arch) = args.arch.as_ref().filter(|arch| !arch.is_of(&config.model)) {
            config.model = arch.in_place_of(&config.model)?;
        }
    }
    if let Some(tokenizer) = args.tokenizer {
        config.text.tokenizer = tokenizer;
        config.model.vocab = tokenizer.vocab();
    }
    for assignment in &args.set {
        config.set(assignment)?;
    }
    let whole = |value: u64, name: &str| {
        usize::try_from(value).map_err(|_| Failure::usage(format!("{name} {value} is more than this machine can hold")))
    };
    if let Some(seq) = args.seq {
        config.model.seq = whole(seq, "--seq")?;
    }
    if let Some(batch) = args.batch {
        config.train.batch = whole(batch, "--batch")?;
    }
    if let Some(seed) = args.seed {
        config.train.seed = seed;
    }
    if let Some(every) = args.sample_every {
        config.train.sample_every = every;
    }
    if let Some(prompt) = &args.sample_prompt {
        if config.train.sample_every == 0 {
            return Err(Failure::usage("--sample-prompt needs --sample-every"));
        }
        config.train.sample_prompt.clone_from(prompt);
    }
    config.validate()?;
    if let Limit::Steps(steps) = limit(args, &config) {
        config.train.steps = steps;
    }
    Ok(config)
}

fn limit(args: &Train, config: &RunConfig) -> Limit {
    if let Some(time) = args.time {
        return Limit::Seconds(time.as_secs_f64());
    }
    if let Some(tokens) = args.tokens {
        return Limit::Steps(tokens.div_ceil(config.tokens_per_step().max(1)));
    }
    Limit::Steps(args.steps.unwrap_or(config.train.steps))
}
