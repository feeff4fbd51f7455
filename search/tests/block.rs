//! Programs as architectures of the ordinary trainer: the model that the search measures, trained, stored and used as
//! any other.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use primer_models::arch::Model;
use primer_models::checkpoint::{Checkpoint, NamedTensor};
use primer_models::generate::SampleOptions;
use primer_models::text::{Corpus, TokenSet};
use primer_models::{Arch, LanguageModel, ModelConfig, RunConfig, Size, Trainer};
use primer_search::block::{built_in, fit};
use primer_search::dna::{Dna, seeds};
use primer_search::lower::{Sizes, plan_with_unit, positions};
use primer_search::mutate::mutate;
use primer_search::rng::{Purpose, Rng};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{Device, Graph, Program};

const BATCH: usize = 2;

/// d 16, 2 layers, 4 heads of 4, ff 64, 8 tokens.
fn baseline() -> ModelConfig {
    let nano = ModelConfig::new(Arch::Vanilla, Size::Nano);
    ModelConfig { vocab: 13, d_model: 16, layers: 2, heads: 4, d_ff: 64, seq: 8, ..nano }
}

/// The built-in programs, and chains of mutations from the first that can be lowered.
fn programs() -> Vec<Dna> {
    let model = baseline();
    let mut all: Vec<Dna> = seeds::PROGRAMS.iter().map(|(name, _)| built_in(name, &model).unwrap().unwrap()).collect();
    let mut seed = 0;
    while all.len() < 12 {
        seed += 1;
        let mut dna = all[0].clone();
        let mut rng = Rng::new(11, seed, Purpose::Mutation);
        for _ in 0..12 {
            dna = mutate(&dna, &mut rng).unwrap().0;
        }
        if fit(&dna, &model).is_ok() {
            all.push(dna);
        }
    }
    all
}

#[test]
fn a_program_is_the_model_that_the_search_measures() {
    primer_search::register();
    for dna in programs() {
        let config = fit(&dna, &baseline()).unwrap();
        let model = Model::build(&config, BATCH).unwrap();
        let unit = config.d_model as u64 / u64::from(dna.dims[0]);
        let sizes = Sizes { layers: 2, vocab: 13, sequence: 8, batch: BATCH };
        let plan = plan_with_unit(&dna, unit, sizes).unwrap();

        let of_plan: Vec<_> = plan.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
        assert_eq!(model.shapes(), of_plan, "{dna}");
        let mut rng = Rng::new(9, 0, Purpose::InitialValues);
        let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
        for parameter in plan.parameters() {
            inputs.insert(parameter.name.clone(), (0..parameter.numel()).map(|_| 0.4 * rng.normal()).collect());
        }
        inputs.insert("positions".into(), positions(8, plan.width()).into_iter().map(f64::from).collect());
        inputs.insert("tokens".into(), (0..BATCH * 8).map(|_| rng.below(13) as f64).collect());

        let mut graph = Graph::new();
        let lowered = plan.build(&mut graph).unwrap();
        let programs = [Program::new(graph, vec![lowered.logits], vec![]), Program::trace(&[model.logits], &[])]
            .map(Result::unwrap);
        let [expected, found] = programs.map(|program| {
            let values = evaluate(&program, &inputs, Precision::F64).unwrap();
            values[&program.outputs[0]].data.clone()
        });
        let scale = expected.iter().fold(0f64, |m, x| m.max(x.abs()));
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() <= 1e-10 * scale || a.is_nan() && b.is_nan(), "{a} {b} in\n{dna}");
        }
    }
}

#[test]
fn a_program_is_trained_stored_and_used_as_any_architecture() {
    primer_search::register();
    let bytes: Vec<u8> = (0..3000u32).map(|i| b"abcdefghij klmno\n"[(i * i % 17) as usize]).collect();
    let corpus = Corpus::from_text("counted", &bytes).unwrap();
    let baseline = ModelConfig { vocab: 256, seq: 16, ..baseline() };
    let dna = built_in("primer", &baseline).unwrap().unwrap();
    let mut config = RunConfig::new(Arch::Vanilla, Size::Nano);
    config.model = fit(&dna, &baseline).unwrap();
    config.train.batch = 4;
    let device = Device::cpu_with_threads(1);
    let losses = |recompute_activations: bool| {
        let mut config = config.clone();
        config.train.recompute_activations = recompute_activations;
        let mut trainer = Trainer::new(&config, &corpus, &device).unwrap();
        let before = trainer.evaluate().unwrap();
        trainer.run(30, &AtomicBool::new(false), &mut |_| {}).unwrap();
        (before, trainer.evaluate().unwrap(), trainer.checkpoint().unwrap())
    };
    let (before, after, checkpoint) = losses(false);
    assert!(after < before - 0.5, "{before} to {after}");
    let bits = |weights: &[NamedTensor]| weights.iter().flat_map(|t| t.data.iter().map(|x| x.to_bits())).collect();
    let (kept, recomputed): (Vec<u32>, Vec<u32>) = (bits(&checkpoint.weights), bits(&losses(true).2.weights));
    assert!(kept == recomputed, "recomputation changes nothing");

    // From the file alone.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program.safetensors");
    checkpoint.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap().model, config.model);
    let mut language = LanguageModel::load(&path, &device).unwrap();
    let loss = language.evaluate(&TokenSet::valid(&corpus).unwrap()).unwrap().loss_nats;
    assert!((loss - after).abs() < 0.2, "{loss} beside {after}");
    assert!(language.to_onnx(1).unwrap().len() > 4 * checkpoint.weights.iter().map(|t| t.data.len()).sum::<usize>());

    // Text is drawn from the logits of whole sequences, beyond their length too.
    let options = SampleOptions { tokens: 40, temperature: 0.0, ..SampleOptions::default() };
    let mut drawn = Vec::new();
    let text = language.sample(b"abc", &options, &mut |bytes| {
        drawn.extend_from_slice(bytes);
        true
    });
    assert_eq!((text.unwrap(), drawn.len()), (drawn.clone(), 40));
    let rows = language.logits(b"abc").unwrap();
    let greedy = (0..256).max_by(|&a, &b| rows[2][a].total_cmp(&rows[2][b])).unwrap();
    assert_eq!(drawn[0] as usize, greedy);
}

#[test]
fn what_is_no_block_is_refused() {
    primer_search::register();
    let config = fit(&seeds::transformer().unwrap(), &baseline()).unwrap();
    for (changed, word) in [
        (ModelConfig { program: "S0 MAIN:\n  h2 = WISH(h0)\n".into(), ..config.clone() }, "model.program"),
        (ModelConfig { d_model: 15, ..config.clone() }, "model.d_model"),
        (ModelConfig { program: config.program.replace("dims 2 ", "dims 12 "), ..config.clone() }, "multiple"),
    ] {
        let said = Model::build(&changed, 1).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}
