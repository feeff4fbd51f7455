//! What an experiment is to do.

use crate::args::Equal;
use primer_models::RunConfig;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is to be done. As it is in `experiment.json`, so it stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The command that it was begun with, as it was typed.
    pub typed: String,
    /// The command's name and what it alone knows.
    pub kind: Kind,
    /// The corpus as it was named.
    pub corpus: String,
    /// Its hash.
    pub corpus_sha256: String,
    /// Bytes of its training part; not in files of older versions.
    pub train_bytes: Option<u64>,
    /// What tells its tokenizer apart.
    pub tokenizer: String,
    /// The seeds of the runs.
    pub seeds: Vec<u64>,
    /// How long a run is.
    pub length: Length,
    /// The models.
    pub arms: Vec<Arm>,
}

/// One model of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// What tells its architecture apart, see [`ModelConfig::label`](primer_models::ModelConfig::label).
    pub arch: String,
    /// The same as it was given.
    #[serde(default)]
    pub name: String,
    /// Its size's name.
    pub size: String,
    /// Everything in force; each run has its own seed and number of steps.
    pub config: RunConfig,
}

/// What only one command knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Kind {
    /// `primer compare`
    Compare {
        /// Its tables.
        equal: Vec<Equal>,
        /// Peak learning rates to choose from; empty for the configuration's.
        learning_rates: Vec<f64>,
    },
    /// `primer scaling`
    Scaling,
}

impl Kind {
    /// Its name on the command line.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Compare { .. } => "compare",
            Self::Scaling => "scaling",
        }
    }
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// So many tokens.
    Tokens(u64),
    /// So many seconds by the calibrated time of a step.
    Seconds(f64),
    /// So many floating-point operations.
    Flops(f64),
}

/// What a model's step costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Seconds, the median of its calibration.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: f64,
}

impl Length {
    /// The length asked for, or the configuration's steps.
    pub fn of(steps: Option<u64>, tokens: Option<u64>, time: Option<Duration>, config: &RunConfig) -> Self {
        match (steps, tokens, time) {
            (_, Some(tokens), _) => Self::Tokens(tokens),
            (.., Some(time)) => Self::Seconds(time.as_secs_f64()),
            (steps, ..) => Self::Steps(steps.unwrap_or(config.train.steps)),
        }
    }

    /// The steps of a model whose step costs `cost`.
    pub fn steps(self, config: &RunConfig, cost: Cost) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Tokens(tokens) => tokens.div_ceil(config.tokens_per_step()).max(1),
            Self::Seconds(budget) => ((budget / cost.seconds) as u64).max(1),
            Self::Flops(budget) => ((budget / cost.flops).round() as u64).max(1),
        }
    }
}
