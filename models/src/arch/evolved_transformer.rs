//! The decoder of the Evolved Transformer as T5 has it (So et al. 2019; spec §4.1): each layer is attention with twice
//! the heads, two branches of convolutions, attention, and a feed-forward part with Swish.

use primer_tensor::Tensor;

use super::Context;
use crate::nn::{Activation, Attention, Norm, Scope, feed_forward, separable_convolution};

/// Widths in positions of the left, the right and the joining convolution.
const LEFT: usize = 11;
const RIGHT: usize = 7;
const JOIN: usize = 7;

/// Four sublayers x + f(LN(x)) over rows `[batch·seq, d]`.
pub(super) fn block(mut scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Tensor {
    let eps = cx.config.norm_eps;
    let normed = Norm::Layer.apply(scope.child("norm1"), x, eps);
    let (heads, d_head) = (2 * cx.config.heads, cx.config.d_head() / 2);
    // Each head's scores by relative position serve the two narrow ones in its place.
    let relative = cx.relative.as_ref().map(|scores| Tensor::concat(&[scores.clone(), scores.clone()], 1));
    let attention = Attention { heads, d_head, relative: relative.as_ref(), ..cx.attention() };
    let h = x + attention.apply(scope.child("attn1"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm2"), &h, eps);
    let h = &h + branches(scope.child("conv"), cx, &normed);

    let normed = Norm::Layer.apply(scope.child("norm3"), &h, eps);
    let h = &h + cx.attention().apply(scope.child("attn2"), &normed);

    let normed = Norm::Layer.apply(scope.child("norm4"), &h, eps);
    h + feed_forward(scope.child("ffn"), &normed, cx.config.d_ff, Activation::Swish)
}

/// A wide branch, ReLU of a separable convolution to 2·d, and a narrow one to d/2, zeros beside it, added, normalised
/// and convolved back to d.
fn branches(mut scope: Scope<'_>, cx: &Context<'_>, x: &Tensor) -> Tensor {
    let d = cx.dims.d_model;
    let left = separable_convolution(scope.child("left"), &cx.sequence, cx.dims, x, LEFT, 2 * d).relu();
    let right =
        separable_convolution(scope.child("right"), &cx.sequence, cx.dims, x, RIGHT, d / 2).pad(1, 0, 2 * d - d / 2);
    let both = Norm::Layer.apply(scope.child("norm"), &(left + right), cx.config.norm_eps);
    separable_convolution(scope.child("join"), &cx.sequence, cx.dims, &both, JOIN, d)
}
