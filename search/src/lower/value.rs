//! Values while a program is built: two layouts of V, and the masks around A.

use primer_tensor::{CompareOp, DType, Graph, NodeId};

use super::kinds::Kind;

type Result<T> = primer_tensor::Result<T>;

/// How the elements of a V lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[batch·n, c]`, or `[batch·n, branches, c]` where the branches differ.
    Rows,
    /// `[batch, branches, n, c]`, what products over positions want; A is always so.
    Heads,
}

/// A value with its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub node: NodeId,
    pub kind: Kind,
    /// Number of different branches; 1 where all are equal.
    pub axis: usize,
    pub layout: Layout,
    /// For A: whether the half above the diagonal is known to be 0.
    pub zero_above: bool,
}

/// A graph with the sizes that give its values a shape.
pub(super) struct Builder<'a> {
    pub graph: &'a mut Graph,
    pub batch: usize,
    pub n: usize,
    /// Always true but in the leak test's own test.
    pub masked: bool,
}

impl Builder<'_> {
    pub fn rows_count(&self) -> usize {
        self.batch * self.n
    }

    /// Last axis of a value.
    pub fn width(&self, value: Value) -> usize {
        match value.kind {
            Kind::V(width) => width as usize,
            Kind::A => self.n,
        }
    }

    /// A V whose node lies in rows.
    pub fn v_rows(&self, node: NodeId, width: usize, axis: usize) -> Value {
        Value { node, kind: Kind::V(width as u64), axis, layout: Layout::Rows, zero_above: false }
    }

    /// A V whose node lies in heads.
    pub fn v_heads(&self, node: NodeId, width: usize, axis: usize) -> Value {
        Value { node, kind: Kind::V(width as u64), axis, layout: Layout::Heads, zero_above: false }
    }

    /// The V in rows: `[batch·n, c]` or `[batch·n, branches, c]`.
    pub fn rows(&mut self, value: Value) -> Result<NodeId> {
        if value.layout == Layout::Rows {
            return Ok(value.node);
        }
        let (rows, width) = (self.rows_count(), self.width(value));
        if value.axis == 1 {
            return self.graph.reshape(value.node, [rows, width]);
        }
        let node = self.graph.permute(value.node, &[0, 2, 1, 3])?;
        self.graph.reshape(node, [rows, value.axis, width])
    }

    /// The value in heads: `[batch, branches, n, c]`.
    pub fn heads(&mut self, value: Value) -> Result<NodeId> {
        if value.layout == Layout::Heads {
            return Ok(value.node);
        }
        let (batch, n, width) = (self.batch, self.n, self.width(value));
        if value.axis == 1 {
            return self.graph.reshape(value.node, [batch, 1, n, width]);
        }
        let node = self.graph.reshape(value.node, [batch, n, value.axis, width])?;
        self.graph.permute(node, &[0, 2, 1, 3])
    }

    /// The V in rows with the branches' axis always there and repeated: `[batch·n, axis, c]`.
    pub fn rows_repeated(&mut self, value: Value, axis: usize) -> Result<NodeId> {
        let node = self.rows(value)?;
        let (rows, width) = (self.rows_count(), self.width(value));
        if value.axis == axis && axis > 1 {
            return Ok(node);
        }
        let node = self.graph.reshape(node, [rows, value.axis, width])?;
        self.graph.broadcast_to(node, [rows, axis, width])
    }

    /// The value in heads, its branches repeated to `axis`.
    pub fn heads_repeated(&mut self, value: Value, axis: usize) -> Result<NodeId> {
        let node = self.heads(value)?;
        let width = self.width(value);
        self.graph.broadcast_to(node, [self.batch, axis, self.n, width])
    }

    /// V(c) as V(m): 1 is repeated, else the first channels are kept or zeros are added.
    pub fn resize(&mut self, value: Value, width: usize) -> Result<Value> {
        let from = self.width(value);
        let shape = self.graph.shape(value.node).clone();
        let last = shape.rank() - 1;
        let node = if from == width {
            value.node
        } else if from == 1 {
            self.graph.broadcast_to(value.node, shape.with_dim(last, width))?
        } else if from > width {
            self.graph.slice(value.node, last, 0, width)?
        } else {
            self.graph.pad(value.node, last, 0, width - from)?
        };
        Ok(Value { node, kind: Kind::V(width as u64), ..value })
    }

    /// True above the diagonal of `[batch, axis, n, n]`, where a key lies in the future.
    pub fn future(&mut self, axis: usize) -> Result<NodeId> {
        let shape = [self.batch, axis, self.n, self.n];
        let query = self.graph.iota(shape, 2, DType::U32)?;
        let key = self.graph.iota(shape, 3, DType::U32)?;
        self.graph.compare(CompareOp::Less, query, key)
    }

    /// Lets `node`, which repeats to `[batch, axis, n, n]`, into A: above the diagonal stands `fill`,
    /// and no gradient comes back from there.
    pub fn enter(&mut self, node: NodeId, axis: usize, fill: f64) -> Result<Value> {
        if !self.masked {
            let node = self.graph.broadcast_to(node, [self.batch, axis, self.n, self.n])?;
            return Ok(Value { node, kind: Kind::A, axis, layout: Layout::Heads, zero_above: false });
        }
        let future = self.future(axis)?;
        let fill_node = self.graph.constant(fill);
        let node = self.graph.select(future, fill_node, node)?;
        Ok(Value { node, kind: Kind::A, axis, layout: Layout::Heads, zero_above: fill == 0.0 })
    }

    /// mask(A): 0 above the diagonal, whatever stood there.
    pub fn mask(&mut self, value: Value) -> Result<Value> {
        if value.zero_above { Ok(value) } else { self.enter(value.node, value.axis, 0.0) }
    }

    /// toV: a V is itself, an A is masked and read as V(n).
    pub fn v_of(&mut self, value: Value) -> Result<Value> {
        match value.kind {
            Kind::V(_) => Ok(value),
            Kind::A => {
                let masked = self.mask(value)?;
                Ok(self.v_heads(masked.node, self.n, masked.axis))
            }
        }
    }

    /// V resized to n and called A, with `fill` above the diagonal; an A is itself.
    pub fn a_of(&mut self, value: Value, fill: f64) -> Result<Value> {
        if value.kind == Kind::A {
            return Ok(value);
        }
        let value = if self.width(value) == 1 { value } else { self.resize(value, self.n)? };
        let node = self.heads(value)?;
        self.enter(node, value.axis, fill)
    }
}
