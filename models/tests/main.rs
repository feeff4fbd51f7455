//! The crate's integration tests, one binary.

mod checkpoints;
mod corpora;
mod memory;
mod models;
mod settings;
mod training;
