//! What each primitive is, for tables and tests: the one list behind `primer ops` and the op table of the tests.

use super::op::{BinaryOp, CompareOp, Op, ReduceOp, Scalar, UnaryOp};
use crate::{DType, Shape};

/// Allowed error of a correctly rounded operation: one unit in the last place, since a GPU may round either way.
const ROUNDED: f64 = 1.2e-7;
/// Of a division or a root, for which WGSL grants 2.5 units in the last place.
const DIVIDED: f64 = 5e-7;
/// Of our polynomials.
const POLYNOMIAL: f64 = 1e-6;
/// Of a sum or product of many terms in any order.
const ACCUMULATED: f64 = 2e-6;

impl Op {
    /// One of each primitive, in the order of their definition.
    pub fn catalogue() -> Vec<Op> {
        let (shape, dtype) = (Shape::from([1]), DType::F32);
        let mut ops = vec![
            Op::Input(0),
            Op::Constant(Scalar::new(1.0), dtype),
            Op::Iota { shape: shape.clone(), axis: 0, dtype },
            Op::Random { shape: shape.clone(), stream: 0 },
        ];
        ops.extend(UnaryOp::ALL.map(Op::Unary));
        ops.extend([Op::IsFinite, Op::StopGradient, Op::Barrier, Op::Cast(DType::U32)]);
        ops.extend(BinaryOp::ALL.map(Op::Binary));
        ops.extend([CompareOp::Less, CompareOp::Equal].map(Op::Compare));
        ops.push(Op::Select);
        ops.extend(ReduceOp::ALL.map(|op| Op::Reduce { op, axis: 0 }));
        ops.extend([
            Op::LinRec { axis: 0, reverse: false, start: Scalar::new(0.0) },
            Op::Reshape(shape.clone()),
            Op::Permute(vec![0]),
            Op::Broadcast(shape),
            Op::Slice { axis: 0, start: 0, end: 1 },
            Op::Pad { axis: 0, before: 0, after: 0 },
            Op::Concat { axis: 0 },
            Op::Reverse { axis: 0 },
            Op::MatMul { transpose_a: false, transpose_b: false },
            Op::DepthwiseConv,
            Op::DepthwiseConvInputGrad,
            Op::DepthwiseConvFilterGrad { width: 1 },
            Op::Gather,
            Op::ScatterAdd { rows: 1 },
        ]);
        ops
    }

    /// What it computes, in a few words.
    pub fn computes(&self) -> &'static str {
        match self {
            Op::Input(_) => "data of a run, or state between runs",
            Op::Constant(..) => "a scalar",
            Op::Iota { .. } => "the index along an axis",
            Op::Random { .. } => "uniform numbers in (0, 1) from a key, by Philox4x32-10",
            Op::Unary(op) => op.computes(),
            Op::IsFinite => "x is neither infinite nor NaN, by its bits",
            Op::StopGradient => "x, a constant to differentiation",
            Op::Barrier => "x, from memory and not before another value is there",
            Op::Cast(_) => "conversion between f32, u32 and bool",
            Op::Binary(op) => op.computes(),
            Op::Compare(CompareOp::Less) => "a < b, false for NaN",
            Op::Compare(CompareOp::Equal) => "a = b, false for NaN",
            Op::Select => "a where a condition holds, else b",
            Op::Reduce { op: ReduceOp::Sum, .. } => "sum over an axis, 0 if empty",
            Op::Reduce { op: ReduceOp::Max, .. } => "largest along an axis, -inf if empty",
            Op::Reduce { op: ReduceOp::Min, .. } => "smallest along an axis, inf if empty",
            Op::Reduce { op: ReduceOp::Prod, .. } => "product over an axis, 1 if empty",
            Op::LinRec { .. } => "s[i] = a[i] s[i-1] + b[i] along an axis, either way",
            Op::Reshape(_) => "the same elements under another shape",
            Op::Permute(_) => "axes in another order",
            Op::Broadcast(_) => "axes of length 1 repeated",
            Op::Slice { .. } => "a stretch of an axis",
            Op::Pad { .. } => "zeros before and after an axis",
            Op::Concat { .. } => "tensors joined along an axis",
            Op::Reverse { .. } => "an axis in reverse order",
            Op::MatMul { .. } => "batched matrix product, either operand transposed",
            Op::DepthwiseConv => "causal convolution, channel by channel",
            Op::DepthwiseConvInputGrad => "its adjoint in the input",
            Op::DepthwiseConvFilterGrad { .. } => "its adjoint in the taps",
            Op::Gather => "rows of a table by index, the last row past its end",
            Op::ScatterAdd { .. } => "rows added to a table by index, in order",
        }
    }

    /// How far a device's result may be from the f64 reference, as a share of the result's largest magnitude, beside 16
    /// times what rounding the operands and the result to f32 does. 0: equal bit for bit, up to subnormals flushed to
    /// zero.
    pub fn epsilon(&self) -> f64 {
        match self {
            Op::Input(_)
            | Op::Constant(..)
            | Op::Iota { .. }
            | Op::Random { .. }
            | Op::IsFinite
            | Op::StopGradient
            | Op::Barrier
            | Op::Cast(_)
            | Op::Compare(_)
            | Op::Select
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Broadcast(_)
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. }
            | Op::Gather
            | Op::Reduce { op: ReduceOp::Max | ReduceOp::Min, .. } => 0.0,
            Op::Unary(op) => op.epsilon(),
            Op::Binary(op) => op.epsilon(),
            Op::Reduce { op: ReduceOp::Sum | ReduceOp::Prod, .. }
            | Op::LinRec { .. }
            | Op::MatMul { .. }
            | Op::DepthwiseConv
            | Op::DepthwiseConvInputGrad
            | Op::DepthwiseConvFilterGrad { .. }
            | Op::ScatterAdd { .. } => ACCUMULATED,
        }
    }
}

impl UnaryOp {
    fn computes(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-x",
            UnaryOp::Abs => "|x|",
            UnaryOp::Sign => "-1, 0 or 1; 0 at 0",
            UnaryOp::Sqrt => "square root",
            UnaryOp::Exp => "e^x",
            UnaryOp::Log => "ln x",
            UnaryOp::Sin => "sin x",
            UnaryOp::Cos => "cos x",
            UnaryOp::Tanh => "tanh x",
            UnaryOp::Sigmoid => "1 / (1 + e^-x)",
            UnaryOp::Recip => "1/x, 0 at 0",
        }
    }

    fn epsilon(self) -> f64 {
        match self {
            UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign => 0.0,
            UnaryOp::Sqrt | UnaryOp::Recip => DIVIDED,
            UnaryOp::Exp | UnaryOp::Log | UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Tanh | UnaryOp::Sigmoid => POLYNOMIAL,
        }
    }
}

impl BinaryOp {
    fn computes(self) -> &'static str {
        match self {
            BinaryOp::Add => "a + b",
            BinaryOp::Sub => "a - b",
            BinaryOp::Mul => "a b, elementwise",
            BinaryOp::Div => "a / b",
            BinaryOp::Max => "the larger",
            BinaryOp::Min => "the smaller",
        }
    }

    fn epsilon(self) -> f64 {
        match self {
            BinaryOp::Max | BinaryOp::Min => 0.0,
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul => ROUNDED,
            BinaryOp::Div => DIVIDED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primitive_is_listed_once() {
        let mut names: Vec<&str> = Op::catalogue().iter().map(Op::name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
