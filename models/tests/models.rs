//! The architectures: what they compute, from what, and what they can't see.

use primer_models::arch::{Model, TOKENS};
use primer_models::config::{Positions, Projections, QueryScale, SharedQueries, Softmax};
use primer_models::generate::log_probabilities;
use primer_models::nn::{Dims, Init, Scope, initial_values};
use primer_models::text::{Corpus, TokenSet};
use primer_models::{Arch, Error, LanguageModel, ModelConfig, RunConfig, Size, Trainer};
use primer_tensor::{Data, Device, Program, Tensor};
use proptest::prelude::*;

/// Small enough for the debug profile, with more than one of everything.
pub fn tiny(arch: Arch) -> ModelConfig {
    let base = ModelConfig::new(arch, Size::Nano);
    ModelConfig { d_model: 16, layers: 2, heads: 2, d_ff: 32, seq: 12, experts: 4, ..base }
}

fn logits(config: &ModelConfig, device: &Device, tokens: &[u32], seed: u64) -> Vec<f32> {
    let model = Model::build(config, tokens.len() / config.seq).unwrap();
    let mut state = model.initial_state(device, seed).unwrap();
    let mut executable = device.compile(&Program::trace(std::slice::from_ref(&model.logits), &[]).unwrap()).unwrap();
    executable.run(&mut state, &[(TOKENS, Data::U32(tokens))]).unwrap();
    executable.output(0).unwrap()
}

fn tokens(count: usize, step: u32) -> Vec<u32> {
    (0..count as u32).map(|i| (i * step + i * i) % 256).collect()
}

#[test]
fn parameters_are_those_of_the_specification() {
    for (arch, extra) in [(Arch::Vanilla, 0), (Arch::PrimerEz, 3 * 3)] {
        for projections in [Projections::Fused, Projections::Separate] {
            let config = ModelConfig { projections, ..ModelConfig::new(arch, Size::Mini) };
            let (d, ff, layers) = (256, 1024, 4);
            let block = 4 * d * d + 2 * d * ff + ff + d + 4 * d + extra * d;
            let model = Model::build(&config, 1).unwrap();
            assert_eq!(model.parameters(), 256 * d + layers * block + 2 * d, "{arch} {projections:?}");
        }
    }
}

/// Spec §4.2, §6.2, §6.3: what the paper says of each, in millions, and what its shapes add up to.
#[test]
fn parameters_of_the_paper_s_sizes() {
    let count = |arch, size| Model::build(&ModelConfig::new(arch, size), 1).unwrap().parameters();
    let millions = |arch, size: Size| (count(arch, size) as f64 / 1e4).round() / 100.0;
    assert_eq!(count(Arch::Vanilla, Size::Small), 32_128 * 512 + 6 * 3_150_336 + 2 * 512 + 256);
    for (arch, size, expected) in [
        (Arch::Vanilla, Size::Small, 35.35),
        (Arch::Vanilla, Size::Medium, 109.69),
        (Arch::Vanilla, Size::Large, 536.54),
        (Arch::TransformerPlusplus, Size::Small, 35.34),
        (Arch::TransformerPlusplus, Size::Medium, 109.69),
        (Arch::TransformerPlusplus, Size::Large, 536.60),
        (Arch::PrimerEz, Size::Small, 35.38),
        (Arch::Primer, Size::Small, 35.37),
        // The paper: 38M.
        (Arch::EvolvedTransformer, Size::Small, 38.05),
        (Arch::EvolvedTransformer, Size::Medium, 109.60),
        // 550M and 145M.
        (Arch::SwitchTransformer, Size::Medium, 548.59),
        (Arch::Synthesizer, Size::Medium, 144.30),
    ] {
        assert_eq!(millions(arch, size), expected, "{arch} {size}");
    }
    let per_head =
        ModelConfig { shared_queries: SharedQueries::PerHead, ..ModelConfig::new(Arch::Primer, Size::Small) };
    // T2T: 34M.
    assert_eq!((Model::build(&per_head, 1).unwrap().parameters() as f64 / 1e4).round() / 100.0, 34.00);
    let sweep: Vec<usize> = Size::sweep().map(|size| count(Arch::Vanilla, size)).collect();
    assert_eq!([sweep[0], sweep[26]].map(|n| (n + 500_000) / 1_000_000), [23, 385], "the paper: 23M to 385M");
}

#[test]
fn starts_are_those_of_the_specification() {
    let config = ModelConfig { projections: Projections::Separate, ..ModelConfig::new(Arch::PrimerEz, Size::Nano) };
    let model = Model::build(&config, 1).unwrap();
    let deviation = |name: &str| {
        let spec = model.params.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no {name}"));
        let values = initial_values(spec, 5);
        (values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let near = |name: &str, expected: f64| {
        let found = deviation(name);
        assert!((found / expected - 1.0).abs() < 0.06, "{name}: {found}, expected {expected}");
    };
    let (d, d_head) = (64f64, 16f64);
    near("embedding", d.powf(-0.5));
    near("blocks.0.attn.wq", (d * d_head).powf(-0.5));
    near("blocks.0.attn.wk", d.powf(-0.5));
    near("blocks.1.attn.wo", d.powf(-0.5));
    // A normal cut off at two deviations keeps 0.88 of its spread.
    near("blocks.0.ffn.w1", 0.8796 * d.powf(-0.5));
    near("blocks.0.ffn.w2", 0.8796 * 256f64.powf(-0.5));
    let taps = model.params.iter().find(|p| p.name == "blocks.1.attn.taps_v").unwrap();
    assert_eq!(taps.shape, [3, 64]);
    assert_eq!(taps.init, Init::Rows(vec![0.5, 1.0 / 6.0, 1.0 / 6.0]));
}

#[test]
fn the_initial_loss_is_that_of_guessing() {
    let text: Vec<u8> = (0..4000u64).map(|i| primer_models::rng::Stream::new(1, "text").below(i, 256) as u8).collect();
    let corpus = Corpus::from_text("noise", &text).unwrap();
    for arch in Arch::ALL {
        let config = RunConfig { model: tiny(arch), ..RunConfig::new(arch, Size::Nano) };
        let mut trainer = Trainer::new(&config, &corpus, &Device::cpu()).unwrap();
        let loss = trainer.evaluate().unwrap();
        // Logits of unit variance cost half a nat over uniform guessing, and a little for seeing the present token.
        assert!((5.5..6.8).contains(&loss), "{arch}: {loss}, ln 256 is 5.545");
    }
}

#[test]
fn what_follows_a_position_cannot_change_it() {
    for arch in Arch::ALL {
        for dna in [false, true] {
            let config = if dna { tiny(arch).with_dna_conventions() } else { tiny(arch) };
            let before = tokens(config.seq, 7);
            let base = logits(&config, &Device::cpu(), &before, 3);
            for t in [0, 1, 5, 10] {
                let mut after = before.clone();
                after[t + 1..].iter_mut().for_each(|token| *token = (*token + 91) % 256);
                let changed = logits(&config, &Device::cpu(), &after, 3);
                let bits = |all: &[f32]| all[..(t + 1) * 256].iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&changed), bits(&base), "{arch}, dna conventions {dna}, after {t}");
                assert_ne!(changed, base, "the future itself must change");
            }
        }
    }
}

#[test]
fn rows_of_a_batch_do_not_meet() {
    let config = tiny(Arch::PrimerEz);
    let (first, second) = (tokens(config.seq, 3), tokens(config.seq, 5));
    let both = logits(&config, &Device::reference(), &[first.clone(), second].concat(), 1);
    let alone = logits(&config, &Device::reference(), &first, 1);
    assert_eq!(both[..alone.len()], alone);
}

#[test]
fn conventions_change_the_form_and_not_the_function() {
    let config =
        ModelConfig { projections: Projections::Separate, query_scale: QueryScale::Runtime, ..tiny(Arch::Vanilla) };
    let ids = tokens(config.seq, 11);
    let base = logits(&config, &Device::reference(), &ids, 2);
    let other = ModelConfig { softmax: Softmax::ExpMask, norm_eps: 0.0, ..config };
    let found = logits(&other, &Device::reference(), &ids, 2);
    assert_ne!(found, base, "ε is seen");
    for (a, b) in base.iter().zip(&found) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}

#[test]
fn the_cpu_agrees_with_the_oracle() {
    for arch in Arch::ALL {
        let config = tiny(arch);
        let ids = tokens(2 * config.seq, 13);
        let expected = logits(&config, &Device::reference(), &ids, 4);
        let found = logits(&config, &Device::cpu(), &ids, 4);
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() < 1e-4, "{arch}: {a} {b}");
        }
    }
}

#[test]
fn log_probabilities_are_normalised_and_evaluation_is_their_mean() {
    let config = tiny(Arch::PrimerEz);
    let model = Model::build(&config, 1).unwrap();
    let weights: Vec<_> = model
        .params
        .iter()
        .map(|p| primer_models::checkpoint::NamedTensor {
            name: p.name.clone(),
            shape: p.shape.clone(),
            data: initial_values(p, 6),
        })
        .collect();
    let mut language = LanguageModel::new(&config, &weights, &Device::cpu()).unwrap();
    let text = b"twelve bytes";
    let rows: Vec<_> = language.logits(text).unwrap().iter().map(|row| log_probabilities(row)).collect();
    assert_eq!(rows.len(), 12);
    for row in &rows {
        let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }
    let thirteen = Corpus::from_text("t", b"twelve bytes!").unwrap();
    let evaluation = language.evaluate(&TokenSet::whole(&thirteen).unwrap()).unwrap();
    let expected =
        -b"welve bytes!".iter().zip(&rows).map(|(&b, row)| f64::from(row[usize::from(b)])).sum::<f64>() / 12.0;
    assert!((evaluation.loss_nats - expected).abs() < 1e-4, "{} {expected}", evaluation.loss_nats);
    assert_eq!((evaluation.tokens, evaluation.bytes), (12, 12));
    assert!((evaluation.perplexity.ln() - evaluation.loss_nats).abs() < 1e-9);
    assert!(matches!(language.logits(b""), Err(Error::BadText { .. })));
    assert!(matches!(language.logits(b"thirteen byte"), Err(Error::BadText { .. })));
}

/// The shell takes any block: one that does nothing leaves the embedding, the positions and the final norm.
#[test]
fn a_model_is_made_around_a_given_block() {
    let config = tiny(Arch::Vanilla);
    let double = |mut scope: Scope<'_>, dims: Dims, x: &Tensor| {
        assert_eq!(&x.shape()[..], [dims.batch * dims.seq, dims.d_model]);
        x * scope.param("scale", &[dims.d_model], Init::Constant(2.0))
    };
    let model = Model::with_block(&config, 2, &double).unwrap();
    let names: Vec<&str> = model.params.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["embedding", "blocks.0.scale", "blocks.1.scale", "final_norm.scale", "final_norm.shift"]);
    let none = Model::with_block(&config, 2, &|_, _, x| x.clone()).unwrap();
    let run = |model: &Model| {
        let device = Device::cpu_with_threads(1);
        let mut state = model.initial_state(&device, 5).unwrap();
        let program = Program::trace(std::slice::from_ref(&model.logits), &[]).unwrap();
        let mut executable = device.compile(&program).unwrap();
        executable.run(&mut state, &[(TOKENS, Data::U32(&tokens(24, 3)))]).unwrap();
        executable.output(0).unwrap()
    };
    let (scaled, plain) = (run(&model), run(&none));
    // A norm doesn't see a scale.
    assert!(scaled.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-3) && plain.iter().any(|x| x.abs() > 0.1));
}

/// What reads programs is the search's, which this crate doesn't know.
#[test]
fn a_program_needs_a_reader_and_a_text() {
    let said = |config: &ModelConfig| Model::build(config, 1).unwrap_err().to_string();
    let program = ModelConfig { program: "MAIN".into(), ..tiny(Arch::Program) };
    assert!(said(&program).contains("primer_search::register()"), "{}", said(&program));
    assert!(said(&tiny(Arch::Program)).contains("there is no program"));
    let other = ModelConfig { program: "MAIN".into(), ..tiny(Arch::Vanilla) };
    assert!(said(&other).contains("model.arch"), "{}", said(&other));
    let relative = ModelConfig { positions: Positions::Relative, ..program.clone() };
    assert!(said(&relative).contains("model.positions"));
    assert!(Model::build_step(&program, 1).is_err());
    // The name tells programs apart, by the digest of their text.
    assert_eq!((program.label().as_str(), tiny(Arch::Mdha).label().as_str()), ("dna:95832d038fbf", "mdha"));
}

fn any_config() -> impl Strategy<Value = ModelConfig> {
    let numbers = (0usize..40, 0usize..30, 0usize..6, 0usize..6, 0usize..8, 0usize..40, 0usize..10);
    let choices = (0..Arch::ALL.len(), any::<[bool; 5]>(), prop_oneof![Just(0.0), Just(1e-6), Just(-1.0)], 0usize..5);
    (numbers, choices).prop_map(
        |(
            (vocab, d_model, layers, heads, d_head, d_ff, seq),
            (arch, [stable, init, fused, joint, relative], norm_eps, experts),
        )| ModelConfig {
            vocab,
            d_model,
            layers,
            heads,
            d_head,
            d_ff,
            seq,
            norm_eps,
            softmax: if stable { Softmax::Stable } else { Softmax::ExpMask },
            query_scale: if init { QueryScale::Init } else { QueryScale::Runtime },
            projections: if fused { Projections::Fused } else { Projections::Separate },
            shared_queries: if joint { SharedQueries::Joint } else { SharedQueries::PerHead },
            positions: if relative { Positions::Relative } else { Positions::Sinusoid },
            experts,
            ..ModelConfig::new(Arch::ALL[arch], Size::Nano)
        },
    )
}

proptest! {
    /// A build never panics: a configuration is an error, or a model of the right shape.
    #[test]
    fn every_configuration_builds_or_is_an_error(config in any_config(), batch in 0usize..4) {
        match Model::build(&config, batch) {
            Ok(model) => prop_assert_eq!(&model.logits.shape()[..], [batch * config.seq, config.vocab]),
            Err(error) => prop_assert!(matches!(error, Error::BadValue { .. }), "{}", error),
        }
    }

    #[test]
    fn huge_numbers_are_errors(width in 1usize << 15..usize::MAX / 2, batch in 1usize << 20..usize::MAX) {
        let config = ModelConfig::new(Arch::Vanilla, Size::Nano);
        for bad in [
            ModelConfig { d_model: width * 2, heads: 1, ..config.clone() },
            ModelConfig { seq: width, d_ff: width, ..config.clone() },
            ModelConfig { vocab: 1 << 24, d_ff: width, layers: width, ..config.clone() },
        ] {
            prop_assert!(Model::build(&bad, 1).is_err());
        }
        prop_assert!(Model::build(&config, batch).is_err());
    }
}
