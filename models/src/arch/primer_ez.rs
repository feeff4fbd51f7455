//! Primer-EZ (paper §3, spec §3.1): the Transformer with two changes, multi-depthwise-head attention (`mdha`) and the
//! squared ReLU (`squared_relu`).

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Attention, Convolution, Norm, Scope, feed_forward};

/// h = x + MDHA(LN(x)); h + FFN(LN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let attention = Attention { convolution: Convolution::After, ..cx.attention() };
    let h = x + attention.apply(scope.child("attn"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    h + feed_forward(scope.child("ffn"), &normed, cx.config.d_ff, Activation::SquaredRelu)
}
