//! The block of the program primer_ez as Rust, by `primer export --format rust`.
//!
//! It is built in. The SHA-256 of its text (`--format dna`) begins with dd4dcc4da457.
//!
//! `primer_models::arch::Model::with_block(&config, batch, &block)` puts the usual shell around it: embedding,
//! positions, final layer norm, logits. Parameters have the names and shapes that the program's have in `--arch
//! dna:FILE`, so its weights fit. Rows are `[batch·n, c]`; attention sees `[batch, branches, n, c]`; h2, h3, ... number
//! the instructions of a subprogram as its text does. Widths follow d = `dims.d_model`.

use primer_models::nn::{Dims, Init, Scope};
use primer_tensor::{CompareOp, DType, Tensor};

/// The block, from rows `[batch·n, d]` to the same.
pub fn block(scope: Scope<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    assert!(d.is_multiple_of(8), "d_model is a multiple of 8, not {d}");
    let p = &mut Parameters { scope, made: 0 };
    let layer_norm_out = layer_norm(p, dims, x); // h2: [batch·n, d]
    let self_attention_rows = rows(&self_attention(p, dims, &layer_norm_out));
    let self_attention_joined = self_attention_rows.reshape([batch * n, d]); // h3: [batch·n, d]
    let projected = self_attention_joined.matmul(&p.next("conv_1x1", &[d, d], fan_in(d))); // h4: [batch·n, d]
    let sum = x + projected; // h5 = S8 RESIDUAL: [batch·n, d]
    let layer_norm_out_2 = layer_norm(p, dims, &sum); // h6: [batch·n, d]
    let feed_forward_out = feed_forward(p, dims, &layer_norm_out_2); // h7: [batch·n, d]
    sum + feed_forward_out // h8 = S8 RESIDUAL: [batch·n, d]
}

/// S1 SELF-ATTENTION in 8 branches, from `[batch·n, d]` to `[batch, 8, n, d/8]`.
fn self_attention(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let head_projection_out = head_projection(p, dims, x); // h2: [batch·n, 8, d/8]
    let head_projection_out_2 = head_projection(p, dims, x); // h3: [batch·n, 8, d/8]
    let multiple = head_projection_out_2 * 0.25; // h4: [batch·n, 8, d/8]
    let head_projection_out_3 = head_projection(p, dims, x); // h5: [batch·n, 8, d/8]
    let multiple_heads = heads(dims, &multiple);
    let head_projection_heads = heads(dims, &head_projection_out);
    let scores = causal(&multiple_heads.matmul_t(false, &head_projection_heads, true), 0.0); // h6: [batch, 8, n, n]
    let softmax_out = softmax(dims, &scores); // h7: [batch, 8, n, n]
    mix(&softmax_out, &heads(dims, &head_projection_out_3)) // h8: [batch, 8, n, d/8]
}

/// S2 FEED-FORWARD, on `[batch·n, d]`.
fn feed_forward(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    let projected = x.matmul(&p.next("conv_1x1", &[d, 4 * d], fan_in(d))); // h2: [batch·n, 4·d]
    let shifted = projected + p.next("shift", &[4 * d], Init::Constant(0.0)); // h3: [batch·n, 4·d]
    let squared_relu_out = squared_relu(&shifted); // h4: [batch·n, 4·d]
    let projected_2 = squared_relu_out.matmul(&p.next("conv_1x1", &[4 * d, d], fan_in(4 * d))); // h5: [batch·n, d]
    projected_2 + p.next("shift", &[d], Init::Constant(0.0)) // h6: [batch·n, d]
}

/// S3 HEAD-PROJECTION in 8 branches, from `[batch·n, d]` to `[batch·n, 8, d/8]`.
fn head_projection(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, d_model: d } = dims;
    // h2: [batch·n, 8, d/8]
    let projected = x.matmul(&p.next("conv_1x1", &[d, d], fan_in(d))).reshape([batch * n, 8, d / 8]);
    depthwise(dims, &projected, &p.next("dconv_3x1", &[3, d], Init::Taps)) // h3: [batch·n, 8, d/8]
}

/// S4 SOFTMAX in 8 branches, on `[batch, 8, n, n]`.
fn softmax(dims: Dims, x: &Tensor) -> Tensor {
    let Dims { batch, seq: n, .. } = dims;
    let exponential = x.exp(); // h2: [batch, 8, n, n]
    let exponential_masked = causal(&exponential, 0.0); // h3: [batch, 8, n, n]
    let total = exponential_masked.sum_axis(3); // h4: [batch, 8, n, 1]
    let total_resized_masked = causal(&total.broadcast_to([batch, 8, n, n]), 1.0);
    exponential_masked / total_resized_masked // h5: [batch, 8, n, n]
}

/// S5 LAYER-NORM, on `[batch·n, d]`.
fn layer_norm(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let z_score_out = z_score(x); // h2: [batch·n, d]
    scale_shift(p, dims, &z_score_out) // h3: [batch·n, d]
}

/// S6 Z-SCORE, on `[batch·n, d]`.
fn z_score(x: &Tensor) -> Tensor {
    let mean = x.mean_axis(1); // h2: [batch·n, 1]
    let difference = x - mean; // h3: [batch·n, d]
    let product = &difference * &difference; // h4: [batch·n, d]
    let mean_2 = product.mean_axis(1); // h5: [batch·n, 1]
    let root = mean_2.abs().sqrt(); // h6: [batch·n, 1]
    difference / root // h7: [batch·n, d]
}

/// S7 SCALE-SHIFT, on `[batch·n, d]`.
fn scale_shift(p: &mut Parameters<'_>, dims: Dims, x: &Tensor) -> Tensor {
    let d = dims.d_model;
    let scaled = x * p.next("scale", &[d], Init::Constant(1.0)); // h2: [batch·n, d]
    scaled + p.next("shift", &[d], Init::Constant(0.0)) // h3: [batch·n, d]
}

/// S9 SQUARED-RELU, on `[batch·n, 4·d]`.
fn squared_relu(x: &Tensor) -> Tensor {
    let rectified = x.relu(); // h2: [batch·n, 4·d]
    rectified.square() // h3: [batch·n, 4·d]
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

/// Rows `[batch·n, k, c]` of k branches as `[batch, k, n, c]`.
fn heads(dims: Dims, x: &Tensor) -> Tensor {
    let (k, c) = (x.shape()[1], x.shape().last());
    x.reshape([dims.batch, dims.seq, k, c]).permute(&[0, 2, 1, 3])
}

/// `[batch, k, n, c]` as rows `[batch·n, k, c]`.
fn rows(x: &Tensor) -> Tensor {
    let (batch, k, n, c) = (x.shape()[0], x.shape()[1], x.shape()[2], x.shape()[3]);
    x.permute(&[0, 2, 1, 3]).reshape([batch * n, k, c])
}

/// `fill` where the last index of `[.., n, m]` is greater than the one before: a key in the future of its query. What
/// stood there is never looked at.
fn causal(x: &Tensor, fill: f64) -> Tensor {
    let axis = x.shape().rank() - 1;
    let query = Tensor::iota(x.shape(), axis - 1, DType::U32);
    let future = query.compare(CompareOp::Less, &Tensor::iota(x.shape(), axis, DType::U32));
    future.select(&Tensor::constant(fill), x)
}

/// The product over positions with weights that are 0 for later ones. A row of `b` that isn't finite stays at its own
/// position: 0·∞ is not a number.
fn mix(weights: &Tensor, b: &Tensor) -> Tensor {
    let finite = b.is_finite();
    let product = weights.matmul(&finite.select(b, &Tensor::constant(0.0)));
    finite.select(&product, b)
}

/// The causal depthwise convolution of rows `[batch·n, .., c]`, with taps for each of their channels.
fn depthwise(dims: Dims, x: &Tensor, taps: &Tensor) -> Tensor {
    x.reshape([dims.batch, dims.seq, taps.shape().last()]).depthwise_conv(taps).reshape(x.shape())
}
