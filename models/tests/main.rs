//! The crate's integration tests, one binary.

mod checkpoints;
mod corpora;
mod settings;
