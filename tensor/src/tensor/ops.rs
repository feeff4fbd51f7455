//! Operators, one a primitive. Binary ones broadcast as NumPy does.
//!
//! All panic, naming the operation and the shapes, where the operands break the primitive's rule.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Tensor;
use crate::Shape;
use crate::graph::{BinaryOp, CompareOp, Op, ReduceOp, Scalar, UnaryOp, broadcast_shape};

#[allow(clippy::missing_panics_doc)] // one rule for all, stated above
impl Tensor {
    /// An elementwise function.
    #[track_caller]
    pub fn unary(&self, op: UnaryOp) -> Self {
        Self::record(Op::Unary(op), vec![self.clone()])
    }

    /// An elementwise function of two operands.
    #[track_caller]
    pub fn binary(&self, op: BinaryOp, other: &Self) -> Self {
        let (a, b) = self.broadcast_pair(op.name(), other);
        Self::record(Op::Binary(op), vec![a, b])
    }

    /// A comparison, `Bool`.
    #[track_caller]
    pub fn compare(&self, op: CompareOp, other: &Self) -> Self {
        let (a, b) = self.broadcast_pair("compare", other);
        Self::record(Op::Compare(op), vec![a, b])
    }

    /// `a` where `self` is true, else `b`; both are broadcast to the condition's shape.
    #[track_caller]
    pub fn select(&self, a: &Self, b: &Self) -> Self {
        let operands = vec![self.clone(), a.broadcast_to(self.shape()), b.broadcast_to(self.shape())];
        Self::record(Op::Select, operands)
    }

    /// True where the value is neither infinite nor NaN.
    #[track_caller]
    pub fn is_finite(&self) -> Self {
        Self::record(Op::IsFinite, vec![self.clone()])
    }

    /// The same value, a constant to differentiation.
    #[track_caller]
    pub fn stop_gradient(&self) -> Self {
        Self::record(Op::StopGradient, vec![self.clone()])
    }

    /// Uniform random numbers in (0, 1), a function of the key (this tensor, u32 `[2]`) and the stream alone: bring
    /// another key for each run, and give each draw of a program a stream of its own. See [`Op::Random`].
    ///
    /// ```
    /// use primer_tensor::{Device, Tensor};
    /// let (seed, step) = (7, 0);
    /// let key = Tensor::from_indices(&[seed, step], [2])?;
    /// let noise = key.random([2, 3], 0).to_vec(&Device::cpu())?;
    /// assert!(noise.iter().all(|&u| 0.0 < u && u < 1.0));
    /// assert_eq!(noise, key.random([2, 3], 0).to_vec(&Device::reference())?);
    /// # Ok::<(), primer_tensor::Error>(())
    /// ```
    #[track_caller]
    pub fn random(&self, shape: impl Into<Shape>, stream: u32) -> Self {
        Self::record(Op::Random { shape: shape.into(), stream }, vec![self.clone()])
    }

    /// |x|
    #[track_caller]
    pub fn abs(&self) -> Self {
        self.unary(UnaryOp::Abs)
    }

    /// √x
    #[track_caller]
    pub fn sqrt(&self) -> Self {
        self.unary(UnaryOp::Sqrt)
    }

    /// eˣ
    #[track_caller]
    pub fn exp(&self) -> Self {
        self.unary(UnaryOp::Exp)
    }

    /// ln x
    #[track_caller]
    pub fn log(&self) -> Self {
        self.unary(UnaryOp::Log)
    }

    /// sin x
    #[track_caller]
    pub fn sin(&self) -> Self {
        self.unary(UnaryOp::Sin)
    }

    /// cos x
    #[track_caller]
    pub fn cos(&self) -> Self {
        self.unary(UnaryOp::Cos)
    }

    /// tanh x
    #[track_caller]
    pub fn tanh(&self) -> Self {
        self.unary(UnaryOp::Tanh)
    }

    /// 1 / (1 + e⁻ˣ)
    #[track_caller]
    pub fn sigmoid(&self) -> Self {
        self.unary(UnaryOp::Sigmoid)
    }

    /// 1/x, 0 where x is 0
    #[track_caller]
    pub fn recip(&self) -> Self {
        self.unary(UnaryOp::Recip)
    }

    /// The larger of two.
    #[track_caller]
    pub fn maximum(&self, other: &Self) -> Self {
        self.binary(BinaryOp::Max, other)
    }

    /// The smaller of two.
    #[track_caller]
    pub fn minimum(&self, other: &Self) -> Self {
        self.binary(BinaryOp::Min, other)
    }

    /// A reduction over one axis, kept with length 1.
    #[track_caller]
    pub fn reduce(&self, op: ReduceOp, axis: usize) -> Self {
        Self::record(Op::Reduce { op, axis }, vec![self.clone()])
    }

    /// Σ over one axis, kept with length 1.
    #[track_caller]
    pub fn sum_axis(&self, axis: usize) -> Self {
        self.reduce(ReduceOp::Sum, axis)
    }

    /// The largest along one axis, kept with length 1.
    #[track_caller]
    pub fn max_axis(&self, axis: usize) -> Self {
        self.reduce(ReduceOp::Max, axis)
    }

    /// The linear recurrence sᵢ = selfᵢ·sᵢ₋₁ + bᵢ along `axis`, from `start`.
    #[track_caller]
    pub fn linrec(&self, b: &Self, axis: usize, reverse: bool, start: f64) -> Self {
        let (a, b) = self.broadcast_pair("linrec", b);
        Self::record(Op::LinRec { axis, reverse, start: Scalar::new(start) }, vec![a, b])
    }

    /// The same elements under another shape.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        if *self.shape() == shape { self.clone() } else { Self::record(Op::Reshape(shape), vec![self.clone()]) }
    }

    /// Axis `i` of the result is axis `perm[i]`.
    #[track_caller]
    pub fn permute(&self, perm: &[usize]) -> Self {
        Self::record(Op::Permute(perm.to_vec()), vec![self.clone()])
    }

    /// Repeated to `shape` as NumPy does.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        if *self.shape() == shape {
            return self.clone();
        }
        let missing = shape.rank().saturating_sub(self.shape().rank());
        let padded: Shape = std::iter::repeat_n(1, missing).chain(self.shape().iter().copied()).collect();
        let padded = self.reshape(padded);
        if *padded.shape() == shape { padded } else { Self::record(Op::Broadcast(shape), vec![padded]) }
    }

    /// Elements `start..end` along `axis`.
    #[track_caller]
    pub fn slice(&self, axis: usize, start: usize, end: usize) -> Self {
        Self::record(Op::Slice { axis, start, end }, vec![self.clone()])
    }

    /// Zeros added before and after along `axis`.
    #[track_caller]
    pub fn pad(&self, axis: usize, before: usize, after: usize) -> Self {
        Self::record(Op::Pad { axis, before, after }, vec![self.clone()])
    }

    /// Tensors joined along `axis`.
    #[track_caller]
    pub fn concat(parts: &[Self], axis: usize) -> Self {
        if let [only] = parts { only.clone() } else { Self::record(Op::Concat { axis }, parts.to_vec()) }
    }

    /// Order reversed along `axis`.
    #[track_caller]
    pub fn reverse(&self, axis: usize) -> Self {
        Self::record(Op::Reverse { axis }, vec![self.clone()])
    }

    /// The matrix product over the last two axes; leading axes are equal.
    #[track_caller]
    pub fn matmul(&self, other: &Self) -> Self {
        self.matmul_t(false, other, false)
    }

    /// The matrix product with either operand transposed.
    #[track_caller]
    pub fn matmul_t(&self, transpose_a: bool, other: &Self, transpose_b: bool) -> Self {
        Self::record(Op::MatMul { transpose_a, transpose_b }, vec![self.clone(), other.clone()])
    }

    /// Causal depthwise convolution of `[batch, n, c]` with taps `[k, c]`.
    #[track_caller]
    pub fn depthwise_conv(&self, taps: &Self) -> Self {
        Self::record(Op::DepthwiseConv, vec![self.clone(), taps.clone()])
    }

    /// Rows of this table `[v, d]` by u32 indices `[..]`, `[.., d]`.
    #[track_caller]
    pub fn gather(&self, indices: &Self) -> Self {
        Self::record(Op::Gather, vec![self.clone(), indices.clone()])
    }

    /// A table of `rows` zero rows to which each row of this tensor `[.., d]` is added at its u32 index `[..]`: `[rows,
    /// d]`.
    #[track_caller]
    pub fn scatter_add(&self, indices: &Self, rows: usize) -> Self {
        Self::record(Op::ScatterAdd { rows }, vec![indices.clone(), self.clone()])
    }

    #[track_caller]
    fn broadcast_pair(&self, op: &'static str, other: &Self) -> (Self, Self) {
        let Some(shape) = broadcast_shape(self.shape(), other.shape()) else {
            panic!("{op}: shapes {} {} do not broadcast", self.shape(), other.shape());
        };
        (self.broadcast_to(&shape), other.broadcast_to(&shape))
    }
}

/// The four arithmetic operators for every mix of borrowed, owned and `f64` right-hand sides.
macro_rules! arithmetic {
    ($($trait:ident $method:ident $op:expr),*) => {$(
        impl $trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                self.binary($op, other)
            }
        }
        impl $trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                self.binary($op, &other)
            }
        }
        impl $trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                self.binary($op, other)
            }
        }
        impl $trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                self.binary($op, &other)
            }
        }
        impl $trait<f64> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: f64) -> Tensor {
                self.binary($op, &Tensor::constant(other))
            }
        }
        impl $trait<f64> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: f64) -> Tensor {
                self.binary($op, &Tensor::constant(other))
            }
        }
    )*};
}

arithmetic!(Add add BinaryOp::Add, Sub sub BinaryOp::Sub, Mul mul BinaryOp::Mul, Div div BinaryOp::Div);

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.unary(UnaryOp::Neg)
    }
}

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.unary(UnaryOp::Neg)
    }
}
