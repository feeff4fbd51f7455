//! What can go wrong when a program is built, planned or run.

use std::time::Duration;

use crate::{Bytes, DType, Shape};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the tensor engine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    // --- building a graph ---
    /// The operand shapes do not fit the operation.
    #[error("{op}: shapes {} do not fit: {reason}", list(shapes))]
    Shape {
        /// Name of the operation.
        op: &'static str,
        /// Shapes of all operands.
        shapes: Vec<Shape>,
        /// The rule that is broken.
        reason: String,
    },
    /// An operand has the wrong element type.
    #[error("{op}: operand {operand} is {found}, expected {expected}")]
    DType {
        /// Name of the operation.
        op: &'static str,
        /// Position of the operand.
        operand: usize,
        /// The type it has.
        found: DType,
        /// The type the operation takes.
        expected: &'static str,
    },
    /// An operation got the wrong number of operands.
    #[error("{op}: {found} operands, expected {expected}")]
    Arity {
        /// Name of the operation.
        op: &'static str,
        /// Operands given.
        found: usize,
        /// Operands the operation takes.
        expected: usize,
    },
    /// A graph breaks one of its invariants.
    #[error("node {node} ({op}): {reason}")]
    Invalid {
        /// The node's index.
        node: usize,
        /// Name of its operation.
        op: &'static str,
        /// The broken invariant.
        reason: String,
    },

    // --- data ---
    /// A slice of another length than its shape says.
    #[error("{name}: {found} elements given, shape {shape} holds {}", shape.numel())]
    DataLength {
        /// Name of the input or state.
        name: String,
        /// Number of elements given.
        found: usize,
        /// The declared shape.
        shape: Shape,
    },
    /// Data of another element type than the input declares.
    #[error("{name}: {found} data given, the input is {expected}")]
    DataType {
        /// Name of the input.
        name: String,
        /// Type of the data.
        found: DType,
        /// Type of the input.
        expected: DType,
    },
    /// An input of the program was given no data.
    #[error("no data given for input {name:?}")]
    MissingInput {
        /// Name of the input.
        name: String,
    },
    /// The state does not hold an entry that a program reads or writes.
    #[error("the state holds no {name:?}")]
    MissingState {
        /// Name of the entry.
        name: String,
    },
    /// A state entry has another shape than the program declares.
    #[error("state {name:?} has shape {found}, the program expects {expected}")]
    StateShape {
        /// Name of the entry.
        name: String,
        /// Shape in the state.
        found: Shape,
        /// Shape in the program.
        expected: Shape,
    },
    /// A state or an executable was used with a device other than its own.
    #[error("{what} belongs to another device")]
    DeviceMismatch {
        /// What was misused.
        what: &'static str,
    },

    // --- devices ---
    /// A device was asked for that this machine does not have.
    #[error("no device {wanted:?}: {reason}")]
    NoDevice {
        /// What was asked for.
        wanted: String,
        /// Why it is not there, and what to do.
        reason: String,
    },
    /// The device can't do what was asked of it.
    #[error("{device} has no {what}")]
    Unsupported {
        /// The device.
        device: String,
        /// What it lacks.
        what: &'static str,
    },
    /// A tensor or kernel exceeds what the device grants.
    #[error("{what} needs {needed} {unit}, the device grants {granted}")]
    Limit {
        /// What is too large.
        what: String,
        /// The amount needed.
        needed: u64,
        /// The amount granted.
        granted: u64,
        /// The unit of both.
        unit: &'static str,
    },
    /// A tensor is larger than what a kernel of the device can see of a buffer.
    #[error("{what} of shape {shape} takes {needed} bytes, the device lets a kernel see {granted}; {}", fits(*needed, *granted))]
    TensorSize {
        /// What the tensor is, with its name if it has one.
        what: String,
        /// Its shape.
        shape: Shape,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that the device grants.
        granted: u64,
    },
    /// A program takes more memory than the device may give it. Nothing was allocated.
    #[error("the program takes {} of memory, the device may give it {}", Bytes(*needed), Bytes(*available))]
    MemoryBudget {
        /// Bytes of its state, inputs and scratch.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// The driver or the system has no memory left.
    #[error("the device is out of memory: {what}")]
    OutOfMemory {
        /// What was asked for.
        what: String,
    },
    /// The driver refuses a kernel.
    #[error("the driver refuses kernel {kernel}: {message}")]
    Kernel {
        /// The kernel's family and variant.
        kernel: String,
        /// The driver's words.
        message: String,
    },
    /// The device took longer than it may. Its work may still end.
    #[error("the device gave no answer within {} s", after.as_secs_f64())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The driver gave the device up: everything on it is gone. A new one can be opened.
    #[error("the device was lost: {message}")]
    DeviceLost {
        /// The driver's words.
        message: String,
    },
    /// The driver reported another error.
    #[error("the device failed: {message}")]
    Device {
        /// The driver's words.
        message: String,
    },
}

fn list(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(" ")
}

/// How much smaller a batch must be.
fn fits(needed: u64, granted: u64) -> String {
    match granted {
        0 => "it grants none".to_owned(),
        _ => format!("a batch 1/{} as large would fit", needed.div_ceil(granted)),
    }
}
