//! Switch Primer (paper §4.2, spec §4.1): the Switch Transformer with multi-depthwise-head attention, and with the
//! squared ReLU in the feed-forward parts and in the experts.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Attention, Convolution, Norm, Scope};

/// h = x + MDHA(LN(x)); h + FFN(LN(h)), or h + Experts(LN(h)), over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let attention = Attention { convolution: Convolution::After, ..cx.attention() };
    let h = x + attention.apply(scope.child("attn"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    h + cx.feed_forward_or_experts(scope, &normed, Activation::SquaredRelu)
}
