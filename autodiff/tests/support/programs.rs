//! Random valid programs. A [`Recipe`] is plain numbers, and every recipe builds: operands are chosen among the values
//! that fit, a missing one becomes a new input, a step that would grow too large is left out. So any recipe shrinks to
//! a smaller program.

use primer_tensor::{BinaryOp, CompareOp, DType, NodeId, Op, ReduceOp, Result, Shape, UnaryOp};
use proptest::prelude::*;

use super::leaves::{Built, Leaves};

/// The numbers from which a program is built.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Axis lengths are chosen from these.
    pub lengths: &'static [usize],
    /// Values of more elements than this don't arise.
    pub largest: usize,
    /// Seed of the input data.
    pub seed: u64,
    /// Shape of the first input, as indices into `lengths`.
    pub first: Vec<usize>,
    pub steps: Vec<Step>,
}

/// One primitive or small idiom, and free numbers that choose its operands and attributes.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    kind: u8,
    x: u8,
    y: u8,
    n: u8,
}

const KINDS: u8 = 29;

/// Recipes of up to `steps` steps.
pub fn recipe(lengths: &'static [usize], largest: usize, steps: usize) -> impl Strategy<Value = Recipe> {
    let step = (0..KINDS, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(kind, x, y, n)| Step { kind, x, y, n });
    let first = prop::collection::vec(0..lengths.len(), 1..=3);
    (any::<u32>(), first, prop::collection::vec(step, 1..=steps)).prop_map(move |(seed, first, steps)| Recipe {
        lengths,
        largest,
        seed: seed.into(),
        first,
        steps,
    })
}

/// Recipes of programs on a batch of 16, made mostly of what tiles are made of: products, softmaxes, elementwise
/// functions; and of what brings one tile's part before another tile.
pub fn batched(steps: usize) -> impl Strategy<Value = Recipe> {
    const KINDS: [u8; 19] = [16, 17, 18, 16, 17, 22, 26, 26, 26, 0, 2, 4, 5, 6, 10, 23, 9, 12, 15];
    let step = (prop::sample::select(KINDS.to_vec()), any::<u8>(), any::<u8>(), any::<u8>())
        .prop_map(|(kind, x, y, n)| Step { kind, x, y, n });
    let inner = prop::collection::vec(0..4usize, 2);
    (any::<u32>(), inner, prop::collection::vec(step, 2..=steps)).prop_map(|(seed, inner, steps)| Recipe {
        lengths: &[2, 3, 5, 7, 16],
        largest: 2400,
        seed: seed.into(),
        first: [vec![4], inner].concat(),
        steps,
    })
}

/// Programs that once failed, shrunk.
pub fn regressions() -> Vec<Recipe> {
    let recipe = |seed, first: &[usize], steps: &[[u8; 4]]| Recipe {
        lengths: &[2, 1, 3, 5, 8, 17, 33, 70],
        largest: 2400,
        seed,
        first: first.to_vec(),
        steps: steps.iter().map(|&[kind, x, y, n]| Step { kind, x, y, n }).collect(),
    };
    vec![
        recipe(
            0,
            &[2],
            &[
                [9, 0, 42, 0],
                [0, 108, 0, 0],
                [16, 0, 8, 20],
                [0, 49, 0, 0],
                [21, 163, 0, 0],
                [6, 4, 0, 128],
                [21, 210, 0, 0],
                [4, 147, 36, 98],
            ],
        ),
        recipe(1_039_844_047, &[2], &[[20, 0, 3, 62], [0, 0, 0, 0], [23, 90, 0, 55]]),
        recipe(
            0,
            &[0, 0, 3],
            &[
                [0, 0, 0, 0],
                [19, 0, 0, 1],
                [0, 6, 0, 0],
                [6, 0, 0, 0],
                [16, 0, 1, 0],
                [16, 183, 0, 0],
                [6, 60, 19, 28],
                [0, 20, 0, 47],
                [14, 133, 24, 0],
            ],
        ),
    ]
}

impl Recipe {
    pub fn build(&self) -> Built {
        let mut b = Builder { recipe: self, leaves: Leaves::new(self.seed), pool: Vec::new() };
        let shape: Shape = self.first.iter().map(|&i| self.lengths[i]).collect();
        let x = b.leaves.float(&shape, -2.0, 2.0);
        b.pool.push(x);
        for step in &self.steps {
            let y = b.step(*step).expect("every recipe builds");
            if b.leaves.graph.shape(y).numel() <= self.largest && !b.pool.contains(&y) {
                b.pool.push(y);
            }
        }
        let outputs: Vec<NodeId> = b.pool.iter().rev().take(2).copied().collect();
        b.leaves.finish(outputs)
    }
}

struct Builder<'a> {
    recipe: &'a Recipe,
    leaves: Leaves,
    pool: Vec<NodeId>,
}

impl Builder<'_> {
    /// The newest values are chosen most.
    fn choose(&self, n: u8) -> NodeId {
        let back = if n.is_multiple_of(2) { usize::from(n / 2) % 2 } else { usize::from(n) };
        self.pool[self.pool.len() - 1 - back % self.pool.len()]
    }

    /// A value of that shape, or a new input.
    fn like(&mut self, shape: &Shape, n: u8) -> NodeId {
        let fits: Vec<NodeId> = self.pool.iter().copied().filter(|&p| self.leaves.graph.shape(p) == shape).collect();
        match usize::from(n) % (fits.len() + 1) {
            0 => self.leaves.float(shape, -2.0, 2.0),
            i => fits[i - 1],
        }
    }

    /// A value that broadcasts to `shape`, or a new input of `shape` with some axes shortened to 1.
    fn broadcastable(&mut self, shape: &Shape, n: u8) -> NodeId {
        let fits = |other: &Shape| {
            other.rank() <= shape.rank() && other.iter().rev().zip(shape.iter().rev()).all(|(&o, &s)| o == s || o == 1)
        };
        let found: Vec<NodeId> = self.pool.iter().copied().filter(|&p| fits(self.leaves.graph.shape(p))).collect();
        match usize::from(n) % (found.len() + 1) {
            0 => {
                let short = shape.iter().enumerate().map(|(i, &d)| if n >> (i + 2) & 1 == 1 { 1 } else { d });
                let shape = short.collect();
                self.leaves.float(&shape, -2.0, 2.0)
            }
            i => found[i - 1],
        }
    }

    fn length(&self, n: u8) -> usize {
        self.recipe.lengths[usize::from(n) % self.recipe.lengths.len()]
    }

    /// The value seen as `rank` axes: leading ones merged, or ones of length 1 put before.
    fn ranked(&mut self, x: NodeId, rank: usize) -> Result<NodeId> {
        let shape = self.leaves.graph.shape(x).clone();
        let merged = shape.rank().saturating_sub(rank - 1);
        let lead: usize = shape[..merged].iter().product();
        let padding = rank - 1 - (shape.rank() - merged);
        self.leaves.graph.reshape(
            x,
            std::iter::repeat_n(1, padding).chain([lead]).chain(shape[merged..].iter().copied()).collect::<Shape>(),
        )
    }

    fn step(&mut self, step: Step) -> Result<NodeId> {
        let Step { kind, y, n, .. } = step;
        let x = self.choose(step.x);
        let shape = self.leaves.graph.shape(x).clone();
        let axis = usize::from(n) % shape.rank().max(1);
        if shape.rank() == 0 && !matches!(kind, 0..=5 | 11) {
            return self.leaves.graph.broadcast_to(x, [self.recipe.lengths[0], self.length(n)]);
        }
        match kind {
            0 | 1 => self.unary(x, n),
            2 | 3 => self.binary(x, y, n),
            4 => {
                let other = self.broadcastable(&shape, y);
                let op = if n % 4 == 0 { CompareOp::Equal } else { CompareOp::Less };
                let cond = self.leaves.graph.compare(op, x, other)?;
                if n % 8 < 2 {
                    let mask = self.leaves.graph.cast(cond, DType::F32)?;
                    return self.leaves.graph.add(mask, x);
                }
                let (a, b) = (self.broadcastable(&shape, n / 8), self.broadcastable(&shape, y / 2));
                self.leaves.graph.select(cond, a, b)
            }
            5 => {
                let (scale, shift) =
                    (self.leaves.graph.constant(f64::from(n) / 100.0 - 1.0), self.leaves.graph.constant(0.25));
                let y = self.leaves.graph.mul(x, scale)?;
                self.leaves.graph.add(y, shift)
            }
            6 | 7 => {
                let op = ReduceOp::ALL[usize::from(y) % 4];
                // A long product leaves the range of f32.
                let op = if op == ReduceOp::Prod && shape[axis] > 8 { ReduceOp::Sum } else { op };
                self.leaves.graph.reduce(op, x, axis)
            }
            8 => {
                let factor = self.leaves.graph.unary(UnaryOp::Tanh, x)?;
                let b = self.like(&shape, y);
                self.leaves.graph.linrec(factor, b, axis, y % 2 == 0, [0.0, 1.0, -0.5][usize::from(n) % 3])
            }
            9 => self.reshape(x, y, n),
            10 => {
                let mut perm: Vec<usize> = (0..shape.rank()).collect();
                perm.swap(axis, usize::from(y) % shape.rank());
                perm.rotate_left(usize::from(n / 16) % shape.rank());
                self.leaves.graph.permute(x, &perm)
            }
            11 => self.broadcast(x, y, n),
            12 => {
                let start = usize::from(y) % shape[axis];
                let end = start + 1 + usize::from(n / 16) % (shape[axis] - start);
                self.leaves.graph.slice(x, axis, start, end)
            }
            13 => self.leaves.graph.pad(x, axis, usize::from(y) % 3, usize::from(y / 4) % 3),
            14 => {
                let other = self.like(&shape, y);
                let parts = [x, other, x];
                self.leaves.graph.concat(&parts[..2 + usize::from(n / 16) % 2], axis)
            }
            15 => self.leaves.graph.reverse(x, axis),
            16..=18 => self.matmul(x, y, n),
            19 => self.conv(x, y, n),
            20 => self.rows(x, y, n),
            21 => {
                let iota = self.leaves.graph.iota(&shape, axis, DType::F32)?;
                let scaled = self.leaves.graph.mul_scalar(iota, 0.125)?;
                self.leaves.graph.sub(x, scaled)
            }
            22 => self.softmax(x, shape.rank() - 1),
            23 => self.norm(x, axis),
            24 => {
                let key = self.leaves.key([y.into(), n.into()]);
                let noise = self.leaves.graph.random(key, &shape, (n / 16).into())?;
                self.leaves.graph.mul(x, noise)
            }
            25 => self.leaves.compose(x, move |x| x.cumsum(axis) * (1.0 / x.shape()[axis] as f64)),
            26 => self.causal(x),
            27 => {
                let after = self.choose(y);
                self.leaves.graph.barrier(x, after)
            }
            _ => {
                let k = 1 + usize::from(y) % shape[axis].min(2);
                self.leaves.compose(x, move |x| if n >= 128 { x.top_k(k, axis).0 } else { x.top_k(k, axis).1 })
            }
        }
    }

    fn unary(&mut self, x: NodeId, n: u8) -> Result<NodeId> {
        let op = UnaryOp::ALL[usize::from(n) % UnaryOp::ALL.len()];
        let argument = match op {
            UnaryOp::Sqrt => self.leaves.graph.unary(UnaryOp::Abs, x)?,
            UnaryOp::Log => {
                let positive = self.leaves.graph.unary(UnaryOp::Abs, x)?;
                let shift = self.leaves.graph.constant(0.1);
                self.leaves.graph.add(positive, shift)?
            }
            UnaryOp::Exp => {
                let most = self.leaves.graph.constant(3.0);
                self.leaves.graph.binary(BinaryOp::Min, x, most)?
            }
            UnaryOp::Recip => {
                let shift = self.leaves.graph.constant(2.5);
                self.leaves.graph.add(x, shift)?
            }
            _ => x,
        };
        self.leaves.graph.unary(op, argument)
    }

    fn binary(&mut self, x: NodeId, y: u8, n: u8) -> Result<NodeId> {
        let shape = self.leaves.graph.shape(x).clone();
        let mut other = self.broadcastable(&shape, y);
        let op = BinaryOp::ALL[usize::from(n) % BinaryOp::ALL.len()];
        if op == BinaryOp::Div {
            let positive = self.leaves.graph.unary(UnaryOp::Abs, other)?;
            let shift = self.leaves.graph.constant(0.5);
            other = self.leaves.graph.add(positive, shift)?;
        }
        if n >= 128 && op != BinaryOp::Div {
            self.leaves.graph.binary(op, other, x)
        } else {
            self.leaves.graph.binary(op, x, other)
        }
    }

    fn reshape(&mut self, x: NodeId, y: u8, n: u8) -> Result<NodeId> {
        let shape = self.leaves.graph.shape(x).clone();
        let axis = usize::from(n) % shape.rank();
        let mut dims = shape.to_vec();
        match y % 4 {
            0 => dims = vec![shape.numel()],
            1 => dims.insert(axis, 1),
            2 if axis + 1 < dims.len() => {
                let next = dims.remove(axis + 1);
                dims[axis] *= next;
            }
            _ => {
                if let Some(factor) = (2..=dims[axis]).find(|f| dims[axis].is_multiple_of(*f)) {
                    dims[axis] /= factor;
                    dims.insert(axis + usize::from(y / 4) % 2, factor);
                }
            }
        }
        if dims.len() > 5 { Ok(x) } else { self.leaves.graph.reshape(x, dims) }
    }

    fn broadcast(&mut self, x: NodeId, y: u8, n: u8) -> Result<NodeId> {
        let shape = self.leaves.graph.shape(x).clone();
        let length = self.length(n);
        let mut dims: Vec<usize> = shape.iter().map(|&d| if d == 1 { length } else { d }).collect();
        if y.is_multiple_of(2) && dims.len() < 4 {
            dims.insert(0, self.length(y / 2));
        }
        if dims.iter().product::<usize>() > self.recipe.largest {
            Ok(x)
        } else {
            self.leaves.graph.broadcast_to(x, dims)
        }
    }

    fn matmul(&mut self, x: NodeId, y: u8, n: u8) -> Result<NodeId> {
        let x = if self.leaves.graph.shape(x).rank() < 2 { self.ranked(x, 2)? } else { x };
        let shape = self.leaves.graph.shape(x).clone();
        let r = shape.rank();
        let (ta, tb, right) = (n & 1 == 1, n & 2 == 2, n & 4 == 4);
        let product = if y.is_multiple_of(4) {
            self.leaves.graph.matmul_t(x, ta, x, !ta)
        } else {
            let (k, columns) = (if ta { shape[r - 2] } else { shape[r - 1] }, self.length(y / 4));
            let matrix = if tb { [columns, k] } else { [k, columns] };
            let other = self.like(&shape[..r - 2].iter().copied().chain(matrix).collect(), n / 8);
            if right {
                self.leaves.graph.matmul_t(other, !tb, x, !ta)
            } else {
                self.leaves.graph.matmul_t(x, ta, other, tb)
            }
        }?;
        // Keep the scale of the values.
        let k = if ta { shape[r - 2] } else { shape[r - 1] };
        self.leaves.graph.mul_scalar(product, 1.0 / (k as f64).sqrt())
    }

    fn conv(&mut self, x: NodeId, y: u8, n: u8) -> Result<NodeId> {
        let x = self.ranked(x, 3)?;
        let shape = self.leaves.graph.shape(x).clone();
        let width = 1 + usize::from(n / 4) % 4;
        let taps = Shape::from([width, shape[2]]);
        match n % 4 {
            0 => {
                let dy = self.like(&shape, y);
                self.leaves.graph.push(Op::DepthwiseConvFilterGrad { width }, &[x, dy])
            }
            1 => {
                let w = self.like(&taps, y);
                self.leaves.graph.push(Op::DepthwiseConvInputGrad, &[x, w])
            }
            _ => {
                let w = self.like(&taps, y);
                self.leaves.graph.depthwise_conv(x, w)
            }
        }
    }

    fn rows(&mut self, x: NodeId, y: u8, n: u8) -> Result<NodeId> {
        let x = self.ranked(x, 2)?;
        let shape = self.leaves.graph.shape(x).clone();
        if n.is_multiple_of(2) {
            let count = if y.is_multiple_of(2) { vec![self.length(y)] } else { vec![2, self.length(y)] };
            let ids = self.leaves.indices(&count.into(), shape[0]);
            self.leaves.graph.gather(x, ids)
        } else {
            let rows = self.length(y);
            let ids = self.leaves.indices(&Shape::from([shape[0]]), rows);
            self.leaves.graph.push(Op::ScatterAdd { rows }, &[ids, x])
        }
    }

    /// With its maximum stopped: the gradient is exact all the same.
    fn softmax(&mut self, x: NodeId, axis: usize) -> Result<NodeId> {
        let max = self.leaves.graph.reduce(ReduceOp::Max, x, axis)?;
        let max = self.leaves.graph.stop_gradient(max)?;
        let shifted = self.leaves.graph.sub(x, max)?;
        let e = self.leaves.graph.unary(UnaryOp::Exp, shifted)?;
        let total = self.leaves.graph.reduce(ReduceOp::Sum, e, axis)?;
        self.leaves.graph.div(e, total)
    }

    /// A softmax over what is not later than the row.
    fn causal(&mut self, x: NodeId) -> Result<NodeId> {
        let x = if self.leaves.graph.shape(x).rank() < 2 { self.ranked(x, 2)? } else { x };
        let shape = self.leaves.graph.shape(x).clone();
        let last = shape.rank() - 1;
        let rows = self.leaves.graph.iota(&shape, last - 1, DType::U32)?;
        let columns = self.leaves.graph.iota(&shape, last, DType::U32)?;
        let later = self.leaves.graph.compare(CompareOp::Less, rows, columns)?;
        let lowest = self.leaves.graph.constant(f64::NEG_INFINITY);
        let masked = self.leaves.graph.select(later, lowest, x)?;
        self.softmax(masked, last)
    }

    fn norm(&mut self, x: NodeId, axis: usize) -> Result<NodeId> {
        let scale = 1.0 / self.leaves.graph.shape(x)[axis] as f64;
        let sum = self.leaves.graph.reduce(ReduceOp::Sum, x, axis)?;
        let mean = self.leaves.graph.mul_scalar(sum, scale)?;
        let centred = self.leaves.graph.sub(x, mean)?;
        let square = self.leaves.graph.mul(centred, centred)?;
        let sum = self.leaves.graph.reduce(ReduceOp::Sum, square, axis)?;
        let variance = self.leaves.graph.mul_scalar(sum, scale)?;
        let epsilon = self.leaves.graph.constant(0.05);
        let variance = self.leaves.graph.add(variance, epsilon)?;
        let deviation = self.leaves.graph.unary(UnaryOp::Sqrt, variance)?;
        self.leaves.graph.div(centred, deviation)
    }
}
