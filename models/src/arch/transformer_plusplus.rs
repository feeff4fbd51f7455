//! Transformer++ (spec §4.1): the baseline with RMS norm and SwiGLU, the strongest of the known changes.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Norm, Scope, gated_feed_forward};

/// h = x + Attention(RMSNorm(x)); h + FFN(RMSNorm(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Rms.apply(scope.child("norm1"), x, eps);
    let h = x + cx.attention().apply(scope.child("attn"), &normed);

    let normed = Norm::Rms.apply(scope.child("norm2"), &h, eps);
    let ffn = scope.child("ffn");
    h + gated_feed_forward(ffn, &normed, cx.config.d_ff, Activation::Swish, cx.config.projections)
}
