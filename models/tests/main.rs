//! The crate's integration tests, one binary.

#[cfg(target_os = "linux")]
mod alone;
mod checkpoints;
mod corpora;
mod decoding;
mod layouts;
mod memory;
mod mixed_precision;
mod models;
mod onnx;
mod optim;
mod recomputation;
mod settings;
mod tokenizers;
mod training;
