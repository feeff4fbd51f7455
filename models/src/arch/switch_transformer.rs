//! The Switch Transformer (Fedus et al. 2021; spec §4.1): the baseline with a mixture of experts for the feed-forward
//! part of every fourth block, and of the last where there are fewer.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Norm, Scope};

/// h = x + Attention(LN(x)); h + FFN(LN(h)), or h + Experts(LN(h)), over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let h = x + cx.attention().apply(scope.child("attn"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    h + cx.feed_forward_or_experts(scope, &normed, Activation::Relu)
}
