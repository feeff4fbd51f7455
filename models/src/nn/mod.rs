//! Layers: functions from recorded tensors to recorded tensors.
//!
//! Activations are matrices `[batch·seq, d]`, rows in the order of the batch; only what mixes positions (attention,
//! convolution) looks at them as `[batch, seq, d]`.

mod attention;
mod experts;
mod feed_forward;
mod norm;
mod params;
mod positions;
mod separable;
mod sequence;

pub use attention::{Attention, Convolution, masked_softmax};
pub use experts::Experts;
pub use feed_forward::{Activation, feed_forward, gated_feed_forward};
pub use norm::Norm;
pub use params::{Init, ParamSpec, Params, Scope, initial_values};
pub use positions::{BUCKETS, relative_buckets, sinusoid};
pub use separable::separable_convolution;
pub use sequence::{Cache, Sequence, Step};

/// Shapes that every layer of one model shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Rows of the batch.
    pub batch: usize,
    /// Tokens a row: a whole sequence, or one.
    pub seq: usize,
    /// Width of the residual stream.
    pub d_model: usize,
}
