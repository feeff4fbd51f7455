//! Causal separable convolutions.

use primer_tensor::Tensor;

use super::params::{Init, Scope};
use super::{Dims, Sequence};

/// A causal depthwise convolution over `width` positions and then a projection to `outputs` channels with a bias, on
/// rows `[batch·seq, c]`: `[batch·seq, outputs]`.
pub fn separable_convolution(
    mut scope: Scope<'_>,
    sequence: &Sequence,
    dims: Dims,
    x: &Tensor,
    width: usize,
    outputs: usize,
) -> Tensor {
    let Dims { batch, seq, .. } = dims;
    let c = x.shape().last();
    let taps = scope.param("taps", &[width, c], Init::Taps);
    let depthwise = sequence.depthwise_conv(&scope, "taps", &x.reshape([batch, seq, c]), &taps);
    let depthwise = depthwise.reshape([batch * seq, c]);
    let w = scope.dense("w", c, outputs);
    depthwise.matmul(&w) + scope.param("b", &[outputs], Init::Constant(0.0))
}
