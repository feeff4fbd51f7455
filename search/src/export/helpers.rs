use primer_models::nn::{Dims, Init, Scope};
use primer_tensor::{CompareOp, DType, Shape, Tensor};

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

/// max(x, c), whose gradient passes where x ≥ c.
fn at_least(x: &Tensor, c: f64) -> Tensor {
    let c = Tensor::constant(c);
    x.compare(CompareOp::Less, &c).select(&c, x)
}

/// min(x, c), whose gradient passes where x ≤ c.
fn at_most(x: &Tensor, c: f64) -> Tensor {
    let c = Tensor::constant(c);
    c.compare(CompareOp::Less, x).select(&c, x)
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
