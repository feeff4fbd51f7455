//! Element types.

use std::fmt;

/// The type of an element. Only `F32` and `U32` are ever stored in a device buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// 32-bit float: activations, parameters, gradients.
    F32,
    /// 32-bit unsigned integer: token ids and other indices.
    U32,
    /// Truth value: lives between a comparison and a select, never in a buffer.
    Bool,
}

impl DType {
    /// The name used in text forms and errors.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
