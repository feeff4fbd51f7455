//! The block of the program mutated_a as Rust, by `primer export --format rust`.
//!
//! It is 35 mutations, drawn from stream 445, away from transformer. The SHA-256 of its text (`--format dna`) begins
//! with 0eb1ed027920.
//!
//! `primer_models::arch::Model::with_block(&config, batch, &block)` puts the usual shell around it: embedding,
//! positions, final layer norm, logits. Parameters have the names and shapes that the program's have in `--arch
//! dna:FILE`, so its weights fit. Rows are `[batch·n, c]`; attention sees `[batch, branches, n, c]`; h2, h3, ... number
//! the instructions of a subprogram as its text does. Widths follow d = `dims.d_model`.

use primer_models::nn::{Dims, Init, Scope};
use primer_tensor::Tensor;

/// The block, from rows `[batch·n, d]` to the same.
pub fn block(scope: Scope<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    assert!(d.is_multiple_of(8), "d_model is a multiple of 8, not {d}");
    let p = &mut Parameters { scope, made: 0 };
    let layer_norm_out = layer_norm(p, dims, x); // h3: [batch·n, d]
    let self_attention_out = self_attention(p, dims, &layer_norm_out);
    let self_attention_joined = self_attention_out.reshape([batch * n, d]); // h4: [batch·n, d]
    let projected = self_attention_joined.matmul(&p.next("conv_1x1", &[d, d / 2], fan_in(d))); // h5: [batch·n, d/2]
    let tangent = projected.tanh();
    let tangent_joined = repeat_channels(&tangent, 4); // h7 = S8 RESIDUAL: [batch·n, 2·d]
    let layer_norm_out_2 = layer_norm_2(p, dims, &tangent_joined); // h8: [batch·n, 2·d]
    let feed_forward_out = feed_forward(p, dims, &layer_norm_out_2); // h9: [batch·n, d]
    let tangent_2 = feed_forward_out.tanh();
    let tangent_joined_2 = repeat_channels(&tangent_2, 4); // h10 = S8 RESIDUAL: [batch·n, 4·d]
    resize(&tangent_joined_2, d)
}

/// S1 SELF-ATTENTION in 8 branches, from `[batch·n, d]` to `[batch·n, 8, d/8]`.
fn self_attention(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    // h6 = S3 HEAD-PROJECTION: [batch·n, 8, d/8]
    let projected = x.matmul(&p.next("conv_1x1", &[d, d], fan_in(d))).reshape([batch * n, 8, d / 8]);
    // h9 = S3 HEAD-PROJECTION: [batch·n, 8, d/8]
    dense_by_branch(&projected, &p.next("conv_1x1", &[8, d / 8, d / 8], fan_in(d / 8)))
}

/// S2 FEED-FORWARD, from `[batch·n, 2·d]` to `[batch·n, d]`.
fn feed_forward(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    let shifted = x + p.next("shift", &[2 * d], Init::Constant(0.0)); // h3: [batch·n, 2·d]
    let w = p.next("conv_3x1", &[6 * d, d / 2], fan_in(6 * d));
    let convolved = windows(dims, &shifted, 3).matmul(&w); // h4 = S9 RELU: [batch·n, d/2]
    let projected = convolved.matmul(&p.next("conv_1x1", &[d / 2, d], fan_in(d / 2))); // h5: [batch·n, d]
    projected + p.next("shift", &[d], Init::Constant(0.0)) // h7: [batch·n, d]
}

/// S5 LAYER-NORM, on `[batch·n, d]`.
fn layer_norm(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    x * p.next("scale", &[d], Init::Constant(1.0)) // h2 = S7 SCALE-SHIFT: [batch·n, d]
}

/// S5 LAYER-NORM, on `[batch·n, 2·d]`.
fn layer_norm_2(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    x * p.next("scale", &[2 * d], Init::Constant(1.0)) // h2 = S7 SCALE-SHIFT: [batch·n, 2·d]
}

/// The block's parameters, numbered in the order in which they are made.
struct Parameters<'a> {
    scope: Scope<'a>,
    made: usize,
}

impl Parameters<'_> {
    /// The next one, named by its number and its operation.
    fn next(&mut self, op: &str, shape: &[usize], start: Init) -> Tensor {
        self.made += 1;
        self.scope.param(&format!("{:02}.{op}", self.made - 1), shape, start)
    }
}

/// N(0, 1/n), the start of weights that sum over n inputs.
fn fan_in(n: usize) -> Init {
    Init::Normal((n as f64).powf(-0.5))
}

/// The last axis made `width` wide: one channel is repeated, of more the first are kept, or zeros are added.
fn resize(x: &Tensor, width: usize) -> Tensor {
    let (axis, c) = (x.shape().rank() - 1, x.shape().last());
    if c == 1 {
        x.broadcast_to(x.shape().with_dim(axis, width))
    } else if c < width {
        x.pad(axis, 0, width - c)
    } else {
        x.slice(axis, 0, width)
    }
}

/// Beside the channels of each row `[batch·n, .., c]` those of the `taps - 1` positions before it, the nearest first,
/// zeros before the sequence begins: `[batch·n, .., taps·c]`.
fn windows(dims: Dims, x: &Tensor, taps: usize) -> Tensor {
    let c = x.shape().last();
    let sequence = x.reshape([dims.batch, dims.seq, x.shape().numel() / (dims.batch * dims.seq * c), c]);
    let mut shifted = vec![sequence.clone()];
    shifted.extend((1..taps).map(|back| sequence.pad(1, back, 0).slice(1, 0, dims.seq)));
    Tensor::concat(&shifted, 3).reshape(x.shape().with_dim(x.shape().rank() - 1, taps * c))
}

/// Rows `[batch·n, k, c]` times a matrix for each branch, `[k, c, m]`: `[batch·n, k, m]`.
fn dense_by_branch(x: &Tensor, w: &Tensor) -> Tensor {
    x.permute(&[1, 0, 2]).matmul(w).permute(&[1, 0, 2])
}

/// The channels of rows `[batch·n, c]`, `times` times side by side.
fn repeat_channels(x: &Tensor, times: usize) -> Tensor {
    let (rows, c) = (x.shape()[0], x.shape().last());
    x.reshape([rows, 1, c]).broadcast_to([rows, times, c]).reshape([rows, times * c])
}
