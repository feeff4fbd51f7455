//! What can go wrong when a program is differentiated.

use primer_tensor::{DType, Shape};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of differentiation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The loss holds another number of elements than one.
    #[error("the loss has shape {shape}; a gradient needs a single element")]
    NotScalar {
        /// Shape of the loss.
        shape: Shape,
    },
    /// The loss, or what it is differentiated by, isn't f32.
    #[error("{what} is {dtype}; only f32 has a gradient")]
    NotFloat {
        /// Which argument.
        what: &'static str,
        /// Its element type.
        dtype: DType,
    },
    /// The tensor engine refused a node of the gradient or an input of the check.
    #[error(transparent)]
    Tensor(#[from] primer_tensor::Error),
}
