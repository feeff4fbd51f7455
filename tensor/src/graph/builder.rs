//! Named constructors: one per primitive, and the few compositions that every user of a graph needs.
//!
//! Binary ones broadcast their operands as NumPy does: shapes are aligned at the last axis, axes of length 1 are
//! repeated.

use super::op::{BinaryOp, CompareOp, Op, ReduceOp, Scalar, UnaryOp};
use super::{Graph, NodeId};
use crate::{DType, Error, Result, Shape};

/// The shape to which both broadcast, if there is one.
pub(crate) fn broadcast_shape(a: &Shape, b: &Shape) -> Option<Shape> {
    let rank = a.rank().max(b.rank());
    let dim = |shape: &Shape, axis: usize| {
        let missing = rank - shape.rank();
        if axis < missing { 1 } else { shape[axis - missing] }
    };
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(Shape::from)
}

/// `# Errors` of every method here: [`Error::Shape`], [`Error::DType`], as the primitive's rule says.
#[allow(clippy::missing_errors_doc)] // one rule for all, stated above
impl Graph {
    /// An f32 scalar.
    pub fn constant(&mut self, value: f64) -> NodeId {
        self.push(Op::Constant(Scalar::new(value), DType::F32), &[]).expect("a constant has no operands")
    }

    /// A tensor of one repeated f32 value.
    pub fn full(&mut self, value: f64, shape: impl Into<Shape>) -> Result<NodeId> {
        let scalar = self.constant(value);
        self.broadcast_to(scalar, shape)
    }

    /// The index along `axis`, in a tensor of that shape.
    pub fn iota(&mut self, shape: impl Into<Shape>, axis: usize, dtype: DType) -> Result<NodeId> {
        self.push(Op::Iota { shape: shape.into(), axis, dtype }, &[])
    }

    /// Uniform random numbers in (0, 1) from a key `u32 [2]`; see [`Op::Random`].
    pub fn random(&mut self, key: NodeId, shape: impl Into<Shape>, stream: u32) -> Result<NodeId> {
        self.push(Op::Random { shape: shape.into(), stream }, &[key])
    }

    /// An elementwise function.
    pub fn unary(&mut self, op: UnaryOp, x: NodeId) -> Result<NodeId> {
        self.push(Op::Unary(op), &[x])
    }

    /// An elementwise function of two operands, broadcast to a common shape.
    pub fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Result<NodeId> {
        let (a, b) = self.broadcast_pair(op.name(), a, b)?;
        self.push(Op::Binary(op), &[a, b])
    }

    /// a + b
    pub fn add(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(BinaryOp::Add, a, b)
    }

    /// a − b
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(BinaryOp::Sub, a, b)
    }

    /// a · b, elementwise
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(BinaryOp::Mul, a, b)
    }

    /// a / b
    pub fn div(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.binary(BinaryOp::Div, a, b)
    }

    /// −x
    pub fn neg(&mut self, x: NodeId) -> Result<NodeId> {
        self.unary(UnaryOp::Neg, x)
    }

    /// x · c
    pub fn mul_scalar(&mut self, x: NodeId, c: f64) -> Result<NodeId> {
        let c = self.constant(c);
        self.mul(x, c)
    }

    /// A comparison, broadcast to a common shape.
    pub fn compare(&mut self, op: CompareOp, a: NodeId, b: NodeId) -> Result<NodeId> {
        let (a, b) = self.broadcast_pair("compare", a, b)?;
        self.push(Op::Compare(op), &[a, b])
    }

    /// `a` where `cond`, else `b`; both are broadcast to the condition's shape.
    pub fn select(&mut self, cond: NodeId, a: NodeId, b: NodeId) -> Result<NodeId> {
        let shape = self.shape(cond).clone();
        let a = self.broadcast_to(a, &shape)?;
        let b = self.broadcast_to(b, &shape)?;
        self.push(Op::Select, &[cond, a, b])
    }

    /// True where x is neither infinite nor NaN.
    pub fn is_finite(&mut self, x: NodeId) -> Result<NodeId> {
        self.push(Op::IsFinite, &[x])
    }

    /// x, a constant to differentiation.
    pub fn stop_gradient(&mut self, x: NodeId) -> Result<NodeId> {
        self.push(Op::StopGradient, &[x])
    }

    /// x, read from memory and not before `after` has been computed.
    pub fn barrier(&mut self, x: NodeId, after: NodeId) -> Result<NodeId> {
        self.push(Op::Barrier, &[x, after])
    }

    /// Conversion to f32 or u32.
    pub fn cast(&mut self, x: NodeId, to: DType) -> Result<NodeId> {
        if self.dtype(x) == to { Ok(x) } else { self.push(Op::Cast(to), &[x]) }
    }

    /// A reduction over one axis, kept with length 1.
    pub fn reduce(&mut self, op: ReduceOp, x: NodeId, axis: usize) -> Result<NodeId> {
        self.push(Op::Reduce { op, axis }, &[x])
    }

    /// The sum of all elements, a scalar. The last axis is summed first, then the rows.
    pub fn sum_all(&mut self, x: NodeId) -> Result<NodeId> {
        let last = self.shape(x).last();
        let rows = self.shape(x).numel().checked_div(last).unwrap_or(0);
        let x = self.reshape(x, [rows, last])?;
        let x = self.reduce(ReduceOp::Sum, x, 1)?;
        let x = self.reshape(x, [1, rows])?;
        let x = self.reduce(ReduceOp::Sum, x, 1)?;
        self.reshape(x, Shape::scalar())
    }

    /// The linear recurrence sᵢ = aᵢ·sᵢ₋₁ + bᵢ along `axis`, from `start`.
    pub fn linrec(&mut self, a: NodeId, b: NodeId, axis: usize, reverse: bool, start: f64) -> Result<NodeId> {
        self.push(Op::LinRec { axis, reverse, start: Scalar::new(start) }, &[a, b])
    }

    /// The same elements under another shape.
    pub fn reshape(&mut self, x: NodeId, shape: impl Into<Shape>) -> Result<NodeId> {
        let shape = shape.into();
        if *self.shape(x) == shape {
            return Ok(x);
        }
        // A chain of reshapes is one reshape.
        let source = match self.node(x) {
            node if matches!(node.op, Op::Reshape(_)) && shape.numel() == node.shape.numel() => node.operands[0],
            _ => x,
        };
        if *self.shape(source) == shape { Ok(source) } else { self.push(Op::Reshape(shape), &[source]) }
    }

    /// Axis `i` of the result is axis `perm[i]` of x.
    pub fn permute(&mut self, x: NodeId, perm: &[usize]) -> Result<NodeId> {
        let identity = perm.len() == self.shape(x).rank() && perm.iter().enumerate().all(|(i, &p)| i == p);
        if identity { Ok(x) } else { self.push(Op::Permute(perm.to_vec()), &[x]) }
    }

    /// x repeated to `shape` as NumPy does.
    pub fn broadcast_to(&mut self, x: NodeId, shape: impl Into<Shape>) -> Result<NodeId> {
        let shape = shape.into();
        let from = self.shape(x).clone();
        if from == shape {
            return Ok(x);
        }
        if from.rank() > shape.rank() {
            let reason = format!("cannot broadcast to {shape}");
            return Err(Error::Shape { op: "broadcast", shapes: vec![from], reason });
        }
        let padded: Shape = std::iter::repeat_n(1, shape.rank() - from.rank()).chain(from.iter().copied()).collect();
        let x = self.reshape(x, padded.clone())?;
        if padded == shape { Ok(x) } else { self.push(Op::Broadcast(shape), &[x]) }
    }

    /// x summed over the axes along which `shape` was broadcast to it: the adjoint of [`Graph::broadcast_to`].
    pub fn sum_to(&mut self, x: NodeId, shape: impl Into<Shape>) -> Result<NodeId> {
        let shape = shape.into();
        let full = self.shape(x).clone();
        let missing = full.rank().saturating_sub(shape.rank());
        let mut x = x;
        // Runs of neighbouring repeated axes are summed as one.
        let repeated: Vec<bool> =
            (0..full.rank()).map(|axis| full[axis] != if axis < missing { 1 } else { shape[axis - missing] }).collect();
        let mut axis = full.rank();
        while axis > 0 {
            axis -= 1;
            if !repeated[axis] {
                continue;
            }
            let end = axis + 1;
            while axis > 0 && (repeated[axis - 1] || full[axis - 1] == 1) {
                axis -= 1;
            }
            let dims = self.shape(x).clone();
            let outer: usize = dims[..axis].iter().product();
            let run: usize = dims[axis..end].iter().product();
            let inner: usize = dims[end..].iter().product();
            let flat = self.reshape(x, [outer, run, inner])?;
            let summed = self.reduce(ReduceOp::Sum, flat, 1)?;
            let kept: Shape =
                dims.iter().enumerate().map(|(i, &d)| if (axis..end).contains(&i) { 1 } else { d }).collect();
            x = self.reshape(summed, kept)?;
        }
        self.reshape(x, shape)
    }

    /// Elements `start..end` along `axis`.
    pub fn slice(&mut self, x: NodeId, axis: usize, start: usize, end: usize) -> Result<NodeId> {
        let whole = axis < self.shape(x).rank() && start == 0 && end == self.shape(x)[axis];
        if whole { Ok(x) } else { self.push(Op::Slice { axis, start, end }, &[x]) }
    }

    /// Zeros added before and after along `axis`.
    pub fn pad(&mut self, x: NodeId, axis: usize, before: usize, after: usize) -> Result<NodeId> {
        if before == 0 && after == 0 { Ok(x) } else { self.push(Op::Pad { axis, before, after }, &[x]) }
    }

    /// Tensors joined along `axis`.
    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> Result<NodeId> {
        if let [only] = parts { Ok(*only) } else { self.push(Op::Concat { axis }, parts) }
    }

    /// Order reversed along `axis`.
    pub fn reverse(&mut self, x: NodeId, axis: usize) -> Result<NodeId> {
        self.push(Op::Reverse { axis }, &[x])
    }

    /// a·b over the last two axes, leading axes equal.
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.matmul_t(a, false, b, false)
    }

    /// The matrix product with either operand transposed.
    pub fn matmul_t(&mut self, a: NodeId, transpose_a: bool, b: NodeId, transpose_b: bool) -> Result<NodeId> {
        self.push(Op::MatMul { transpose_a, transpose_b }, &[a, b])
    }

    /// Causal depthwise convolution of x `[batch, n, c]` with taps w `[k, c]`.
    pub fn depthwise_conv(&mut self, x: NodeId, w: NodeId) -> Result<NodeId> {
        self.push(Op::DepthwiseConv, &[x, w])
    }

    /// Rows of `table` by `indices`.
    pub fn gather(&mut self, table: NodeId, indices: NodeId) -> Result<NodeId> {
        self.push(Op::Gather, &[table, indices])
    }

    fn broadcast_pair(&mut self, op: &'static str, a: NodeId, b: NodeId) -> Result<(NodeId, NodeId)> {
        if self.shape(a) == self.shape(b) {
            return Ok((a, b));
        }
        let Some(shape) = broadcast_shape(self.shape(a), self.shape(b)) else {
            let shapes = vec![self.shape(a).clone(), self.shape(b).clone()];
            return Err(Error::Shape { op, shapes, reason: "the shapes do not broadcast".into() });
        };
        Ok((self.broadcast_to(a, &shape)?, self.broadcast_to(b, &shape)?))
    }
}
