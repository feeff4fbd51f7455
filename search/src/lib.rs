//! Evolutionary search over primitive tensor programs, as in "Primer: Searching for Efficient
//! Transformers for Language Modeling" (arXiv 2109.08668).

pub mod block;
pub mod canonical;
pub mod dna;
pub mod error;
pub mod evaluate;
pub mod evolve;
pub mod export;
pub mod leak;
pub mod lower;
pub mod motifs;
pub mod mutate;
pub mod probe;
pub mod rejection;
pub mod retest;
pub mod rng;
pub mod roofline;
pub mod store;
pub mod study;
pub mod worker;

pub use block::register;
pub use error::{Error, Result};
pub use evaluate::Evaluator;
pub use rejection::Rejection;
