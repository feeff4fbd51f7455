//! The integration tests of the crate, in one binary.

mod canonical;
mod dna;
mod mutate;
mod rng;
