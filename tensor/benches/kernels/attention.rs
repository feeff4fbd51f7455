//! Causal attention: the product, the row program and the product that a device may run tile by tile.

use primer_tensor::{CompareOp, DType, Tensor};

use crate::{Family, leaf};

const HEADS: usize = 8;
const WIDTH: usize = 32;

/// Where a query may not look.
fn hidden(batch: usize, n: usize) -> Tensor {
    let [query, key] = [2, 3].map(|axis| Tensor::iota([batch, HEADS, n, n], axis, DType::U32));
    query.compare(CompareOp::Less, &key)
}

fn operands(batch: usize, n: usize) -> [Tensor; 3] {
    ["q", "k", "v"].map(|name| leaf(name, [batch, HEADS, n, WIDTH]))
}

/// softmax(mask(q·kᵀ))
fn weights(q: &Tensor, k: &Tensor, batch: usize, n: usize) -> Tensor {
    let scores = q.matmul_t(false, k, true);
    hidden(batch, n).select(&Tensor::constant(f64::NEG_INFINITY), &scores).softmax()
}

fn forward(batch: usize, n: usize) -> Tensor {
    let [q, k, v] = operands(batch, n);
    weights(&q, &k, batch, n).matmul(&v)
}

/// The gradients in q, k and v, weights computed again.
fn backward(batch: usize, n: usize) -> [Tensor; 3] {
    let [q, k, v] = operands(batch, n);
    let upstream = leaf("dy", [batch, HEADS, n, WIDTH]);
    let weights = weights(&q, &k, batch, n);
    let of_weights = upstream.matmul_t(false, &v, true);
    let mean = (&weights * &of_weights).sum_axis(3);
    let of_scores = &weights * (of_weights - mean);
    [of_scores.matmul(&k), of_scores.matmul_t(true, &q, false), weights.matmul_t(true, &upstream, false)]
}

/// As the paper's search found it: tanh(mask(exp(q·kᵀ)) / Σ) · s, with a number s a key and head.
fn evolved(batch: usize, n: usize) -> Tensor {
    let [q, k, v] = operands(batch, n);
    let exponentials = q.matmul_t(false, &k, true).exp();
    let masked = hidden(batch, n).select(&Tensor::constant(0.0), &exponentials);
    let weights = (&masked / masked.sum_axis(3)).tanh() * leaf("s", [1, HEADS, 1, n]);
    weights.matmul(&v)
}

pub fn cases(family: &mut Family<'_>) {
    // FLOPs of the whole squares, though what is masked may be left out.
    let products = |count: usize, batch: usize, n: usize| count * 2 * batch * HEADS * n * n * WIDTH;
    family.product("forward 16x8x128x32", &[forward(16, 128)], products(2, 16, 128));
    family.product("backward 16x8x128x32", &backward(16, 128), products(5, 16, 128));
    family.product("evolved 16x8x128x32", &[evolved(16, 128)], products(2, 16, 128));
    family.product("forward 1x8x1024x32", &[forward(1, 1024)], products(2, 1, 1024));
}
