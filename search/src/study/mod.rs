//! What a study is: every option that decides its course, stored once and never changed.

mod check;
mod fitness;
mod preset;
mod tokens;

use primer_models::optim::{Decay, Optimizer, ScheduleConfig};
use primer_models::text::TokenizerSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::lower::{Limits, Sizes};
use crate::roofline::Roofline;

pub use fitness::{Budget, Fitness};
pub use preset::Preset;

/// Everything that decides the course of a search. Its JSON text is kept in the store and hashed;
/// two studies with equal texts make the same children out of the same finished ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudySpec {
    /// Keys every random draw of the study.
    pub seed: u64,
    /// How a child's parent is found.
    pub strategy: Strategy,
    /// Members of the population: the last so many finished children (paper A.4: 100).
    pub population: u32,
    /// Members drawn, with replacement, of which the best is the parent (paper A.4: 10).
    pub tournament: u32,
    /// When the study is over.
    pub limits: StudyLimits,
    /// What each candidate may spend, and where it may be stopped.
    pub fitness: Fitness,
    /// What a step of a program costs.
    pub roofline: Roofline,
    /// The model that a program is a block of.
    pub model: ModelDims,
    /// Peak learning rate of a candidate's training.
    pub learning_rate: f64,
    /// The rest of a candidate's training.
    #[serde(default)]
    pub training: TrainingRule,
    /// How large a candidate may be.
    #[serde(default)]
    pub parameters: ParameterWindow,
    /// How often a measured score is passed on to programs that seem to compute the same ([`crate::probe`]); then the
    /// next one is measured itself. With 0 there is no probe, and twins are programs of the same canonical form.
    #[serde(default)]
    pub probe_hits: u32,
    /// Version of the canonical form by which twins are found ([`crate::canonical::CANONICAL_VERSION`]).
    #[serde(default = "first_version")]
    pub canonical_version: u32,
    /// SHA-256 of the corpus, in hexadecimal.
    pub corpus: String,
    /// How text becomes tokens; byte pairs are learned from the corpus, by each worker anew.
    #[serde(default)]
    pub tokenizer: TokenizerSpec,
    /// SHA-256 of the tokenizer learned, in hexadecimal; none where tokens are bytes.
    #[serde(default)]
    pub tokenizer_sha256: Option<String>,
    /// Version of the random draws ([`crate::rng::RNG_VERSION`]); a build replays its own version only.
    pub rng_version: u32,
    /// The text of the program that every lineage starts from.
    pub seed_dna: String,
}

/// Of studies that are older than the option.
fn first_version() -> u32 {
    1
}

/// How a child is made. All but [`Strategy::Evolution`] are controls: the same loop with less in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Regularized evolution: the best of a tournament among the youngest finished children.
    Evolution,
    /// One effective mutation of the seed program.
    #[serde(rename = "random-1")]
    Random1,
    /// Evolution without selection: a tournament of one.
    Drift,
    /// The seed program itself, each time with another seed: how good luck alone looks.
    None,
}

impl Strategy {
    /// Every strategy with its name.
    pub const ALL: [(&'static str, Strategy); 4] = [
        ("evolution", Strategy::Evolution),
        ("random-1", Strategy::Random1),
        ("drift", Strategy::Drift),
        ("none", Strategy::None),
    ];
}

/// The end of a study; without any it goes on until it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyLimits {
    /// Children made, the seed program not counted.
    pub children: Option<u64>,
    /// Predicted seconds of training ([`Roofline`]), summed over all attempts.
    pub cost: Option<f64>,
    /// Seconds of evaluation, summed over all workers.
    pub seconds: Option<f64>,
}

/// The model around a candidate block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDims {
    /// Copies of the block, each with its own weights.
    pub layers: u32,
    /// Attention heads of the seed program.
    pub heads: u32,
    /// The seed program's unit: a relative dimension r stands for `unit · r` channels.
    pub unit: u32,
    /// Tokens in a sequence.
    pub seq: u32,
    /// Sequences in a batch.
    pub batch: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
}

/// How a candidate is trained. There is no decay that spans a run: losses at stops at different times would not
/// compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRule {
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Steps over which the learning rate rises.
    pub warmup: u64,
    /// How it goes on: `constant`, or `rsqrt` from step 10,000 on.
    pub decay: Decay,
    /// Largest norm of the whole gradient; 0 for no clipping.
    pub clip_norm: f64,
}

impl Default for TrainingRule {
    fn default() -> Self {
        TrainingRule { optimizer: Optimizer::Adamw, warmup: 50, decay: Decay::Constant, clip_norm: 1.0 }
    }
}

impl TrainingRule {
    /// The learning rate's schedule.
    pub fn schedule(&self) -> ScheduleConfig {
        ScheduleConfig { warmup: self.warmup, decay: self.decay, ..ScheduleConfig::default() }
    }
}

/// Numbers of parameters between which a candidate's must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterWindow {
    /// The least; by default 0.88 of the seed program's.
    pub least: Option<u64>,
    /// The most; by default 1.12 of the seed program's.
    pub most: Option<u64>,
}

impl StudySpec {
    /// The sizes that all its programs share.
    pub fn sizes(&self) -> Sizes {
        let ModelDims { layers, vocab, seq, batch, .. } = self.model;
        Sizes { layers: layers as usize, vocab: vocab as usize, sequence: seq as usize, batch: batch as usize }
    }

    /// What its candidates may cost.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`](crate::Error::Parse) and [`Error::Rejected`](crate::Error::Rejected) where the seed program can't be read or planned.
    pub fn program_limits(&self) -> Result<Limits> {
        let limits = Limits::around(&self.seed_dna.parse()?, self.model.unit.into(), self.sizes())?;
        Ok(Limits {
            min_parameters: self.parameters.least.unwrap_or(limits.min_parameters),
            max_parameters: self.parameters.most.unwrap_or(limits.max_parameters),
            ..limits
        })
    }

    /// The canonical text: JSON in the order of the fields.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if a number has no JSON form; [`StudySpec::validate`] excludes that.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// SHA-256 of a text in hexadecimal.
pub fn sha256_hex(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Studies are older than some options.
    #[test]
    fn a_study_without_newer_options_has_their_defaults() {
        let spec = StudySpec::preset(Preset::Small, "program".to_owned(), "00".to_owned(), 7);
        let spec = StudySpec { canonical_version: 1, ..spec };
        let mut json: Value = serde_json::from_str(&spec.to_json().unwrap()).unwrap();
        for option in ["training", "parameters", "probe_hits", "canonical_version", "tokenizer", "tokenizer_sha256"] {
            json.as_object_mut().unwrap().remove(option).unwrap();
        }
        assert_eq!(serde_json::from_value::<StudySpec>(json).unwrap(), spec);
    }
}
