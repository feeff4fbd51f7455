//! The baseline with ReGLU, max(W₁x + b₁, 0) ⊙ (Vx + c), at two thirds of the width (spec §4.1, Shazeer 2020).

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Norm, Scope, gated_feed_forward};

/// h = x + Attention(LN(x)); h + FFN(LN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let h = x + cx.attention().apply(scope.child("attn"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    let ffn = scope.child("ffn");
    h + gated_feed_forward(ffn, &normed, cx.config.d_ff, Activation::Relu, cx.config.projections)
}
