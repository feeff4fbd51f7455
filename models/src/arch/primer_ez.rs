//! Primer-EZ (paper §3, spec §3.1): the Transformer with two changes.
//!
//! 1. Multi-depthwise-head attention: after each of the query, key and value projections, each channel is convolved causally over
//!    three positions, z_t = w₀·y_t + w₁·y_{t−1} + w₂·y_{t−2}, zeros before the start, taps starting at ½, ⅙, ⅙, no bias.
//! 2. Squared ReLU in the feed-forward part: max(x, 0)².

use primer_tensor::Tensor;

use crate::config::ModelConfig;
use crate::nn::{Activation, Attention, Dims, Scope, feed_forward, layer_norm};

/// h = x + MDHA(LN(x)); h + FFN(LN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, config: &ModelConfig, dims: Dims, x: &Tensor) -> Tensor {
    let normed = layer_norm(scope.child("norm1"), x, config.norm_eps);
    let attention = Attention { config, dims, depthwise: true };
    let h = x + attention.apply(scope.child("attn"), &normed);

    let normed = layer_norm(scope.child("norm2"), &h, config.norm_eps);
    let mixed = feed_forward(scope.child("ffn"), &normed, config.d_ff, Activation::SquaredRelu);
    h + mixed
}
