//! The one shape and type rule of each primitive.

use super::op::Op;
use crate::{DType, Error, Result, Shape};

/// The shape and element type of an operand or a result.
pub type Typed = (Shape, DType);

impl Op {
    /// The shape and element type of the result for the given operands.
    ///
    /// # Errors
    /// [`Error::Arity`], [`Error::DType`] or [`Error::Shape`] where the operands break the primitive's rule, or the
    /// result has more elements than memory can.
    pub fn infer(&self, operands: &[Typed]) -> Result<Typed> {
        let (shape, dtype) = self.typed(operands)?;
        let rule = Rule { op: self, operands };
        rule.check(shape.is_addressable(), || format!("{shape} has more elements than can be addressed"))?;
        Ok((shape, dtype))
    }

    fn typed(&self, operands: &[Typed]) -> Result<Typed> {
        let rule = Rule { op: self, operands };
        match self {
            // The graph's input table knows the type of an input; a bare operation does not.
            Op::Input(_) => Err(Error::Arity { op: self.name(), found: operands.len(), expected: 0 }),
            Op::Constant(_, dtype) => {
                rule.arity(0)?;
                Ok((Shape::scalar(), *dtype))
            }
            Op::Iota { shape, axis, dtype } => {
                rule.arity(0)?;
                rule.check(*axis < shape.rank(), || format!("axis {axis} of rank {}", shape.rank()))?;
                rule.check(*dtype != DType::Bool, || "a counter is f32 or u32".into())?;
                Ok((shape.clone(), *dtype))
            }
            Op::Random { shape, .. } => {
                rule.arity(1)?;
                rule.index(0)?;
                rule.check(operands[0].0[..] == [2], || "a key is two words, u32[2]".into())?;
                // A block of four elements is counted by one word.
                rule.check(shape.numel() as u64 <= 1 << 34, || format!("{shape} holds more than 2^34 elements"))?;
                Ok((shape.clone(), DType::F32))
            }
            Op::Unary(_) | Op::StopGradient => {
                rule.arity(1)?;
                rule.float(0)?;
                Ok(operands[0].clone())
            }
            Op::IsFinite => {
                rule.arity(1)?;
                rule.float(0)?;
                Ok((operands[0].0.clone(), DType::Bool))
            }
            Op::Barrier => {
                rule.arity(2)?;
                rule.stored(0)?;
                rule.stored(1)?;
                Ok(operands[0].clone())
            }
            Op::Cast(to) => {
                rule.arity(1)?;
                rule.check(*to != DType::Bool, || "nothing is cast to bool; compare instead".into())?;
                Ok((operands[0].0.clone(), *to))
            }
            Op::Binary(_) => {
                rule.arity(2)?;
                rule.float(0)?;
                rule.float(1)?;
                rule.equal_shapes(0, 1)?;
                Ok(operands[0].clone())
            }
            Op::Compare(_) => {
                rule.arity(2)?;
                if operands[0].1 == DType::Bool {
                    return Err(rule.dtype(0, "f32 or u32"));
                }
                if operands[1].1 != operands[0].1 {
                    return Err(rule.dtype(1, operands[0].1.name()));
                }
                rule.equal_shapes(0, 1)?;
                Ok((operands[0].0.clone(), DType::Bool))
            }
            Op::Select => {
                rule.arity(3)?;
                if operands[0].1 != DType::Bool {
                    return Err(rule.dtype(0, "bool"));
                }
                rule.float(1)?;
                rule.float(2)?;
                rule.equal_shapes(0, 1)?;
                rule.equal_shapes(1, 2)?;
                Ok(operands[1].clone())
            }
            Op::Reduce { axis, .. } => {
                rule.arity(1)?;
                rule.float(0)?;
                rule.axis(*axis)?;
                Ok((operands[0].0.with_dim(*axis, 1), DType::F32))
            }
            Op::LinRec { axis, .. } => {
                rule.arity(2)?;
                rule.float(0)?;
                rule.float(1)?;
                rule.equal_shapes(0, 1)?;
                rule.axis(*axis)?;
                Ok(operands[0].clone())
            }
            _ => self.infer_layout(&rule),
        }
    }

    fn infer_layout(&self, rule: &Rule<'_>) -> Result<Typed> {
        let operands = rule.operands;
        match self {
            Op::Reshape(shape) => {
                rule.arity(1)?;
                rule.stored(0)?;
                rule.check(shape.numel() == operands[0].0.numel(), || {
                    format!("{shape} holds another number of elements")
                })?;
                Ok((shape.clone(), operands[0].1))
            }
            Op::Permute(perm) => {
                rule.arity(1)?;
                rule.stored(0)?;
                let mut seen = vec![false; operands[0].0.rank()];
                let valid = perm.len() == seen.len()
                    && perm.iter().all(|&p| p < seen.len() && !std::mem::replace(&mut seen[p], true));
                rule.check(valid, || format!("{perm:?} is no permutation of the axes"))?;
                Ok((perm.iter().map(|&p| operands[0].0[p]).collect(), operands[0].1))
            }
            Op::Broadcast(shape) => {
                rule.arity(1)?;
                rule.stored(0)?;
                let from = &operands[0].0;
                let valid =
                    from.rank() == shape.rank() && from.iter().zip(shape.iter()).all(|(&f, &t)| f == t || f == 1);
                rule.check(valid, || format!("only axes of length 1 can be repeated to reach {shape}"))?;
                Ok((shape.clone(), operands[0].1))
            }
            Op::Slice { axis, start, end } => {
                rule.arity(1)?;
                rule.stored(0)?;
                rule.axis(*axis)?;
                rule.check(start <= end && *end <= operands[0].0[*axis], || {
                    format!("{start}..{end} lies outside axis {axis}")
                })?;
                Ok((operands[0].0.with_dim(*axis, end - start), operands[0].1))
            }
            Op::Pad { axis, before, after } => {
                rule.arity(1)?;
                rule.float(0)?;
                rule.axis(*axis)?;
                let dim = operands[0].0[*axis].saturating_add(*before).saturating_add(*after);
                Ok((operands[0].0.with_dim(*axis, dim), DType::F32))
            }
            Op::Concat { axis } => {
                rule.check(!operands.is_empty(), || "nothing to join".into())?;
                rule.axis(*axis)?;
                let first = &operands[0].0;
                let mut dim = 0;
                for (i, (shape, _)) in operands.iter().enumerate() {
                    rule.float(i)?;
                    let fits = shape.rank() == first.rank() && shape.with_dim(*axis, 0) == first.with_dim(*axis, 0);
                    rule.check(fits, || format!("operand {i} differs outside axis {axis}"))?;
                    dim = shape[*axis].saturating_add(dim);
                }
                Ok((first.with_dim(*axis, dim), DType::F32))
            }
            Op::Reverse { axis } => {
                rule.arity(1)?;
                rule.stored(0)?;
                rule.axis(*axis)?;
                Ok(operands[0].clone())
            }
            _ => self.infer_contraction(rule),
        }
    }

    fn infer_contraction(&self, rule: &Rule<'_>) -> Result<Typed> {
        let operands = rule.operands;
        match self {
            Op::MatMul { transpose_a, transpose_b } => {
                rule.arity(2)?;
                rule.float(0)?;
                rule.float(1)?;
                let (a, b) = (&operands[0].0, &operands[1].0);
                let r = a.rank();
                rule.check(r >= 2 && b.rank() == r, || "both operands need the same rank, at least 2".into())?;
                rule.check(a[..r - 2] == b[..r - 2], || "the batch axes differ".into())?;
                let (m, ka) = if *transpose_a { (a[r - 1], a[r - 2]) } else { (a[r - 2], a[r - 1]) };
                let (kb, n) = if *transpose_b { (b[r - 1], b[r - 2]) } else { (b[r - 2], b[r - 1]) };
                rule.check(ka == kb, || format!("inner dimensions {ka} and {kb} differ"))?;
                Ok((a[..r - 2].iter().copied().chain([m, n]).collect(), DType::F32))
            }
            Op::DepthwiseConv | Op::DepthwiseConvInputGrad => {
                rule.arity(2)?;
                rule.float(0)?;
                rule.float(1)?;
                let (x, w) = (&operands[0].0, &operands[1].0);
                let fits = x.rank() == 3 && w.rank() == 2 && x[2] == w[1] && w[0] > 0;
                rule.check(fits, || "expected [batch, n, c] and taps [k, c]".into())?;
                Ok((x.clone(), DType::F32))
            }
            Op::DepthwiseConvFilterGrad { width } => {
                rule.arity(2)?;
                rule.float(0)?;
                rule.float(1)?;
                rule.equal_shapes(0, 1)?;
                rule.check(operands[0].0.rank() == 3 && *width > 0, || "expected two of [batch, n, c]".into())?;
                Ok((Shape::from([*width, operands[0].0[2]]), DType::F32))
            }
            Op::Gather => {
                rule.arity(2)?;
                rule.float(0)?;
                rule.index(1)?;
                let table = &operands[0].0;
                rule.check(table.rank() == 2 && table[0] > 0, || "expected a table [v, d] with v > 0".into())?;
                Ok((operands[1].0.iter().copied().chain([table[1]]).collect(), DType::F32))
            }
            Op::ScatterAdd { rows } => {
                rule.arity(2)?;
                rule.index(0)?;
                rule.float(1)?;
                let (indices, updates) = (&operands[0].0, &operands[1].0);
                let fits =
                    *rows > 0 && updates.rank() == indices.rank() + 1 && updates[..indices.rank()] == indices[..];
                rule.check(fits, || "expected indices [..] and updates [.., d]".into())?;
                Ok((Shape::from([*rows, updates.last()]), DType::F32))
            }
            _ => unreachable!("every primitive has a rule above"),
        }
    }
}

struct Rule<'a> {
    op: &'a Op,
    operands: &'a [Typed],
}

impl Rule<'_> {
    fn arity(&self, expected: usize) -> Result<()> {
        let found = self.operands.len();
        if found == expected { Ok(()) } else { Err(Error::Arity { op: self.op.name(), found, expected }) }
    }

    fn check(&self, holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
        if holds {
            return Ok(());
        }
        let shapes = self.operands.iter().map(|(shape, _)| shape.clone()).collect();
        Err(Error::Shape { op: self.op.name(), shapes, reason: reason() })
    }

    fn dtype(&self, operand: usize, expected: &'static str) -> Error {
        Error::DType { op: self.op.name(), operand, found: self.operands[operand].1, expected }
    }

    fn float(&self, operand: usize) -> Result<()> {
        if self.operands[operand].1 == DType::F32 { Ok(()) } else { Err(self.dtype(operand, "f32")) }
    }

    fn index(&self, operand: usize) -> Result<()> {
        if self.operands[operand].1 == DType::U32 { Ok(()) } else { Err(self.dtype(operand, "u32")) }
    }

    fn stored(&self, operand: usize) -> Result<()> {
        if self.operands[operand].1 != DType::Bool { Ok(()) } else { Err(self.dtype(operand, "f32 or u32")) }
    }

    fn axis(&self, axis: usize) -> Result<()> {
        let rank = self.operands[0].0.rank();
        self.check(axis < rank, || format!("axis {axis} of rank {rank}"))
    }

    fn equal_shapes(&self, a: usize, b: usize) -> Result<()> {
        self.check(self.operands[a].0 == self.operands[b].0, || "the shapes must be equal".into())
    }
}
