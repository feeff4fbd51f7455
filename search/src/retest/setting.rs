//! What is tested, and the runs' settings.

use primer_models::config::{FinalNorm, Positions, gated_width};
use primer_models::optim::Decay;
use primer_models::text::TokenizerSpec;
use primer_models::train::step_program;
use primer_models::{Arch, ModelConfig, RunConfig, Size};
use primer_tensor::Device;
use serde::{Deserialize, Serialize};

use crate::canonical::{CanonicalHash, planned_hash};
use crate::dna::Dna;
use crate::error::Result;
use crate::lower::{self, Limits, Plan, Sizes};
use crate::study::{Budget, StudySpec};

/// Tokens of the byte-pair encoding: about as many parameters in the embedding as in a small search's blocks.
const BYTE_PAIRS: usize = 1024;

/// The search's model, or one thing about it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    /// As in the search.
    #[serde(rename = "same")]
    Same,
    /// Twice the width, so that the blocks have four times the parameters.
    #[serde(rename = "4x")]
    FourTimes,
    /// Sequences of 256 tokens, as many fewer of them a batch.
    #[serde(rename = "seq256")]
    Sequence256,
    /// Byte pairs instead of bytes.
    #[serde(rename = "bpe")]
    BytePairs,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Setting; 4] = [Setting::Same, Setting::FourTimes, Setting::Sequence256, Setting::BytePairs];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Same => "same",
            Setting::FourTimes => "4x",
            Setting::Sequence256 => "seq256",
            Setting::BytePairs => "bpe",
        }
    }

    /// Whether it changes anything about a study's model: byte pairs are nothing new where a search has them.
    pub fn applies(self, spec: &StudySpec) -> bool {
        self != Setting::BytePairs || spec.tokenizer == TokenizerSpec::Bytes
    }

    /// How text becomes tokens.
    pub fn tokenizer(self, spec: &StudySpec) -> TokenizerSpec {
        match self {
            Setting::BytePairs => TokenizerSpec::Bpe(BYTE_PAIRS),
            _ => spec.tokenizer,
        }
    }

    /// The settings of a run of `contestant`, but for its steps, seed and learning rate; `vocab` is the tokenizer's.
    /// The optimizer is the search's, with a learning rate that decays.
    ///
    /// # Errors
    /// [`Error::Rejected`](crate::Error::Rejected) where a program doesn't fit the study's limits at this size.
    pub fn config(self, spec: &StudySpec, contestant: &Contestant, vocab: usize) -> Result<RunConfig> {
        let seed: Dna = spec.seed_dna.parse()?;
        let Sizes { layers, sequence, batch, .. } = self.sizes(spec, vocab);
        let channels = |relative: u32| (self.unit(spec) as usize).saturating_mul(relative as usize);
        let arch = match contestant {
            Contestant::Written(arch) => *arch,
            Contestant::Program(_) => Arch::Program,
        };
        let dense = channels(seed.dims[1]);
        let d_ff = if arch.is_gated() { gated_width(dense) } else { dense };
        let base = ModelConfig {
            vocab,
            d_model: channels(seed.dims[0]),
            layers,
            heads: spec.model.heads as usize,
            d_head: 0,
            d_ff,
            seq: sequence,
            positions: Positions::Sinusoid,
            ..ModelConfig::new(arch, Size::Nano)
        };
        let model = match contestant {
            Contestant::Written(_) => base,
            Contestant::Program(dna) => {
                let (d_model, program) = (self.plan(spec, dna, vocab)?.width(), dna.to_string());
                ModelConfig { d_model, program, final_norm: FinalNorm::Layer, ..base }
            }
        };
        let mut config = RunConfig { model, ..RunConfig::new(arch, Size::Nano) };
        config.text.tokenizer = self.tokenizer(spec);
        config.optimizer.optimizer = spec.training.optimizer;
        config.optimizer.clip_norm = spec.training.clip_norm;
        config.optimizer.weight_decay = 0.0;
        config.schedule.decay = Decay::Cosine;
        config.train.batch = batch;
        config.train.eval_every = 0;
        config.train.checkpoint_every = 0;
        config.validate()?;
        Ok(config)
    }

    /// What a program computes in this setting: programs that differ in the search may be one here, where another unit
    /// gives their widths.
    ///
    /// # Errors
    /// As [`Setting::config`].
    pub fn computation(self, spec: &StudySpec, dna: &Dna, vocab: usize) -> Result<CanonicalHash> {
        Ok(planned_hash(&self.plan(spec, dna, vocab)?))
    }

    fn plan(self, spec: &StudySpec, dna: &Dna, vocab: usize) -> Result<Plan> {
        let sizes = self.sizes(spec, vocab);
        let limits = limits(spec, &spec.seed_dna.parse()?, self.unit(spec), sizes)?;
        Ok(lower::plan(dna, sizes, &limits)?)
    }

    /// The seed program's unit.
    fn unit(self, spec: &StudySpec) -> u64 {
        u64::from(spec.model.unit) * if self == Setting::FourTimes { 2 } else { 1 }
    }

    fn sizes(self, spec: &StudySpec, vocab: usize) -> Sizes {
        let (sequence, batch) = (spec.model.seq as usize, spec.model.batch as usize);
        let (sequence, batch) = match self {
            Setting::Sequence256 => (256, (batch * sequence / 256).max(1)),
            _ => (sequence, batch),
        };
        Sizes { layers: spec.model.layers as usize, vocab, sequence, batch }
    }
}

/// The study's limits at another size: a window of parameters that it sets itself grows as the seed program does.
fn limits(spec: &StudySpec, seed: &Dna, unit: u64, sizes: Sizes) -> Result<Limits> {
    let limits = Limits::around(seed, unit, sizes)?;
    let growth = limits.parameters as f64 / spec.program_limits()?.parameters as f64;
    let grown =
        |bound: Option<u64>, default: u64| bound.map_or(default, |bound| (bound as f64 * growth).round() as u64);
    Ok(Limits {
        min_parameters: grown(spec.parameters.least, limits.min_parameters),
        max_parameters: grown(spec.parameters.most, limits.max_parameters),
        ..limits
    })
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Setting, String> {
        let names = Setting::ALL.map(Setting::name).join(", ");
        let found = Setting::ALL.into_iter().find(|setting| setting.name() == name);
        found.ok_or_else(|| format!("there is no setting {name}; there are {names}"))
    }
}

/// What takes part in a test.
#[derive(Debug, Clone, PartialEq)]
pub enum Contestant {
    /// A program of a search.
    Program(Box<Dna>),
    /// A hand-written architecture.
    Written(Arch),
}

/// The steps of each configuration that cost what the first's cost of `first` steps, by what the study holds equal:
/// predicted seconds, FLOPs, or tokens. Measured seconds are taken as predicted ones, since a test must give the same
/// again.
///
/// # Errors
/// A configuration that can't be planned on the device.
pub fn steps(spec: &StudySpec, configs: &[RunConfig], first: u64, device: &Device) -> Result<Vec<u64>> {
    let cost = |config: &RunConfig| -> Result<f64> {
        let executable = device.compile(&step_program(config)?)?;
        Ok(match spec.fitness.budget {
            Budget::Tokens => 1.0,
            Budget::Flops => executable.report().map_or(1.0, |report| report.flops as f64),
            Budget::Cost | Budget::Seconds => spec.roofline.seconds(&executable),
        })
    };
    let costs = configs.iter().map(cost).collect::<Result<Vec<f64>>>()?;
    let base = costs.first().copied().unwrap_or(1.0);
    // The quotient first, as in the search: the first gets its own steps exactly.
    Ok(costs.iter().map(|cost| ((first as f64 * (base / cost)).floor() as u64).max(1)).collect())
}
