//! Programs of the search space: types and validation.

mod primitive;
mod types;

pub use primitive::{ParameterKind, Primitive};
pub use types::{BRANCHINGS, DIM_VOCABULARY, Dna, Instruction, Op, Subprogram};
