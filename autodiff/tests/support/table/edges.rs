//! Every primitive at the edges of f32: ±0, subnormals, ±10³⁸, the largest numbers, infinities, NaN; and the gradients of
//! elementwise functions there. Each edge is alone among ordinary numbers of its sign, so that no result depends on the
//! order of a sum.

use primer_autodiff::grad_graph;
use primer_tensor::{BinaryOp, CompareOp, DType, Graph, NodeId, Op, Program, ReduceOp, Result, Shape, Tensor, UnaryOp};

use super::super::leaves::{Leaves, Values};
use super::idioms::{ACTIVATIONS, Function};
use super::shape;

/// Where functions are tested beyond their usual range.
pub const EDGES: [f32; 44] = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1e-40,
    -1e-40,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
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
    5e9,
    1e30,
    1e38,
    -1e38,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// A program of one output over edge values.
pub struct EdgeCase {
    pub name: String,
    pub program: Program,
    pub inputs: Vec<(String, Values)>,
    /// The primitive moves or passes elements, so that a zero keeps its sign.
    pub keeps_sign: bool,
    /// What a NaN among the operands does is the same everywhere; of `max` and `min` on a GPU it isn't.
    pub nan_is_specified: bool,
    /// What is allowed beside by the first operand: the rounding of terms that cancel.
    pub floor: fn(f64) -> f64,
    /// How many roundings meet in a result.
    pub roundings: f64,
}

struct Edges(Vec<EdgeCase>);

impl Edges {
    fn case(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Leaves) -> Result<NodeId>) -> &mut EdgeCase {
        let name = name.into();
        let mut leaves = Leaves::new(1);
        let y = build(&mut leaves).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (program, inputs) = leaves.forward(vec![y]);
        self.0.push(EdgeCase {
            name,
            program,
            inputs,
            keeps_sign: false,
            nan_is_specified: true,
            floor: |_| 0.0,
            roundings: 1.0,
        });
        self.0.last_mut().expect("just added")
    }
}

/// `rows` rows of `length`, each with one edge value, at another place in each row; the rest is 0.25 to 1.5 of its
/// sign.
fn one_a_row(length: usize) -> Vec<f32> {
    let ordinary = |edge: f32, i: usize| (0.25 + (i % 6) as f32 * 0.25).copysign(edge);
    let row = |(r, &edge): (usize, &f32)| -> Vec<f32> {
        (0..length).map(|i| if i == r % length { edge } else { ordinary(edge, i) }).collect()
    };
    EDGES.iter().enumerate().flat_map(row).collect()
}

/// The matrix with rows and columns exchanged.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
}

/// Every case.
pub fn edge_cases() -> Vec<EdgeCase> {
    let mut edges = Edges(Vec::new());
    elementwise(&mut edges);
    gradients(&mut edges);
    choices(&mut edges);
    accumulations(&mut edges);
    movements(&mut edges);
    contractions(&mut edges);
    edges.0
}

fn all() -> Shape {
    shape([EDGES.len()])
}

/// All pairs.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    EDGES.iter().flat_map(|&a| EDGES.iter().map(move |&b| (a, b))).unzip()
}

fn elementwise(edges: &mut Edges) {
    for op in UnaryOp::ALL {
        let case = edges.case(op.name(), |l| {
            let x = l.values(&all(), &EDGES);
            l.graph.unary(op, x)
        });
        case.keeps_sign = matches!(op, UnaryOp::Neg | UnaryOp::Abs);
    }
    for op in BinaryOp::ALL {
        let case = edges.case(op.name(), |l| {
            let (a, b) = pairs();
            let n = shape([a.len()]);
            let (a, b) = (l.values(&n, &a), l.values(&n, &b));
            l.graph.binary(op, a, b)
        });
        case.nan_is_specified = !matches!(op, BinaryOp::Max | BinaryOp::Min);
    }
    let functions: [(&str, Function); 2] = [("tanh", Tensor::tanh), ("sigmoid", Tensor::sigmoid)];
    for (name, function) in functions.into_iter().chain(ACTIVATIONS) {
        let case = edges.case(name, |l| {
            let x = l.values(&all(), &EDGES);
            l.compose(x, function)
        });
        case.nan_is_specified = false;
        let case = edges.case(format!("gradient of {name}"), |l| {
            let x = l.values(&all(), &EDGES);
            let y = l.compose(x, function)?;
            let loss = l.graph.sum_all(y)?;
            Ok(grad_graph(&mut l.graph, loss, &[x]).expect("the loss is a scalar")[0])
        });
        case.nan_is_specified = false;
        case.floor = |x| 2e-6 * x.abs().max(1.0);
    }
}

/// The gradients of the elementwise functions, but for those in which nothing of an operand is: sums and the negation
/// hand their cotangent on, a step none. tanh and sigmoid are with the activations in [`elementwise`].
fn gradients(edges: &mut Edges) {
    let unary = |op: &UnaryOp| !matches!(op, UnaryOp::Neg | UnaryOp::Sign | UnaryOp::Tanh | UnaryOp::Sigmoid);
    for op in UnaryOp::ALL.into_iter().filter(unary) {
        let case = edges.case(format!("gradient of {}", op.name()), |l| {
            let x = l.values(&all(), &EDGES);
            let y = l.graph.unary(op, x)?;
            gradient(l, y, x, 0.5)
        });
        case.roundings = 4.0;
    }
    for op in BinaryOp::ALL.into_iter().filter(|op| !matches!(op, BinaryOp::Add | BinaryOp::Sub)) {
        for second in [false, true] {
            let which = if second { "second" } else { "first" };
            let case = edges.case(format!("gradient of {} by its {which} operand", op.name()), |l| {
                let (a, b) = pairs();
                let n = shape([a.len()]);
                let (a, b) = (l.values(&n, &a), l.values(&n, &b));
                let y = l.graph.binary(op, a, b)?;
                // 8 / b is subnormal for no b, which a GPU might flush: ∞ times it would be NaN.
                gradient(l, y, if second { b } else { a }, 8.0)
            });
            case.roundings = 4.0;
            if op == BinaryOp::Div && second {
                // −(8 / b)·(a / b), where a / b is subnormal and flushed.
                case.floor = |_| 1e-37;
            }
        }
    }
}

/// The gradient by `x` of Σ y·`cotangent`.
fn gradient(l: &mut Leaves, y: NodeId, x: NodeId, cotangent: f32) -> Result<NodeId> {
    let shape = l.graph.shape(y).clone();
    let cotangents = l.values(&shape, &vec![cotangent; shape.numel()]);
    let product = l.graph.mul(y, cotangents)?;
    let loss = l.graph.sum_all(product)?;
    Ok(grad_graph(&mut l.graph, loss, &[x]).expect("the loss is a scalar")[0])
}

fn choices(edges: &mut Edges) {
    for op in [CompareOp::Less, CompareOp::Equal] {
        edges.case(format!("{op:?}"), |l| {
            let (a, b) = pairs();
            let n = shape([a.len()]);
            let (a, b) = (l.values(&n, &a), l.values(&n, &b));
            let holds = l.graph.compare(op, a, b)?;
            l.graph.cast(holds, DType::F32)
        });
        edges.case(format!("{op:?} of indices"), |l| {
            let values = [0, 1, 2, (1 << 24) + 1, u32::MAX - 1, u32::MAX];
            let (a, b) = values.iter().flat_map(|&a| values.iter().map(move |&b| (a, b))).unzip();
            let (a, b) = (l.words(a), l.words(b));
            let holds = l.graph.compare(op, a, b)?;
            l.graph.cast(holds, DType::F32)
        });
    }
    let case = edges.case("select", |l| {
        let (a, b) = pairs();
        let n = shape([a.len()]);
        let sides: Vec<f32> = (0..a.len()).map(|i| (i % 2) as f32).collect();
        let (a, b, sides) = (l.values(&n, &a), l.values(&n, &b), l.values(&n, &sides));
        let zero = l.graph.constant(0.0);
        let cond = l.graph.compare(CompareOp::Less, zero, sides)?;
        l.graph.select(cond, a, b)
    });
    case.keeps_sign = true;
    edges.case("is_finite", |l| {
        let x = l.values(&all(), &EDGES);
        let finite = l.graph.is_finite(x)?;
        l.graph.cast(finite, DType::F32)
    });
    let case = edges.case("cast to indices and back", |l| {
        let x = l.values(&all(), &EDGES);
        let index = l.graph.cast(x, DType::U32)?;
        l.graph.cast(index, DType::F32)
    });
    case.nan_is_specified = true;
    edges.case("cast of large indices", |l| {
        let index = l.words(vec![0, 1, 1 << 24, (1 << 24) + 1, (1 << 31) + 129, u32::MAX]);
        l.graph.cast(index, DType::F32)
    });
    let case = edges.case("stop_gradient", |l| {
        let x = l.values(&all(), &EDGES);
        l.graph.stop_gradient(x)
    });
    case.keeps_sign = true;
    let case = edges.case("constants", |l| {
        let constants: Vec<NodeId> =
            EDGES.iter().map(|&edge| l.graph.full(f64::from(edge), [1])).collect::<Result<_>>()?;
        l.graph.concat(&constants, 0)
    });
    case.keeps_sign = true;
    edges.case("random", |l| {
        let keys = [[0, 0], [u32::MAX, u32::MAX], [0xa409_3822, 0x299f_31d0]];
        let keys = keys.map(|words| l.key(words));
        let draws: Vec<NodeId> = keys.iter().map(|&key| l.graph.random(key, [33], u32::MAX)).collect::<Result<_>>()?;
        l.graph.concat(&draws, 0)
    });
    for k in [1, 3] {
        // Largest by rank, with ties, NaN and infinities among them.
        let values = [[f32::NAN, 1.0, f32::INFINITY, f32::INFINITY, -0.0], [f32::NEG_INFINITY; 5], [f32::NAN; 5]];
        let more = [[0.0, -0.0, f32::NEG_INFINITY, f32::NAN, -1.0], [1e38, f32::MAX, 1e38, f32::MIN, 5.0]];
        let values = [&values[..], &more[..]].concat().concat();
        let case = edges.case(format!("indices of the {k} largest"), |l| {
            let x = l.values(&shape([5, 5]), &values);
            l.compose(x, |x| x.top_k(k, 1).1)
        });
        case.nan_is_specified = true;
    }
}

fn accumulations(edges: &mut Edges) {
    for length in [1, 3, 33] {
        let (rows, columns) = (one_a_row(length), transposed(&one_a_row(length), length));
        let (row_shape, column_shape) = (shape([EDGES.len(), length]), shape([length, EDGES.len()]));
        for op in ReduceOp::ALL {
            let specified = matches!(op, ReduceOp::Sum | ReduceOp::Prod);
            let ones = |values: &[f32]| -> Vec<f32> {
                // A product of ordinary numbers would leave the range of f32 on the way.
                let other = |x: f32| EDGES.iter().any(|edge| edge.to_bits() == x.to_bits());
                values.iter().map(|&x| if op == ReduceOp::Prod && !other(x) { 1f32.copysign(x) } else { x }).collect()
            };
            let case = edges.case(format!("{} of rows of {length}", op.name()), |l| {
                let x = l.values(&row_shape, &ones(&rows));
                l.graph.reduce(op, x, 1)
            });
            case.nan_is_specified = specified;
            let case = edges.case(format!("{} of columns of {length}", op.name()), |l| {
                let x = l.values(&column_shape, &ones(&columns));
                l.graph.reduce(op, x, 0)
            });
            case.nan_is_specified = specified;
        }
        for reverse in [false, true] {
            edges.case(format!("linrec of {length}, edges added, reverse {reverse}"), |l| {
                let factors = l.values(&row_shape, &vec![0.5; rows.len()]);
                let x = l.values(&row_shape, &rows);
                l.graph.linrec(factors, x, 1, reverse, 0.0)
            });
            edges.case(format!("linrec of {length}, edges multiplied, reverse {reverse}"), |l| {
                // Only the edge itself is large: 1 elsewhere, and nothing is added.
                let factors: Vec<f32> =
                    columns.iter().enumerate().map(|(i, &x)| if i / EDGES.len() == 0 { x } else { 1.0 }).collect();
                let x = l.values(&column_shape, &factors);
                let zero = l.values(&column_shape, &vec![0.0; columns.len()]);
                l.graph.linrec(x, zero, 0, reverse, 1.0)
            });
        }
    }
    for (name, f) in [("softmax", Tensor::softmax as Function), ("logsumexp", Tensor::logsumexp)] {
        // All -inf, one finite, one huge; rows of 1, and no multiple of a workgroup.
        for length in [1, 3, 67] {
            let mut values = vec![f32::NEG_INFINITY; length];
            let lone = |value: f32| (0..length).map(move |i| if i == length / 2 { value } else { f32::NEG_INFINITY });
            values.extend(lone(2.0));
            values.extend(lone(f32::INFINITY));
            values.extend((0..length).map(|i| if i % 2 == 0 { 1e38 } else { -1e38 }));
            values.extend((0..length).map(|i| -1e38 - i as f32 * 1e36));
            let case = edges.case(format!("{name} of rows of {length}"), |l| {
                let x = l.values(&shape([5, length]), &values);
                l.compose(x, f)
            });
            // A row of one is x - x, which a driver may take for 0 whatever x is.
            case.nan_is_specified = length > 1;
        }
    }
}

fn movements(edges: &mut Edges) {
    type Build = fn(&mut Graph, NodeId) -> Result<NodeId>;
    let halves = shape([EDGES.len() / 2, 2]);
    let moves: [(&str, Build); 9] = [
        ("reshape", |g, x| g.reshape(x, [2, EDGES.len() / 2])),
        ("permute", |g, x| g.permute(x, &[1, 0])),
        ("broadcast", |g, x| {
            let x = g.reshape(x, [EDGES.len(), 1])?;
            g.broadcast_to(x, [EDGES.len(), 3])
        }),
        ("slice", |g, x| g.slice(x, 0, 1, EDGES.len() / 2)),
        ("pad", |g, x| g.pad(x, 0, 1, 2)),
        ("concat", |g, x| g.concat(&[x, x], 1)),
        ("reverse", |g, x| g.reverse(x, 0)),
        ("barrier", |g, x| {
            let after = g.unary(UnaryOp::Neg, x)?;
            let x = g.barrier(x, after)?;
            g.permute(x, &[1, 0])
        }),
        ("a permuted copy", |g, x| {
            let x = g.permute(x, &[1, 0])?;
            g.reshape(x, [EDGES.len()])
        }),
    ];
    for (name, build) in moves {
        let case = edges.case(name, |l| {
            let x = l.values(&halves, &EDGES);
            build(&mut l.graph, x)
        });
        case.keeps_sign = true;
    }
    let case = edges.case("gather", |l| {
        let table = l.values(&halves, &EDGES);
        let rows = EDGES.len() as u32 / 2;
        let ids = l.words((0..rows).rev().chain([0, rows, rows + 1, 1 << 31, u32::MAX]).collect());
        l.graph.gather(table, ids)
    });
    case.keeps_sign = true;
    edges.case("scatter_add", |l| {
        let rows = EDGES.len() as u32 / 2;
        let ids = l.words((0..rows - 1).rev().chain([u32::MAX]).collect());
        let updates = l.values(&halves, &EDGES);
        l.graph.push(Op::ScatterAdd { rows: EDGES.len() / 2 + 3 }, &[ids, updates])
    });
}

fn contractions(edges: &mut Edges) {
    for (ta, tb) in [(false, false), (true, true)] {
        for inner in [1, 5, 33] {
            edges.case(format!("matmul over {inner}, {ta} {tb}"), |l| {
                let rows = one_a_row(inner);
                let a = if ta {
                    l.values(&shape([inner, EDGES.len()]), &transposed(&rows, inner))
                } else {
                    l.values(&shape([EDGES.len(), inner]), &rows)
                };
                let b = if tb { shape([3, inner]) } else { shape([inner, 3]) };
                let b = l.values(&b, &vec![0.5; 3 * inner]);
                l.graph.matmul_t(a, ta, b, tb)
            });
        }
    }
    // A channel an edge.
    let (n, c, width) = (5, EDGES.len(), 3);
    let x = transposed(&one_a_row(n), n);
    for form in [Op::DepthwiseConv, Op::DepthwiseConvInputGrad] {
        edges.case(form.name(), |l| {
            let x = l.values(&shape([1, n, c]), &x);
            let w = l.values(&shape([width, c]), &vec![0.5; width * c]);
            l.graph.push(form, &[x, w])
        });
    }
    let form = Op::DepthwiseConvFilterGrad { width };
    edges.case(form.name(), |l| {
        let x = l.values(&shape([1, n, c]), &x);
        let dy = l.values(&shape([1, n, c]), &vec![0.5; n * c]);
        l.graph.push(form, &[x, dy])
    });
}
