//! Causal separable convolutions.

use primer_tensor::Tensor;

use super::Dims;
use super::params::{Init, Scope};

/// A causal depthwise convolution over `width` positions and then a projection to `outputs` channels with a bias, on rows
/// `[batch·seq, c]`: `[batch·seq, outputs]`.
pub fn separable_convolution(mut scope: Scope<'_>, dims: Dims, x: &Tensor, width: usize, outputs: usize) -> Tensor {
    let Dims { batch, seq, .. } = dims;
    let c = x.shape().last();
    let taps = scope.param("taps", &[width, c], Init::Normal((width as f64).powf(-0.5)));
    let depthwise = x.reshape([batch, seq, c]).depthwise_conv(&taps).reshape([batch * seq, c]);
    let w = scope.dense("w", c, outputs);
    depthwise.matmul(&w) + scope.param("b", &[outputs], Init::Constant(0.0))
}
