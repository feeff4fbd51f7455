//! The block of the program mutated_b as Rust, by `primer export --format rust`.
//!
//! It is 32 mutations, drawn from stream 112, away from primer_ez. The SHA-256 of its text (`--format dna`) begins with
//! 44e9478aedf3.
//!
//! `primer_models::arch::Model::with_block(&config, batch, &block)` puts the usual shell around it: embedding,
//! positions, final layer norm, logits. Parameters have the names and shapes that the program's have in `--arch
//! dna:FILE`, so its weights fit. Rows are `[batch·n, c]`; attention sees `[batch, branches, n, c]`; h2, h3, ... number
//! the instructions of a subprogram as its text does. Widths follow d = `dims.d_model`.

use primer_models::nn::{Dims, Init, Scope};
use primer_tensor::{CompareOp, ReduceOp, Shape, Tensor};

/// The block, from rows `[batch·n, d]` to the same.
pub fn block(scope: Scope<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    let p = &mut Parameters { scope, made: 0 };
    let self_attention_joined = self_attention(p, dims, x).reshape([batch * n, 32]); // h2: [batch·n, 32]
    let capped = at_most(&self_attention_joined, 36.43949852986093);
    let capped_joined = repeat_channels(&capped, 2); // h7 = S8 RESIDUAL: [batch·n, 64]
    resize(&capped_joined, d)
}

/// S1 SELF-ATTENTION in 8 branches, from `[batch·n, d]` to `[batch·n, 8, 4]`.
fn self_attention(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    let x_rows_repeated = repeat_branches(&x.reshape([batch * n, 1, d]), 8);
    // h4: [batch·n, 8, d]
    let convolved = depthwise(dims, &x_rows_repeated, &p.next("dconv_15x1", &[15, 8 * d], Init::Taps));
    let least = repeat_branches(&convolved, 4).reduce(ReduceOp::Min, 2);
    least.reshape([batch * n, 8, 4]) // h10: [batch·n, 8, 4]
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

/// min(x, c), whose gradient passes where x ≤ c.
fn at_most(x: &Tensor, c: f64) -> Tensor {
    let c = Tensor::constant(c);
    c.compare(CompareOp::Less, x).select(&c, x)
}

/// The causal depthwise convolution of rows `[batch·n, .., c]`, with taps for each of their channels.
fn depthwise(dims: Dims, x: &Tensor, taps: &Tensor) -> Tensor {
    x.reshape([dims.batch, dims.seq, taps.shape().last()]).depthwise_conv(taps).reshape(x.shape())
}

/// Each branch, along axis 1, `times` times in a row.
fn repeat_branches(x: &Tensor, times: usize) -> Tensor {
    let (first, rest) = x.shape().split_at(2);
    let shape = |repeats| -> Shape { first.iter().chain(&[repeats]).chain(rest).copied().collect() };
    x.reshape(shape(1)).broadcast_to(shape(times)).reshape(x.shape().with_dim(1, first[1] * times))
}

/// The channels of rows `[batch·n, c]`, `times` times side by side.
fn repeat_channels(x: &Tensor, times: usize) -> Tensor {
    let (rows, c) = (x.shape()[0], x.shape().last());
    x.reshape([rows, 1, c]).broadcast_to([rows, times, c]).reshape([rows, times * c])
}
