//! The Transformer decoder as the paper's baseline has it (spec §4.1): pre-norm, ReLU, biases in the feed-forward part
//! only.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Norm, Scope, feed_forward};

/// h = x + Attention(LN(x)); h + FFN(LN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let h = x + cx.attention().apply(scope.child("attn"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    h + feed_forward(scope.child("ffn"), &normed, cx.config.d_ff, Activation::Relu)
}
