//! Training: one step program, run thousands of times.

mod calibrate;
mod folder;
mod programs;
mod trainer;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use calibrate::{BLOCK_STEPS, BLOCKS, StepTime, calibrate};
pub use folder::{CONFIG, DEVICES, Limit, RunFolder, add_device};
pub use programs::{apply_program, step_program};
pub use trainer::{Horizon, Slice, Trainer};

/// What a run tells while it goes on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The loss was read.
    Progress(Progress),
    /// The validation text was evaluated.
    Evaluated {
        /// Steps done.
        step: u64,
        /// Mean cross entropy in nats a token.
        valid_loss: f64,
        /// The same in bits a byte of text.
        bits_per_byte: f64,
    },
    /// A sample goes on by the bytes of one token.
    Sampling {
        /// Steps done.
        step: u64,
        /// What it goes on from.
        prompt: String,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A sample is finished, and written to the run's `samples.jsonl`.
    Sampled(Sample),
    /// A checkpoint was written.
    Saved {
        /// Steps done.
        step: u64,
        /// The file.
        path: PathBuf,
    },
    /// A gradient wasn't finite; the steps with one were left out.
    NonFinite {
        /// Steps done when it was noticed.
        step: u64,
    },
}

/// A text that a model wrote during its training: a line of `samples.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Steps done.
    pub step: u64,
    /// What it goes on from.
    pub prompt: String,
    /// What was written; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps the learning-rate schedule spans, estimated where a time is the limit.
    pub total_steps: u64,
    /// Mean cross entropy in nats a token since the last reading.
    pub loss: f64,
    /// The last step's learning rate.
    pub learning_rate: f64,
    /// Tokens a second since the last reading.
    pub tokens_per_second: f64,
    /// Speed of the steps' matrix products since the last reading, in GFLOP/s; none on the reference, which plans
    /// nothing.
    pub matmul_gflops: Option<f64>,
    /// Seconds of training so far: steps alone, without evaluations and files.
    pub seconds: f64,
}
