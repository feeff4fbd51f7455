//! The baseline with multi-depthwise-head attention, Primer's one change to attention (paper §4, spec §3.2): after each
//! of the query, key and value projections, each channel is convolved causally over three positions, z_t = w₀·y_t +
//! w₁·y_{t−1} + w₂·y_{t−2}, zeros before the start, taps starting at ½, ⅙, ⅙, no bias.

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
    h + feed_forward(scope.child("ffn"), &normed, cx.config.d_ff, Activation::Relu)
}
