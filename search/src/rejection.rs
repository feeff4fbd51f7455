//! Why a well-formed program is not trained: recorded with the candidate, shown in the report.

use serde::{Deserialize, Serialize};

use crate::dna::Source;

/// Inlined live instructions that a program may have.
pub const MAX_INSTRUCTIONS: u64 = 1_024;

/// Nested calls that a program may have.
pub const MAX_CALL_DEPTH: u64 = 256;

/// The reason for which a candidate is never trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rejection {
    /// Too many inlined live instructions.
    #[error("{count} inlined live instructions, the limit is {limit}")]
    TooManyInstructions {
        /// Saturating count.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// Calls nest too deeply.
    #[error("calls nest {depth} deep, the limit is {limit}")]
    TooDeep {
        /// Depth of the deepest live call.
        depth: u64,
        /// The limit.
        limit: u64,
    },
    /// A branched instruction yields an attention matrix, which has no last axis to merge on.
    #[error("instruction {instruction} ({op}) branches an attention matrix")]
    BranchedAttention {
        /// Its place in the genome.
        instruction: Source,
        /// Its primitive.
        op: String,
    },
    /// No unit makes every live dimension integral with the parameter count in the window.
    #[error("no unit in 1..=256 gives {min}..={max} parameters{}", nearest.map_or_else(String::new, |n| format!("; the nearest is {n}")))]
    ParameterWindow {
        /// Least parameter count allowed.
        min: u64,
        /// Greatest parameter count allowed.
        max: u64,
        /// The count nearest to the window, if any unit was integral.
        nearest: Option<u64>,
    },
    /// The output doesn't depend on any parameter of the program.
    #[error("no path from a parameter of the program to its output")]
    NoParameter,
    /// A step would cost too much.
    #[error("a step costs {cost} FLOPs, the limit is {limit}")]
    Cost {
        /// Saturating estimate.
        cost: u64,
        /// The limit.
        limit: u64,
    },
    /// The study's budget for the first mark is spent before one step is done.
    #[error("the first mark allows {steps:.3} steps, less than one")]
    Budget {
        /// Steps that the first mark allows.
        steps: f64,
    },
    /// A step would need too much memory.
    #[error("a step needs {bytes} bytes, the limit is {limit}")]
    Memory {
        /// Saturating estimate.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The graph builder refused a shape.
    #[error("instruction {instruction} ({op}): {message}")]
    Shape {
        /// Its place in the genome.
        instruction: Source,
        /// Its primitive.
        op: String,
        /// The builder's own sentence.
        message: String,
    },
    /// An output depends on a later token.
    #[error("the output at position {position} depends on a later token ({check})")]
    Leak {
        /// First position that leaks.
        position: usize,
        /// Which check of the leak test found it.
        check: String,
    },
}
