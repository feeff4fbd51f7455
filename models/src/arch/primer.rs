//! Primer (paper §3, spec §3.1 to §3.3): the discovered program without what only serves fixed lengths.
//!
//! 1. Squared ReLU.
//! 2. Multi-depthwise-head attention, in which the queries are computed from the keys: K = MDHA projection of x, Q =
//!    K·W.
//! 3. The custom norm, before attention and after the feed-forward part.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Attention, Convolution, Norm, Scope, feed_forward};

/// h = x + MDHA(Norm(x)); h + Norm(FFN(h)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Primer.apply(scope.child("norm1"), x, eps);
    let attention = Attention { convolution: Convolution::After, shared_queries: true, ..cx.attention() };
    let h = x + attention.apply(scope.child("attn"), &normed);

    let mixed = feed_forward(scope.child("ffn"), &h, cx.config.d_ff, Activation::SquaredRelu);
    h + Norm::Primer.apply(scope.child("norm2"), &mixed, eps)
}
