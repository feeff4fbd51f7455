//! The closed set of primitives.
//!
//! Every hand-written model, evolved program, gradient and optimizer is made of these and of nothing else. The set is
//! closed under its own gradients.

use crate::{DType, Shape};

/// An `f64` constant compared and hashed by its bits, so that NaN equals itself and -0 differs from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar(u64);

impl Scalar {
    /// Wraps a value.
    pub fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    /// The value.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

/// Elementwise functions of one operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnaryOp {
    /// −x
    Neg,
    /// |x|
    Abs,
    /// −1, 0 or 1; sign(±0) = 0
    Sign,
    /// √x
    Sqrt,
    /// eˣ
    Exp,
    /// ln x
    Log,
    /// sin x, x in radians
    Sin,
    /// cos x, x in radians
    Cos,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// 1/x, and 0 where x is ±0 (reciprocal_no_nan)
    Recip,
}

/// Elementwise functions of two operands of one shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinaryOp {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// The larger; NaN if either is NaN (unspecified on a GPU).
    Max,
    /// The smaller; NaN if either is NaN (unspecified on a GPU).
    Min,
}

/// Comparisons, with a `Bool` result. Any comparison with NaN is false.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CompareOp {
    /// a < b
    Less,
    /// a = b
    Equal,
}

/// Reductions over one axis, which is kept with length 1. An empty axis gives the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    /// Σ, identity 0
    Sum,
    /// Largest, identity −∞
    Max,
    /// Smallest, identity +∞
    Min,
    /// Π, identity 1
    Prod,
}

/// What an input is to the program that reads it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InputKind {
    /// Given anew for every run: token ids, learning rate.
    Data,
    /// Lives in a `State` between runs: parameters, optimizer moments.
    State,
}

/// One primitive. The operands are listed beside each; shapes are checked by [`Op::infer`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A leaf, by its index in the graph's input table. Never merged by hash-consing.
    Input(usize),
    /// A scalar constant.
    Constant(Scalar, DType),
    /// A tensor of the given shape that holds its own index along `axis`.
    Iota {
        /// Shape of the result.
        shape: Shape,
        /// The axis that is counted.
        axis: usize,
        /// `F32` or `U32`.
        dtype: DType,
    },
    /// `key`, two words of u32: uniform f32 in the open interval (0, 1), by Philox4x32-10. A function of the key, the
    /// stream and the position alone, the same bits on every device. The stream is the draw's identity: draws of
    /// different streams are independent and never merge, draws of one stream under one key are the same draw. No
    /// composition of the other primitives mixes integers.
    Random {
        /// Shape of the result.
        shape: Shape,
        /// Which of 2³² independent streams under one key.
        stream: u32,
    },
    /// `x`: elementwise function, f32.
    Unary(UnaryOp),
    /// `x`: true where x is neither infinite nor NaN, decided by its bits.
    IsFinite,
    /// `x`: x itself, a constant to differentiation: the maximum that a stable softmax subtracts.
    StopGradient,
    /// `x, t`: x itself, read from memory and not before t has been computed; t's value doesn't matter. So what is
    /// computed from it is computed late, and never merged with the same computation on x: how a value comes to be
    /// computed again instead of kept. XLA's `opt-barrier`.
    Barrier,
    /// `x`: conversion; false and true become 0 and 1.
    Cast(DType),
    /// `a, b`: elementwise function of equal shapes, f32.
    Binary(BinaryOp),
    /// `a, b`: comparison of equal shapes, both f32 or both u32.
    Compare(CompareOp),
    /// `cond, a, b`: a where cond, else b. The other side's value never matters, NaN included.
    Select,
    /// `x`: reduction over `axis`, kept with length 1.
    Reduce {
        /// The reduction.
        op: ReduceOp,
        /// The axis reduced.
        axis: usize,
    },
    /// `a, b`: the linear recurrence sᵢ = aᵢ·sᵢ₋₁ + bᵢ along `axis`, from s₋₁ = `start`.
    /// Cumulative sum is a = 1; cumulative product is b = 0 from 1.
    LinRec {
        /// The axis along which it runs.
        axis: usize,
        /// From the last index to the first.
        reverse: bool,
        /// The state before the first element.
        start: Scalar,
    },
    /// `x`: the same elements in row-major order under another shape.
    Reshape(Shape),
    /// `x`: axis `i` of the result is axis `perm[i]` of the operand.
    Permute(Vec<usize>),
    /// `x`: axes of length 1 repeated up to the given shape of the same rank.
    Broadcast(Shape),
    /// `x`: elements `start..end` along `axis`.
    Slice {
        /// The axis cut.
        axis: usize,
        /// First element kept.
        start: usize,
        /// One past the last element kept.
        end: usize,
    },
    /// `x`: zeros added before and after along `axis`.
    Pad {
        /// The axis lengthened.
        axis: usize,
        /// Zeros before.
        before: usize,
        /// Zeros after.
        after: usize,
    },
    /// `x₀, x₁, …`: joined along `axis`.
    Concat {
        /// The axis along which they are joined.
        axis: usize,
    },
    /// `x`: order reversed along `axis`.
    Reverse {
        /// The axis reversed.
        axis: usize,
    },
    /// `a, b`: matrix product over the last two axes; all leading axes are equal batch axes.
    MatMul {
        /// Use aᵀ.
        transpose_a: bool,
        /// Use bᵀ.
        transpose_b: bool,
    },
    /// `x [batch, n, c], w [k, c]`: `y[t] = Σⱼ w[j]·x[t−j]`, per channel, zeros before the start.
    DepthwiseConv,
    /// `dy [batch, n, c], w [k, c]`: the adjoint of [`Op::DepthwiseConv`] in x, `dx[t] = Σⱼ w[j]·dy[t+j]`.
    DepthwiseConvInputGrad,
    /// `x [batch, n, c], dy [batch, n, c]`: its adjoint in w, `dw[j] = Σ_{b,t} dy[t]·x[t−j]`, of shape `[width, c]`.
    DepthwiseConvFilterGrad {
        /// Number of taps k.
        width: usize,
    },
    /// `table [v, d], indices u32 [..]`: rows of the table, `[.., d]`. An index past the end reads the last row.
    Gather,
    /// `indices u32 [..], updates [.., d]`: a table of `rows` zero rows to which each update is added, `[rows, d]`.
    /// An index past the end adds to the last row.
    ScatterAdd {
        /// Number of rows v of the table.
        rows: usize,
    },
}

impl Op {
    /// The name used in text forms and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Constant(..) => "constant",
            Op::Iota { .. } => "iota",
            Op::Random { .. } => "random",
            Op::Unary(op) => op.name(),
            Op::IsFinite => "is_finite",
            Op::StopGradient => "stop_gradient",
            Op::Barrier => "barrier",
            Op::Cast(_) => "cast",
            Op::Binary(op) => op.name(),
            Op::Compare(CompareOp::Less) => "less",
            Op::Compare(CompareOp::Equal) => "equal",
            Op::Select => "select",
            Op::Reduce { op, .. } => op.name(),
            Op::LinRec { .. } => "linrec",
            Op::Reshape(_) => "reshape",
            Op::Permute(_) => "permute",
            Op::Broadcast(_) => "broadcast",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Concat { .. } => "concat",
            Op::Reverse { .. } => "reverse",
            Op::MatMul { .. } => "matmul",
            Op::DepthwiseConv => "depthwise_conv",
            Op::DepthwiseConvInputGrad => "depthwise_conv_input_grad",
            Op::DepthwiseConvFilterGrad { .. } => "depthwise_conv_filter_grad",
            Op::Gather => "gather",
            Op::ScatterAdd { .. } => "scatter_add",
        }
    }

    /// Whether each element of the result depends only on the same element of each operand.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Unary(_) | Op::IsFinite | Op::StopGradient | Op::Cast(_) | Op::Binary(_) | Op::Compare(_) | Op::Select
        )
    }

    /// Whether the result only rearranges, repeats or drops elements of its one operand.
    pub fn is_view(&self) -> bool {
        matches!(self, Op::Reshape(_) | Op::Permute(_) | Op::Broadcast(_) | Op::Slice { .. } | Op::Reverse { .. })
    }
}

impl UnaryOp {
    /// Every unary function.
    pub const ALL: [UnaryOp; 11] = [
        UnaryOp::Neg,
        UnaryOp::Abs,
        UnaryOp::Sign,
        UnaryOp::Sqrt,
        UnaryOp::Exp,
        UnaryOp::Log,
        UnaryOp::Sin,
        UnaryOp::Cos,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Recip,
    ];

    /// The name used in text forms and errors.
    pub fn name(self) -> &'static str {
        match self {
            UnaryOp::Neg => "neg",
            UnaryOp::Abs => "abs",
            UnaryOp::Sign => "sign",
            UnaryOp::Sqrt => "sqrt",
            UnaryOp::Exp => "exp",
            UnaryOp::Log => "log",
            UnaryOp::Sin => "sin",
            UnaryOp::Cos => "cos",
            UnaryOp::Tanh => "tanh",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Recip => "recip",
        }
    }
}

impl BinaryOp {
    /// Every binary function.
    pub const ALL: [BinaryOp; 6] =
        [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Max, BinaryOp::Min];

    /// The name used in text forms and errors.
    pub fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "sub",
            BinaryOp::Mul => "mul",
            BinaryOp::Div => "div",
            BinaryOp::Max => "max",
            BinaryOp::Min => "min",
        }
    }
}

impl ReduceOp {
    /// Every reduction.
    pub const ALL: [ReduceOp; 4] = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod];

    /// The name used in text forms and errors.
    pub fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "reduce_sum",
            ReduceOp::Max => "reduce_max",
            ReduceOp::Min => "reduce_min",
            ReduceOp::Prod => "reduce_prod",
        }
    }

    /// The value of a reduction over nothing.
    pub fn identity(self) -> f64 {
        match self {
            ReduceOp::Sum => 0.0,
            ReduceOp::Max => f64::NEG_INFINITY,
            ReduceOp::Min => f64::INFINITY,
            ReduceOp::Prod => 1.0,
        }
    }
}
