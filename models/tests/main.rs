//! The crate's integration tests, one binary.

mod checkpoints;
mod corpora;
mod models;
mod settings;
mod training;
