//! Evolutionary search over primitive tensor programs, as in "Primer: Searching for Efficient
//! Transformers for Language Modeling" (arXiv 2109.08668).
//!
//! [`dna`] is the language of programs, with the built-in ones; [`lower`] turns a program into a model, or says
//! why it is rejected ([`Rejection`]); [`leak`] shows that no output depends on a later token; [`mutate`] draws
//! mutations, and [`canonical`] tells whether two programs are the same computation. A [`study`] is all options
//! of a search; a [`store`] keeps it with what is finished, in an SQLite file or on a Postgres server; a
//! [`worker`] claims candidates from the store, and an [`Evaluator`] trains them. [`evolve`] chooses parents
//! and replays a study, and [`retest`] tests its best again. A program is also an architecture for the ordinary
//! trainer ([`block`]), and can be written as Rust ([`export`]). The file `docs/programs.md` describes the
//! language and the rules of lowering.
//!
//! ```
//! use primer_search::dna::seeds;
//! use primer_search::lower::{Limits, Sizes, plan};
//! use primer_search::mutate::mutate;
//! use primer_search::rng::{Purpose, Rng};
//!
//! // The Transformer program with 4 heads of 16 channels, and the limits that a study draws around it.
//! let seed = seeds::with_banks(seeds::transformer()?, 4, 16, [2, 8, 1, 1, 4, 16])?;
//! let sizes = Sizes { layers: 2, vocab: 256, sequence: 64, batch: 16 };
//! let limits = Limits::around(&seed, 32, sizes)?;
//!
//! let (child, _) = mutate(&seed, &mut Rng::new(1, 0, Purpose::Mutation))?;
//! println!("{child}");
//! match plan(&child, sizes, &limits) {
//!     Ok(plan) => println!("width {}, {} parameters", plan.width(), plan.parameter_count()),
//!     Err(reason) => println!("rejected: {reason}"),
//! }
//! # Ok::<(), primer_search::Error>(())
//! ```

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
