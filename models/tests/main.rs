//! The crate's integration tests, one binary.

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
