//! Layers: functions from recorded tensors to recorded tensors.
//!
//! Activations are matrices `[batch·seq, d]`, rows in the order of the batch; only what mixes positions (attention, convolution)
//! looks at them as `[batch, seq, d]`.

mod attention;
mod feed_forward;
mod norm;
mod params;
mod positions;

pub use attention::{Attention, causal_softmax};
pub use feed_forward::{Activation, feed_forward};
pub use norm::layer_norm;
pub use params::{Init, ParamSpec, Params, Scope, initial_values};
pub use positions::sinusoid;

/// Shapes that every layer of one model shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Rows of the batch.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
    /// Width of the residual stream.
    pub d_model: usize,
}
