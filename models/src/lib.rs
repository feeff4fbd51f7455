//! The language models of "Primer" (arXiv 2109.08668): architectures, text, training, checkpoints, sampling.

pub mod analysis;
pub mod arch;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod generate;
pub mod metrics;
pub mod nn;
pub mod onnx;
pub mod optim;
pub mod rng;
mod sample;
pub mod settings;
pub mod text;
pub mod train;

pub use config::{Arch, ModelConfig, Size};
pub use error::{Error, Result};
pub use generate::LanguageModel;
pub use settings::{RunConfig, TrainConfig};
pub use train::Trainer;
