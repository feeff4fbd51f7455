//! The 39 primitives in the graph's own.

use primer_tensor::graph::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use primer_tensor::{DType, NodeId, Shape};

use super::kinds::{Kind, common_width};
use super::value::{Builder, Layout, Value};
use crate::dna::Primitive;

type Result<T> = primer_tensor::Result<T>;

impl Builder<'_> {
    /// A primitive without parameters and with one input; `constant` is its C.
    pub fn unary(&mut self, primitive: Primitive, x: Value, constant: f64) -> Result<Value> {
        let with = |node, zero_above| Value { node, zero_above: x.zero_above && zero_above, ..x };
        let node = x.node;
        let op = match primitive {
            Primitive::Square => return Ok(with(self.graph.mul(node, node)?, true)),
            Primitive::CMul => return Ok(with(self.graph.mul_scalar(node, constant)?, true)),
            Primitive::Max => return Ok(with(self.maximum(node, constant)?, constant <= 0.0)),
            Primitive::Min => return Ok(with(self.minimum(node, constant)?, constant >= 0.0)),
            Primitive::AbsRoot => {
                let abs = self.graph.unary(UnaryOp::Abs, node)?;
                return Ok(with(self.graph.unary(UnaryOp::Sqrt, abs)?, true));
            }
            Primitive::Log => {
                let abs = self.graph.unary(UnaryOp::Abs, node)?;
                return Ok(with(self.graph.unary(UnaryOp::Log, abs)?, false));
            }
            Primitive::Mask if x.kind == Kind::A => return self.mask(x),
            Primitive::Mask => return self.mask_channels(x),
            Primitive::CumSum => return self.cumulative(x, false),
            Primitive::CumProd => return self.cumulative(x, true),
            Primitive::RedMean => return self.reduction(x, ReduceOp::Sum, true),
            Primitive::RedSum => return self.reduction(x, ReduceOp::Sum, false),
            Primitive::RedMin => return self.reduction(x, ReduceOp::Min, false),
            Primitive::RedMax => return self.reduction(x, ReduceOp::Max, false),
            Primitive::RedProd => return self.reduction(x, ReduceOp::Prod, false),
            Primitive::Exp => UnaryOp::Exp,
            Primitive::Abs => UnaryOp::Abs,
            Primitive::Sign => UnaryOp::Sign,
            Primitive::Cos => UnaryOp::Cos,
            Primitive::Sin => UnaryOp::Sin,
            Primitive::Tanh => UnaryOp::Tanh,
            Primitive::Sigmoid => UnaryOp::Sigmoid,
            _ => UnaryOp::Recip,
        };
        let zero_stays = matches!(op, UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Sin | UnaryOp::Tanh | UnaryOp::Recip);
        Ok(with(self.graph.unary(op, node)?, zero_stays))
    }

    /// max(x, c), whose gradient passes where x ≥ c; for c = 0 the engine's own, as in a ReLU.
    fn maximum(&mut self, x: NodeId, constant: f64) -> Result<NodeId> {
        let c = self.graph.constant(constant);
        if constant == 0.0 {
            return self.graph.binary(BinaryOp::Max, x, c);
        }
        let less = self.graph.compare(CompareOp::Less, x, c)?;
        self.graph.select(less, c, x)
    }

    /// min(x, c), whose gradient passes where x ≤ c.
    fn minimum(&mut self, x: NodeId, constant: f64) -> Result<NodeId> {
        let c = self.graph.constant(constant);
        let greater = self.graph.compare(CompareOp::Less, c, x)?;
        self.graph.select(greater, c, x)
    }

    /// MASK of a V: channel j of position t becomes 0 where j > t.
    fn mask_channels(&mut self, x: Value) -> Result<Value> {
        let node = self.heads(x)?;
        let shape = self.graph.shape(node).clone();
        let position = self.graph.iota(shape.clone(), 2, DType::U32)?;
        let channel = self.graph.iota(shape, 3, DType::U32)?;
        let late = self.graph.compare(CompareOp::Less, position, channel)?;
        let zero = self.graph.constant(0.0);
        let node = self.graph.select(late, zero, node)?;
        Ok(self.v_heads(node, self.width(x), x.axis))
    }

    /// Inclusive sums or products: of a V over the sequence, of a masked A over the keys.
    fn cumulative(&mut self, x: Value, product: bool) -> Result<Value> {
        let (node, axis) = match x.kind {
            Kind::A => (self.mask(x)?.node, 3),
            Kind::V(_) => (self.heads(x)?, 2),
        };
        let shape = self.graph.shape(node).clone();
        let node = if product {
            let zeros = self.graph.full(0.0, shape)?;
            self.graph.linrec(node, zeros, axis, false, 1.0)?
        } else {
            let ones = self.graph.full(1.0, shape)?;
            self.graph.linrec(ones, node, axis, false, 0.0)?
        };
        match x.kind {
            Kind::A => self.enter(node, x.axis, 0.0),
            Kind::V(_) => Ok(self.v_heads(node, self.width(x), x.axis)),
        }
    }

    /// A reduction over the last axis, which stays as 1; of a masked A over all n keys.
    fn reduction(&mut self, x: Value, op: ReduceOp, mean: bool) -> Result<Value> {
        let x = self.v_of(x)?;
        let last = self.graph.shape(x.node).rank() - 1;
        let mut node = self.graph.reduce(op, x.node, last)?;
        if mean {
            node = self.graph.mul_scalar(node, 1.0 / self.width(x) as f64)?;
        }
        Ok(Value { node, kind: Kind::V(1), ..x })
    }

    /// ADD, DIFFERENCE, MULTIPLY or DIVIDE.
    pub fn elementwise(&mut self, primitive: Primitive, a: Value, b: Value) -> Result<Value> {
        let op = match primitive {
            Primitive::Add => BinaryOp::Add,
            Primitive::Difference => BinaryOp::Sub,
            Primitive::Multiply => BinaryOp::Mul,
            _ => BinaryOp::Div,
        };
        let axis = a.axis.max(b.axis);
        if a.kind != Kind::A && b.kind != Kind::A {
            let (a, b) = self.equal_widths(primitive, a, b)?;
            let width = self.width(a).max(self.width(b));
            if a.layout == Layout::Heads && b.layout == Layout::Heads {
                let node = self.graph.binary(op, a.node, b.node)?;
                return Ok(self.v_heads(node, width, axis));
            }
            let (x, y) = (self.rows_aligned(a, axis)?, self.rows_aligned(b, axis)?);
            let node = self.graph.binary(op, x, y)?;
            return Ok(self.v_rows(node, width, axis));
        }
        // 1 above the diagonal is harmless in every operand's place; a zero half divided or
        // multiplied by it stays zero.
        let (x, y) = (self.a_of(a, 1.0)?, self.a_of(b, 1.0)?);
        let node = self.graph.binary(op, x.node, y.node)?;
        let zero_above = match op {
            BinaryOp::Div => a.zero_above && b.kind != Kind::A,
            BinaryOp::Mul => {
                x.zero_above && b.kind != Kind::A || y.zero_above && a.kind != Kind::A || a.zero_above && b.zero_above
            }
            _ => x.zero_above && y.zero_above,
        };
        Ok(Value { node, kind: Kind::A, axis, layout: Layout::Heads, zero_above })
    }

    /// The V in rows, with an axis for the branches where the other operand has one.
    fn rows_aligned(&mut self, value: Value, axis: usize) -> Result<NodeId> {
        let node = self.rows(value)?;
        if value.axis == axis {
            return Ok(node);
        }
        self.graph.reshape(node, [self.rows_count(), 1, self.width(value)])
    }

    /// Both operands with one width: 1 stays for the graph to repeat, else the loser is resized.
    fn equal_widths(&mut self, primitive: Primitive, a: Value, b: Value) -> Result<(Value, Value)> {
        let (wa, wb) = (self.width(a), self.width(b));
        if wa == wb || wa == 1 || wb == 1 {
            return Ok((a, b));
        }
        let width = common_width(primitive, wa as u64, wb as u64) as usize;
        Ok((self.resize(a, width)?, self.resize(b, width)?))
    }

    /// T_MAT_MUL: a·bᵀ over the channels, an A.
    pub fn transposed_product(&mut self, a: Value, b: Value) -> Result<Value> {
        let (a, b) = (self.v_of(a)?, self.v_of(b)?);
        let width = common_width(Primitive::TMatMul, self.width(a) as u64, self.width(b) as u64) as usize;
        let (a, b) = (self.resize(a, width)?, self.resize(b, width)?);
        let axis = a.axis.max(b.axis);
        let (x, y) = (self.heads_repeated(a, axis)?, self.heads_repeated(b, axis)?);
        let node = self.graph.matmul_t(x, false, y, true)?;
        self.enter(node, axis, 0.0)
    }

    /// MAT_MUL: mask(a)·b over the positions.
    ///
    /// A row of b that isn't finite must not reach earlier positions, whose weight for it is 0 (and
    /// 0·∞ is not a number). It enters the product as 0, and stands unchanged at its own position.
    pub fn product(&mut self, a: Value, b: Value) -> Result<Value> {
        let a = self.a_of(a, 0.0)?;
        let a = self.mask(a)?;
        let b = if b.kind == Kind::A { self.mask(b)? } else { b };
        let axis = a.axis.max(b.axis);
        let (x, y) = (self.heads_repeated(a, axis)?, self.heads_repeated(b, axis)?);
        let finite = self.graph.is_finite(y)?;
        let zero = self.graph.constant(0.0);
        let safe = self.graph.select(finite, y, zero)?;
        let node = self.graph.matmul(x, safe)?;
        let node = self.graph.select(finite, node, y)?;
        match b.kind {
            Kind::A => self.enter(node, axis, 0.0),
            Kind::V(width) => Ok(self.v_heads(node, width as usize, axis)),
        }
    }

    /// SCALE or SHIFT with a vector of `branches`·(last axis) entries.
    pub fn vector(&mut self, scale: bool, x: Value, vector: NodeId, branches: usize) -> Result<Value> {
        let op = if scale { BinaryOp::Mul } else { BinaryOp::Add };
        let width = self.width(x);
        if x.kind == Kind::A {
            let shaped = self.graph.reshape(vector, [branches, 1, width])?;
            let repeated = self.graph.broadcast_to(shaped, [self.batch, branches, self.n, width])?;
            let vector = self.enter(repeated, branches, 1.0)?;
            let node = self.graph.binary(op, x.node, vector.node)?;
            return Ok(Value { node, axis: branches, zero_above: x.zero_above && scale, ..x });
        }
        let node = self.rows_aligned(x, branches)?;
        let shape = if branches == 1 { Shape::from([width]) } else { Shape::from([branches, width]) };
        let vector = self.graph.reshape(vector, shape)?;
        let node = self.graph.binary(op, node, vector)?;
        Ok(self.v_rows(node, width, branches))
    }

    /// A dense layer (`taps` 1) or a causal convolution over the sequence.
    pub fn conv(&mut self, x: Value, weight: NodeId, taps: usize, out: usize, branches: usize) -> Result<Value> {
        let x = self.v_of(x)?;
        let (rows, axis, width) = (self.rows_count(), x.axis, self.width(x));
        let mut node = self.rows(x)?;
        let mut fan_in = width;
        if taps > 1 {
            // the position itself, then the one before it, and so on, side by side
            let sequence = self.graph.reshape(node, [self.batch, self.n, axis, width])?;
            let mut shifted = vec![sequence];
            for back in 1..taps {
                let padded = self.graph.pad(sequence, 1, back, 0)?;
                shifted.push(self.graph.slice(padded, 1, 0, self.n)?);
            }
            node = self.graph.concat(&shifted, 3)?;
            fan_in = width * taps;
        }
        if axis == 1 {
            let node = self.graph.reshape(node, [rows, fan_in])?;
            let node = self.graph.matmul(node, weight)?;
            let node = if branches == 1 { node } else { self.graph.reshape(node, [rows, branches, out])? };
            return Ok(self.v_rows(node, out, branches));
        }
        let node = self.graph.reshape(node, [rows, axis, fan_in])?;
        let node = self.graph.permute(node, &[1, 0, 2])?;
        let node = self.graph.matmul(node, weight)?;
        let node = self.graph.permute(node, &[1, 0, 2])?;
        Ok(self.v_rows(node, out, branches))
    }

    /// A causal depthwise convolution with taps `[k, branches·c]`, the present position first.
    pub fn depthwise(&mut self, x: Value, taps: NodeId, branches: usize) -> Result<Value> {
        let x = self.v_of(x)?;
        let width = self.width(x);
        let node = if branches == 1 { self.rows(x)? } else { self.rows_repeated(x, branches)? };
        let node = self.graph.reshape(node, [self.batch, self.n, branches * width])?;
        let node = self.graph.depthwise_conv(node, taps)?;
        let rows = self.rows_count();
        let shape = if branches == 1 { Shape::from([rows, width]) } else { Shape::from([rows, branches, width]) };
        let node = self.graph.reshape(node, shape)?;
        Ok(self.v_rows(node, width, branches))
    }

    /// Gives each of `branch` branches the whole input; equal branches stay one.
    pub fn split(&mut self, x: Value, branch: usize) -> Result<Value> {
        if x.axis == 1 {
            return Ok(x);
        }
        let (outer, axis) = (x.axis, x.axis * branch);
        let (rows, batch, n, width) = (self.rows_count(), self.batch, self.n, self.width(x));
        let node = if x.kind == Kind::A || x.layout == Layout::Heads {
            let node = self.graph.reshape(x.node, [batch, outer, 1, n, width])?;
            let node = self.graph.broadcast_to(node, [batch, outer, branch, n, width])?;
            self.graph.reshape(node, [batch, axis, n, width])?
        } else {
            let node = self.graph.reshape(x.node, [rows, outer, 1, width])?;
            let node = self.graph.broadcast_to(node, [rows, outer, branch, width])?;
            self.graph.reshape(node, [rows, axis, width])?
        };
        Ok(Value { node, axis, ..x })
    }

    /// Joins `branch` branches on the channels, inside `outer` other ones.
    pub fn merge(&mut self, x: Value, branch: usize, outer: usize) -> Result<Value> {
        let width = self.width(x);
        let joined = width * branch;
        let rows = self.rows_count();
        let node = self.rows(x)?;
        if x.axis == 1 {
            let node = self.graph.reshape(node, [rows, 1, width])?;
            let node = self.graph.broadcast_to(node, [rows, branch, width])?;
            let node = self.graph.reshape(node, [rows, joined])?;
            return Ok(self.v_rows(node, joined, 1));
        }
        let shape = if outer == 1 { Shape::from([rows, joined]) } else { Shape::from([rows, outer, joined]) };
        let node = self.graph.reshape(node, shape)?;
        Ok(self.v_rows(node, joined, outer))
    }
}
