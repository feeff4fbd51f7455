//! Programs of the search space: types, validation, text form, inlining, comparison and the built-in ones.

pub mod diff;
mod dot;
mod inline;
mod primitive;
pub mod seeds;
mod text;
mod types;

pub use inline::{Inlined, Node, NodeKind, Size, Source};
pub(crate) use inline::{Summary, summaries};
pub use primitive::{ParameterKind, Primitive};
pub use types::{BRANCHINGS, DIM_VOCABULARY, Dna, Instruction, Op, Subprogram};
