//! The table of op cases: every primitive over shapes and ranges, and the idioms that devices fuse.

use primer_tensor::{BinaryOp, CompareOp, DType, Graph, NodeId, Op, ReduceOp, Result, Shape, UnaryOp};

use super::leaves::{Built, Leaves};

/// A program of the table.
pub struct OpCase {
    pub name: String,
    pub built: Built,
}

/// Where an elementwise function is tested beyond its usual range.
pub const EDGES: [f32; 34] = [
    0.0,
    -0.0,
    1e-30,
    -1e-30,
    1e-7,
    -1e-7,
    0.5,
    -0.5,
    1.0,
    -1.0,
    std::f32::consts::PI,
    -std::f32::consts::FRAC_PI_2,
    9.0,
    -9.0,
    15.0,
    -15.0,
    16_777_216.0,
    -16_777_217.0,
    43.9,
    -43.9,
    44.4,
    87.5,
    -87.0,
    88.8,
    -88.8,
    104.5,
    -104.5,
    1e4,
    -1e4,
    1e30,
    f32::MAX,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

struct Table(Vec<OpCase>);

impl Table {
    fn case(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Leaves) -> Result<NodeId>) {
        let name = name.into();
        let mut leaves = Leaves::new(self.0.len() as u64 * 1000 + 1);
        let y = build(&mut leaves).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.0.push(OpCase { name, built: leaves.finish(vec![y]) });
    }
}

fn shape<const N: usize>(dims: [usize; N]) -> Shape {
    Shape::from(dims)
}

/// Every case.
pub fn cases() -> Vec<OpCase> {
    let mut table = Table(Vec::new());
    elementwise(&mut table);
    reductions(&mut table);
    layout(&mut table);
    contractions(&mut table);
    idioms(&mut table);
    table.0
}

fn elementwise(table: &mut Table) {
    for op in UnaryOp::ALL {
        let (low, high) = match op {
            UnaryOp::Sqrt | UnaryOp::Log => (0.01, 10.0),
            UnaryOp::Recip => (0.1, 10.0),
            _ => (-4.0, 4.0),
        };
        for dims in [shape([1]), shape([7]), shape([3, 5]), shape([2, 3, 33]), shape([130, 9])] {
            table.case(format!("{} {dims}", op.name()), |l| {
                let x = l.float(&dims, low, high);
                l.graph.unary(op, x)
            });
        }
    }
    for op in BinaryOp::ALL {
        for (a, b) in [
            (shape([1]), shape([1])),
            (shape([17]), shape([17])),
            (shape([5, 9]), shape([9])),
            (shape([5, 9]), shape([5, 1])),
            (shape([4, 1, 3]), shape([2, 1])),
            (shape([]), shape([3, 70])),
        ] {
            table.case(format!("{} {a} {b}", op.name()), |l| {
                let (a, b) = (l.float(&a, -2.0, 2.0), l.float(&b, 0.3, 2.0));
                l.graph.binary(op, a, b)
            });
        }
        table.case(format!("{} with ties", op.name()), |l| {
            let a = l.values(&shape([6]), &[0.0, 1.0, -1.0, 2.0, 0.5, -0.5]);
            let b = l.values(&shape([6]), &[1.0, 1.0, -1.0, 1.0, 0.5, 0.5]);
            l.graph.binary(op, a, b)
        });
    }
    for op in [CompareOp::Less, CompareOp::Equal] {
        table.case(format!("select by {op:?}"), |l| {
            let a = l.values(&shape([2, 3]), &[0.0, 1.0, -1.0, 2.0, 0.5, -0.5]);
            let b = l.float(&shape([3]), -1.0, 1.0);
            let c = l.values(&shape([3]), &[0.0, 1.0, -1.0]);
            let cond = l.graph.compare(op, a, c)?;
            l.graph.select(cond, a, b)
        });
    }
    table.case("select by indices", |l| {
        let ids = l.indices(&shape([5, 1]), 4);
        let x = l.float(&shape([5, 4]), -1.0, 1.0);
        let columns = l.graph.iota([5, 4], 1, DType::U32)?;
        let hit = l.graph.compare(CompareOp::Equal, columns, ids)?;
        let zero = l.graph.constant(0.0);
        l.graph.select(hit, x, zero)
    });
    table.case("casts", |l| {
        let x = l.float(&shape([3, 5]), 0.0, 9.0);
        let floor = l.graph.cast(x, DType::U32)?;
        let floor = l.graph.cast(floor, DType::F32)?;
        let part = l.graph.sub(x, floor)?;
        let finite = l.graph.is_finite(x)?;
        let finite = l.graph.cast(finite, DType::F32)?;
        l.graph.mul(part, finite)
    });
    table.case("stop_gradient", |l| {
        let x = l.float(&shape([3, 5]), 0.0, 9.0);
        let constant = l.graph.stop_gradient(x)?;
        l.graph.mul(x, constant)
    });
}

fn reductions(table: &mut Table) {
    for op in ReduceOp::ALL {
        for (dims, axis) in [
            (shape([1]), 0),
            (shape([5]), 0),
            (shape([2, 6]), 0),
            (shape([2, 6]), 1),
            (shape([3, 4, 5]), 0),
            (shape([3, 4, 5]), 1),
            (shape([3, 4, 5]), 2),
            (shape([70, 3]), 0),
            (shape([3, 70]), 1),
            (shape([1, 300]), 1),
            (shape([300, 1]), 0),
        ] {
            table.case(format!("{} {dims} over {axis}", op.name()), |l| {
                // A product of 300 such factors stays within the range of f32.
                let (low, high) = if op == ReduceOp::Prod { (0.8, 1.2) } else { (-2.0, 2.0) };
                let x = l.float(&dims, low, high);
                l.graph.reduce(op, x, axis)
            });
        }
        table.case(format!("{} with ties and zeros", op.name()), |l| {
            let values = [0.0, 2.0, 2.0, -1.0, -1.0, 0.0, 0.0, 3.0, 5.0, 5.0, 5.0, 5.0];
            let x = l.values(&shape([3, 4]), &values);
            l.graph.reduce(op, x, 1)
        });
    }
    for (dims, axis) in
        [(shape([1]), 0), (shape([70]), 0), (shape([3, 33]), 1), (shape([9, 5]), 0), (shape([2, 7, 3]), 1)]
    {
        for (reverse, start) in [(false, 0.0), (true, 1.0), (false, -0.5)] {
            table.case(format!("linrec {dims} over {axis}, reverse {reverse}, start {start}"), |l| {
                let (a, b) = (l.float(&dims, -1.0, 1.0), l.float(&dims, -1.0, 1.0));
                l.graph.linrec(a, b, axis, reverse, start)
            });
        }
    }
    table.case("cumulative product with zeros", |l| {
        let x = l.values(&shape([2, 4]), &[2.0, 0.0, 3.0, 4.0, 1.5, 2.0, 0.0, 0.0]);
        let zero = l.graph.full(0.0, [2, 4])?;
        l.graph.linrec(x, zero, 1, false, 1.0)
    });
}

fn layout(table: &mut Table) {
    type Build = fn(&mut Graph, NodeId) -> Result<NodeId>;
    let cases: [(&str, Shape, Build); 14] = [
        ("reshape", shape([6, 10]), |g, x| g.reshape(x, [4, 15])),
        ("permute [1,0]", shape([5, 33]), |g, x| g.permute(x, &[1, 0])),
        ("permute [0,2,1,3]", shape([2, 3, 4, 5]), |g, x| g.permute(x, &[0, 2, 1, 3])),
        ("permute [2,0,1]", shape([3, 4, 5]), |g, x| g.permute(x, &[2, 0, 1])),
        ("broadcast", shape([2, 1, 3, 1]), |g, x| g.broadcast_to(x, [2, 4, 3, 5])),
        ("broadcast a scalar", shape([]), |g, x| g.broadcast_to(x, [3, 70])),
        ("slice 0", shape([7, 5]), |g, x| g.slice(x, 0, 2, 6)),
        ("slice 1", shape([7, 5]), |g, x| g.slice(x, 1, 1, 2)),
        ("pad 0", shape([3, 5]), |g, x| g.pad(x, 0, 2, 1)),
        ("pad 1", shape([3, 5]), |g, x| g.pad(x, 1, 0, 4)),
        ("reverse 0", shape([7, 5]), |g, x| g.reverse(x, 0)),
        ("reverse 1", shape([2, 7, 5]), |g, x| g.reverse(x, 1)),
        ("reverse of a slice of a permutation", shape([4, 3, 5]), |g, x| {
            let x = g.permute(x, &[2, 0, 1])?;
            let x = g.slice(x, 0, 1, 4)?;
            g.reverse(x, 0)
        }),
        ("reshape of a permutation, twice", shape([4, 3, 2]), |g, x| {
            let x = g.permute(x, &[1, 0, 2])?;
            let x = g.reshape(x, [6, 4])?;
            let x = g.permute(x, &[1, 0])?;
            g.reshape(x, [24])
        }),
    ];
    for (name, dims, build) in cases {
        table.case(name, |l| {
            let x = l.float(&dims, -1.0, 1.0);
            build(&mut l.graph, x)
        });
        // The same as a view of something computed, read by something that computes.
        table.case(format!("{name}, inside"), |l| {
            let x = l.float(&dims, -1.0, 1.0);
            let x = l.graph.unary(UnaryOp::Tanh, x)?;
            let y = build(&mut l.graph, x)?;
            l.graph.mul(y, y)
        });
    }
    for axis in 0..2 {
        table.case(format!("concat over {axis}"), |l| {
            let a = l.float(&shape([3, 4]), -1.0, 1.0);
            let b = if axis == 0 { shape([2, 4]) } else { shape([3, 1]) };
            let b = l.float(&b, -1.0, 1.0);
            let b = l.graph.unary(UnaryOp::Exp, b)?;
            l.graph.concat(&[a, b, a], axis)
        });
    }
}

fn contractions(table: &mut Table) {
    let sizes = [(1, 1, 1), (3, 5, 7), (1, 40, 6), (6, 40, 1), (17, 1, 9), (17, 33, 9), (32, 32, 32), (65, 34, 66)];
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for (batch, (m, k, n)) in
            sizes.iter().map(|&size| (vec![], size)).chain([(vec![3], (5, 6, 7)), (vec![2, 3], (4, 9, 4))])
        {
            let of = |rows: usize, columns: usize, transposed: bool| -> Shape {
                batch.iter().copied().chain(if transposed { [columns, rows] } else { [rows, columns] }).collect()
            };
            table.case(format!("matmul {batch:?} {m}x{k}x{n} {ta} {tb}"), |l| {
                let a = l.float(&of(m, k, ta), -1.0, 1.0);
                let b = l.float(&of(k, n, tb), -1.0, 1.0);
                l.graph.matmul_t(a, ta, b, tb)
            });
        }
    }
    for (batch, n, c, width) in [(1, 1, 1, 3), (2, 9, 5, 3), (2, 2, 33, 4), (3, 17, 8, 1)] {
        let x = shape([batch, n, c]);
        table.case(format!("depthwise_conv {x} width {width}"), |l| {
            let (x, w) = (l.float(&x, -1.0, 1.0), l.float(&shape([width, c]), -1.0, 1.0));
            l.graph.depthwise_conv(x, w)
        });
        table.case(format!("its gradient in x {x} width {width}"), |l| {
            let (x, w) = (l.float(&x, -1.0, 1.0), l.float(&shape([width, c]), -1.0, 1.0));
            l.graph.push(Op::DepthwiseConvInputGrad, &[x, w])
        });
        table.case(format!("its gradient in w {x} width {width}"), |l| {
            let (a, b) = (l.float(&x, -1.0, 1.0), l.float(&x, -1.0, 1.0));
            l.graph.push(Op::DepthwiseConvFilterGrad { width }, &[a, b])
        });
    }
    for (rows, d, ids) in [(1, 1, shape([1])), (7, 33, shape([2, 5])), (40, 4, shape([70]))] {
        table.case(format!("gather {ids} of [{rows},{d}]"), |l| {
            let (t, i) = (l.float(&shape([rows, d]), -1.0, 1.0), l.indices(&ids, rows));
            l.graph.gather(t, i)
        });
        table.case(format!("scatter_add {ids} to [{rows},{d}]"), |l| {
            let i = l.indices(&ids, rows);
            let updates = l.float(&ids.iter().copied().chain([d]).collect(), -1.0, 1.0);
            l.graph.push(Op::ScatterAdd { rows }, &[i, updates])
        });
    }
}

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

fn idioms(table: &mut Table) {
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
