//! The integration tests of the crate, in one binary.

mod canonical;
mod dna;
mod leak;
mod lower;
mod mutate;
mod naive;
mod rng;
