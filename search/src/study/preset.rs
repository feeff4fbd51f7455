//! The named sets of options: the paper's, and a small one for two cores.

use primer_models::optim::{Decay, Optimizer};
use primer_models::text::TokenizerSpec;

use super::{Budget, Fitness, ModelDims, ParameterWindow, Strategy, StudyLimits, StudySpec, TrainingRule};
use crate::canonical::CANONICAL_VERSION;
use crate::rng::RNG_VERSION;
use crate::roofline::Roofline;

/// Subwords of the paper's search, T2T's 2^15.
const VOCABULARY: u32 = 1 << 15;

/// A named set of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The paper's search, for machines as large as the paper's.
    Paper,
    /// Bytes and a model of some 100k parameters: seconds a candidate on one core.
    Small,
}

impl Preset {
    /// Every preset with the name it is asked for by.
    pub const ALL: [(&'static str, Preset); 2] = [("paper", Preset::Paper), ("small", Preset::Small)];
}

impl StudySpec {
    /// The options of `preset` for one seed program, corpus and study seed.
    pub fn preset(preset: Preset, seed_dna: String, corpus: String, seed: u64) -> StudySpec {
        let paper = StudySpec {
            seed,
            strategy: Strategy::Evolution,
            population: 100,
            tournament: 10,
            limits: StudyLimits { children: Some(25_000), ..StudyLimits::default() },
            // The proxy budget of seven hours, 64 · 64 = 4,096 tokens a batch (paper §2, A.3).
            fitness: Fitness {
                budget: Budget::Seconds,
                unit: 7.0 * 3600.0 / 31.0,
                hurdles: 4,
                window: 64,
                seed_runs: 5,
            },
            roofline: Roofline::default(),
            model: ModelDims { layers: 6, heads: 8, unit: 64, seq: 64, batch: 64, vocab: VOCABULARY },
            // 1/√max(step, 10,000), no ramp, no clipping (T2T's settings of the paper's experiments).
            learning_rate: 0.01,
            training: TrainingRule { optimizer: Optimizer::Adafactor, warmup: 0, decay: Decay::Rsqrt, clip_norm: 0.0 },
            // Paper A.2.
            parameters: ParameterWindow { least: Some(32_000_000), most: Some(38_000_000) },
            probe_hits: 0,
            canonical_version: CANONICAL_VERSION,
            corpus,
            tokenizer: TokenizerSpec::Bpe(VOCABULARY as usize),
            tokenizer_sha256: None,
            rng_version: RNG_VERSION,
            seed_dna,
        };
        match preset {
            Preset::Paper => paper,
            Preset::Small => StudySpec {
                population: 48,
                tournament: 8,
                limits: StudyLimits { children: Some(3_000), ..StudyLimits::default() },
                // 70 steps are 71,680 tokens; at 30, attention with convolutions still ranks below the seed.
                fitness: Fitness { budget: Budget::Cost, unit: 70.0, ..paper.fitness },
                model: ModelDims { layers: 2, heads: 4, unit: 32, seq: 64, batch: 16, vocab: 256 },
                learning_rate: 3e-3,
                training: TrainingRule::default(),
                parameters: ParameterWindow::default(),
                tokenizer: TokenizerSpec::Bytes,
                ..paper
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_their_text() {
        for (_, preset) in Preset::ALL {
            let spec = StudySpec::preset(preset, "p".to_owned(), "00".to_owned(), 1);
            spec.validate().unwrap();
            let back: StudySpec = serde_json::from_str(&spec.to_json().unwrap()).unwrap();
            assert_eq!(back, spec);
        }
        let paper = StudySpec::preset(Preset::Paper, "p".to_owned(), "00".to_owned(), 1);
        assert_eq!((paper.population, paper.tournament), (100, 10));
        // Paper, spec §5.1: 0.01 for 10,000 steps, then the reciprocal root.
        let rate = |step| paper.learning_rate * paper.training.schedule().factor(step, u64::MAX);
        assert_eq!([0, 9_999, 40_000].map(rate), [0.01, 0.01, 0.005]);
        let small = StudySpec::preset(Preset::Small, "p".to_owned(), "00".to_owned(), 1);
        let ModelDims { layers, heads, unit, seq, batch, vocab } = small.model;
        assert_eq!([layers, heads, unit, seq, batch, vocab], [2, 4, 32, 64, 16, 256]);
        let Fitness { budget, unit, hurdles, window, seed_runs } = small.fitness;
        assert_eq!((budget, unit, hurdles, window, seed_runs), (Budget::Cost, 70.0, 4, 64, 5));
        assert_eq!((small.population, small.tournament, small.limits.children), (48, 8, Some(3_000)));
        let TrainingRule { optimizer, clip_norm, .. } = small.training;
        assert_eq!((optimizer, clip_norm, small.learning_rate), (Optimizer::Adamw, 1.0, 3e-3));
        let factor = |step| small.training.schedule().factor(step, u64::MAX);
        assert_eq!([0, 24, 49, 50, 1 << 40].map(factor), [0.02, 0.5, 1.0, 1.0, 1.0]);
    }
}
