//! The shapes of computation that devices fuse, and every composition of the engine.

use primer_tensor::{BinaryOp, COMPOSITIONS, CompareOp, DType, Graph, NodeId, ReduceOp, Result, Tensor, UnaryOp};

use super::super::leaves::Leaves;
use super::{Table, shape};

/// A function of recorded tensors.
pub type Function = fn(&Tensor) -> Tensor;

/// Activations of the models that are no primitive.
pub const ACTIVATIONS: [(&str, Function); 4] = [
    ("squared ReLU", |x| x.relu().square()),
    ("silu", |x| x * x.sigmoid()),
    ("gelu", |x| {
        let inner = (x + x * x * x * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
        x * 0.5 * (inner.tanh() + 1.0)
    }),
    ("softplus", |x| x.relu() + ((-x.abs()).exp() + 1.0).log()),
];

/// `x` scaled to mean 0 and variance 1 over the last axis.
fn norm(graph: &mut Graph, x: NodeId) -> Result<NodeId> {
    let axis = graph.shape(x).rank() - 1;
    let scale = 1.0 / graph.shape(x).last() as f64;
    let sum = graph.reduce(ReduceOp::Sum, x, axis)?;
    let mean = graph.mul_scalar(sum, scale)?;
    let centred = graph.sub(x, mean)?;
    let square = graph.mul(centred, centred)?;
    let sum = graph.reduce(ReduceOp::Sum, square, axis)?;
    let variance = graph.mul_scalar(sum, scale)?;
    let epsilon = graph.constant(1e-5);
    let variance = graph.add(variance, epsilon)?;
    let deviation = graph.unary(UnaryOp::Sqrt, variance)?;
    graph.div(centred, deviation)
}

fn softmax(graph: &mut Graph, x: NodeId) -> Result<NodeId> {
    let axis = graph.shape(x).rank() - 1;
    let max = graph.reduce(ReduceOp::Max, x, axis)?;
    let max = graph.stop_gradient(max)?;
    let shifted = graph.sub(x, max)?;
    let e = graph.unary(UnaryOp::Exp, shifted)?;
    let total = graph.reduce(ReduceOp::Sum, e, axis)?;
    graph.div(e, total)
}

pub(super) fn idioms(table: &mut Table) {
    for dims in [shape([1, 1]), shape([5, 9]), shape([3, 130]), shape([2, 3, 8])] {
        table.case(format!("softmax {dims}"), |l| {
            let x = l.float(&dims, -4.0, 4.0);
            softmax(&mut l.graph, x)
        });
        table.case(format!("norm with gain and bias {dims}"), |l| {
            let x = l.float(&dims, -4.0, 4.0);
            let gain = l.float(&shape([dims.last()]), 0.5, 1.5);
            let bias = l.float(&shape([dims.last()]), -0.5, 0.5);
            let y = norm(&mut l.graph, x)?;
            let y = l.graph.mul(y, gain)?;
            l.graph.add(y, bias)
        });
    }
    for composed in COMPOSITIONS {
        for dims in [shape([2, 2]), shape([5, 9]), shape([3, 130])] {
            table.case(format!("{} {dims}", composed.name), |l| {
                let x = l.float(&dims, -2.0, 2.0);
                l.compose(x, composed.apply)
            });
        }
        table.empty(format!("{} [0,3]", composed.name), |l| {
            let x = l.float(&shape([0, 3]), -2.0, 2.0);
            l.compose(x, composed.apply)
        });
    }
    table.case("top-1 routing with a capacity", |l| {
        let x = l.float(&shape([9, 4]), -2.0, 2.0);
        // The gate of each token's expert, and whether the expert has room for it: 3 tokens each, in the order of
        // tokens.
        l.compose(x, |logits| {
            let gates = logits.softmax();
            let chosen = Tensor::iota([9, 4], 1, DType::U32).compare(CompareOp::Equal, &gates.argmax(1));
            let one_hot = chosen.to_f32();
            let fits = one_hot.cumsum(0).compare(CompareOp::Less, &Tensor::constant(3.5));
            fits.select(&(one_hot * gates), &Tensor::constant(0.0))
        })
    });
    table.case("a Switch layer of linear experts", |l| {
        let (x, router) = (l.float(&shape([7, 6]), -1.0, 1.0), l.float(&shape([6, 3]), -1.0, 1.0));
        let experts = l.float(&shape([3, 6, 5]), -1.0, 1.0);
        let logits = l.graph.matmul(x, router)?;
        // Each token goes to one expert and comes back times its gate.
        let gates = l.compose(logits, |logits| {
            let gates = logits.softmax();
            let chosen = Tensor::iota([7, 3], 1, DType::U32).compare(CompareOp::Equal, &gates.argmax(1));
            chosen.select(&gates, &Tensor::constant(0.0))
        })?;
        let by_expert = l.graph.permute(gates, &[1, 0])?;
        let by_expert = l.graph.reshape(by_expert, [3, 7, 1])?;
        let tokens = l.graph.reshape(x, [1, 7, 6])?;
        let sent = l.graph.mul(by_expert, tokens)?;
        let answers = l.graph.matmul(sent, experts)?;
        l.graph.reduce(ReduceOp::Sum, answers, 0)
    });
    table.case("Adafactor's update of a matrix", |l| {
        let (p, g) = (l.float(&shape([9, 34]), -1.0, 1.0), l.float(&shape([9, 34]), 0.2, 1.0));
        let square = l.graph.mul(g, g)?;
        let rows = l.compose(square, |v| v.mean_axis(1))?;
        let columns = l.compose(square, |v| v.mean_axis(0))?;
        let mean = l.compose(rows, |r| r.mean_axis(0))?;
        let second = l.graph.mul(rows, columns)?;
        let second = l.graph.div(second, mean)?;
        let root = l.graph.unary(UnaryOp::Sqrt, second)?;
        let update = l.graph.div(g, root)?;
        // Clipped to a root mean square of 1.
        let clipped = l.compose(update, |u| u / u.square().mean().sqrt().maximum(&Tensor::constant(1.0)))?;
        let step = l.graph.mul_scalar(clipped, -0.01)?;
        l.graph.add(p, step)
    });
    table.case("AdamW's update", |l| {
        let x = [0.0; 4].map(|_| l.float(&shape([5, 9]), 0.1, 1.0));
        let [p, m, v, g] = x;
        let (old, new) = (l.graph.mul_scalar(m, 0.9)?, l.graph.mul_scalar(g, 0.1)?);
        let m = l.graph.add(old, new)?;
        let square = l.graph.mul(g, g)?;
        let (old, new) = (l.graph.mul_scalar(v, 0.99)?, l.graph.mul_scalar(square, 0.01)?);
        let v = l.graph.add(old, new)?;
        let root = l.graph.unary(UnaryOp::Sqrt, v)?;
        let epsilon = l.graph.constant(1e-8);
        let root = l.graph.add(root, epsilon)?;
        let ratio = l.graph.div(m, root)?;
        let step = l.graph.mul_scalar(ratio, -0.01)?;
        let decayed = l.graph.mul_scalar(p, 0.999)?;
        l.graph.add(decayed, step)
    });
    table.case("a draw from a softmax", |l| {
        let (x, key) = (l.float(&shape([6, 40]), -2.0, 2.0), l.key([1, 2]));
        let u = l.graph.random(key, [6, 40], 0)?;
        let u = l.graph.unary(UnaryOp::Log, u)?;
        let u = l.graph.neg(u)?;
        let u = l.graph.unary(UnaryOp::Log, u)?;
        let noisy = l.graph.sub(x, u)?;
        l.compose(noisy, |noisy| noisy.argmax(1))
    });
    for (name, activation) in ACTIVATIONS {
        table.case(name, |l| {
            let x = l.float(&shape([5, 9]), -4.0, 4.0);
            l.compose(x, activation)
        });
    }
    table.case("squared ReLU between two products, residual", |l| {
        let x = l.float(&shape([10, 12]), -1.0, 1.0);
        let (up, down) = (l.float(&shape([12, 20]), -1.0, 1.0), l.float(&shape([20, 12]), -1.0, 1.0));
        let h = norm(&mut l.graph, x)?;
        let h = l.graph.matmul(h, up)?;
        let zero = l.graph.constant(0.0);
        let h = l.graph.binary(BinaryOp::Max, h, zero)?;
        let h = l.graph.mul(h, h)?;
        let h = l.graph.matmul(h, down)?;
        l.graph.add(x, h)
    });
    table.case("causal attention with depthwise convolution", attention);
    table.case("cross entropy of gathered rows", |l| {
        let (ids, targets) = (l.indices(&shape([9]), 6), l.indices(&shape([9, 1]), 10));
        let (table, w) = (l.float(&shape([7, 4]), -1.0, 1.0), l.float(&shape([4, 11]), -1.0, 1.0));
        let x = l.graph.gather(table, ids)?;
        let logits = l.graph.matmul(x, w)?;
        let max = l.graph.reduce(ReduceOp::Max, logits, 1)?;
        let max = l.graph.stop_gradient(max)?;
        let shifted = l.graph.sub(logits, max)?;
        let e = l.graph.unary(UnaryOp::Exp, shifted)?;
        let total = l.graph.reduce(ReduceOp::Sum, e, 1)?;
        let total = l.graph.unary(UnaryOp::Log, total)?;
        let columns = l.graph.iota([9, 11], 1, DType::U32)?;
        let hit = l.graph.compare(CompareOp::Equal, columns, targets)?;
        let zero = l.graph.constant(0.0);
        let picked = l.graph.select(hit, shifted, zero)?;
        let picked = l.graph.reduce(ReduceOp::Sum, picked, 1)?;
        l.graph.sub(total, picked)
    });
}

/// Rows so long that a GPU reads each in parts, one launch for each reduction, and those of the gradient again.
pub(super) fn long_rows(table: &mut Table) {
    const LENGTH: usize = 70_000;
    table.case("softmax of long rows", |l| {
        let x = l.float(&shape([2, LENGTH]), -4.0, 4.0);
        l.compose(x, Tensor::softmax)
    });
    table.case("cross entropy of long rows", |l| {
        let x = l.float(&shape([2, LENGTH]), -4.0, 4.0);
        // One target within a row, one at its end.
        l.compose(x, |x| x.cross_entropy(&(Tensor::iota([2], 0, DType::F32) * 40_000.0 + 29_999.0).to_u32()))
    });
}

/// Two sequences of 6, width 8, 2 heads.
fn attention(l: &mut Leaves) -> Result<NodeId> {
    let x = l.float(&shape([2, 6, 8]), -1.0, 1.0);
    let mut heads = Vec::new();
    for _ in 0..3 {
        let (w, taps) = (l.float(&shape([8, 8]), -1.0, 1.0), l.float(&shape([3, 8]), -1.0, 1.0));
        let rows = l.graph.reshape(x, [12, 8])?;
        let projected = l.graph.matmul(rows, w)?;
        let projected = l.graph.reshape(projected, [2, 6, 8])?;
        let mixed = l.graph.depthwise_conv(projected, taps)?;
        let split = l.graph.reshape(mixed, [2, 6, 2, 4])?;
        heads.push(l.graph.permute(split, &[0, 2, 1, 3])?);
    }
    let scores = l.graph.matmul_t(heads[0], false, heads[1], true)?;
    let scores = l.graph.mul_scalar(scores, 0.5)?;
    let (row, column) = (l.graph.iota([2, 2, 6, 6], 2, DType::U32)?, l.graph.iota([2, 2, 6, 6], 3, DType::U32)?);
    let future = l.graph.compare(CompareOp::Less, row, column)?;
    let low = l.graph.constant(-1e9);
    let masked = l.graph.select(future, low, scores)?;
    let weights = softmax(&mut l.graph, masked)?;
    let mixed = l.graph.matmul(weights, heads[2])?;
    let joined = l.graph.permute(mixed, &[0, 2, 1, 3])?;
    let joined = l.graph.reshape(joined, [2, 6, 8])?;
    l.graph.add(joined, x)
}
