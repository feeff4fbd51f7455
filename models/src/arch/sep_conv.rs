//! The baseline with separable convolutions in attention, which the paper compares with (Table 4): the depthwise
//! convolution comes before each projection and not after it.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Attention, Convolution, Norm, Scope, feed_forward};

/// h = x + Attention(LN(x)); h + FFN(LN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let attention = Attention { convolution: Convolution::Before, ..cx.attention() };
    let h = x + attention.apply(scope.child("attn"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    h + feed_forward(scope.child("ffn"), &normed, cx.config.d_ff, Activation::Relu)
}
