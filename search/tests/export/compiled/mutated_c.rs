//! The block of the program mutated_c as Rust, by `primer export --format rust`.
//!
//! It is 34 mutations, drawn from stream 534, away from discovered. The SHA-256 of its text (`--format dna`) begins
//! with f5e0573b0370.
//!
//! `primer_models::arch::Model::with_block(&config, batch, &block)` puts the usual shell around it: embedding,
//! positions, final layer norm, logits. Parameters have the names and shapes that the program's have in `--arch
//! dna:FILE`, so its weights fit. Rows are `[batch·n, c]`; attention sees `[batch, branches, n, c]`; h2, h3, ... number
//! the instructions of a subprogram as its text does. Widths follow d = `dims.d_model`.
//!
//! Some operands have unequal widths. Which of the two is resized depends on them, and was decided for d = 16 and n =
//! 6: at other sizes the program may decide otherwise, this file doesn't.

use primer_models::nn::{Dims, Init, Scope};
use primer_tensor::{CompareOp, Shape, Tensor};

/// The block, from rows `[batch·n, d]` to the same.
pub fn block(scope: Scope<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    let p = &mut Parameters { scope, made: 0 };
    let projected = x.matmul(&p.next("conv_1x1", &[d, d], fan_in(d))); // h6: [batch·n, d]
    let feed_forward_out = feed_forward(p, dims, &projected); // h7: [batch·n, d]
    let residual_out = residual(p, dims, &feed_forward_out); // h8: [batch·n, 2·d]
    resize(&residual_out, d)
}

/// S2 FEED-FORWARD, on `[batch·n, d]`.
fn feed_forward(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    let shifted = x + p.next("shift", &[d], Init::Constant(0.0)); // h2: [batch·n, d]
    at_least(&shifted, -0.57) // h3 = S9 SQUARED-RELU: [batch·n, d]
}

/// S8 RESIDUAL, from `[batch·n, d]` to `[batch·n, 2·d]`.
fn residual(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    let x_rows_repeated = repeat_branches(&x.reshape([batch * n, 1, d]), 2);
    let convolved = depthwise(dims, &x_rows_repeated, &p.next("dconv_31x1", &[31, 2 * d], Init::Taps));
    let convolved_joined = convolved.reshape([batch * n, 2 * d]); // h2: [batch·n, 2·d]
    convolved_joined + resize(x, 2 * d) // h4: [batch·n, 2·d]
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

/// max(x, c), whose gradient passes where x ≥ c.
fn at_least(x: &Tensor, c: f64) -> Tensor {
    let c = Tensor::constant(c);
    x.compare(CompareOp::Less, &c).select(&c, x)
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
