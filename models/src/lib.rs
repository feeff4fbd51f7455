//! The language models of "Primer" (arXiv 2109.08668): architectures, text, training, checkpoints, sampling.
//!
//! [`arch`] has the paper's sixteen architectures, each a function that records a block with the layers of
//! [`nn`]. [`text`] reads corpora and turns them into tokens. A [`Trainer`] steps a model forward and back with
//! the rules of [`optim`], as one program on one device; [`train`] also writes a run's folder, and
//! [`checkpoint`] its files. A [`LanguageModel`] is a trained model that is measured and that writes text,
//! [`onnx`] writes it for other programs, and [`analysis`] says what several runs show together. A
//! [`RunConfig`] holds every setting.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//!
//! use primer_models::generate::SampleOptions;
//! use primer_models::text::Corpus;
//! use primer_models::train::Event;
//! use primer_models::{Arch, RunConfig, Size, Trainer};
//! use primer_tensor::Device;
//!
//! # fn main() -> primer_models::Result<()> {
//! let corpus = Corpus::open("book.txt")?;
//! let config = RunConfig::new(Arch::PrimerEz, Size::Nano);
//! let device = Device::cpu();
//! let mut trainer = Trainer::new(&config, &corpus, &device)?;
//! trainer.run(1000, &AtomicBool::new(false), &mut |event| {
//!     if let Event::Progress(p) = event {
//!         println!("step {}: {:.3} nats per token", p.step, p.loss);
//!     }
//! })?;
//! let options = SampleOptions { tokens: 60, ..SampleOptions::default() };
//! let sample = trainer.language_model()?.sample(b"The ", &options, &mut |_| true)?;
//! println!("The {}", String::from_utf8_lossy(&sample));
//! # Ok(())
//! # }
//! ```

pub mod analysis;
pub mod arch;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod generate;
pub mod metrics;
pub mod names;
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
pub use settings::{Precision, RunConfig, TrainConfig};
pub use train::Trainer;
