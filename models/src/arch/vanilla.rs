//! The Transformer decoder as the paper's baseline has it (spec §4.1): pre-norm, ReLU, biases in the feed-forward part only.

use primer_tensor::Tensor;

use crate::config::ModelConfig;
use crate::nn::{Activation, Attention, Dims, Scope, feed_forward, layer_norm};

/// h = x + Attention(LN(x)); h + FFN(LN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, config: &ModelConfig, dims: Dims, x: &Tensor) -> Tensor {
    let normed = layer_norm(scope.child("norm1"), x, config.norm_eps);
    let attention = Attention { config, dims, depthwise: false };
    let h = x + attention.apply(scope.child("attn"), &normed);

    let normed = layer_norm(scope.child("norm2"), &h, config.norm_eps);
    let mixed = feed_forward(scope.child("ffn"), &normed, config.d_ff, Activation::Relu);
    h + mixed
}
