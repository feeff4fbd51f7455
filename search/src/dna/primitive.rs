//! The 39 primitives of the paper's Table 2.

use serde::{Deserialize, Serialize};

/// A primitive operation, named as in the paper's tables and listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Primitive {
    /// x + y
    Add,
    /// x − y
    Difference,
    /// x / y
    Divide,
    /// x · y
    Multiply,
    /// √|x|
    AbsRoot,
    /// x²
    Square,
    /// eˣ
    Exp,
    /// ln |x|
    Log,
    /// x · c
    CMul,
    /// |x|
    Abs,
    /// −1, 0 or 1
    Sign,
    /// cos x
    Cos,
    /// sin x
    Sin,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// 1 / x, and 0 where x = 0
    Recip,
    /// max(x, c)
    Max,
    /// min(x, c)
    Min,
    /// x · a learned vector over the last axis (the paper's table swaps SCALE and SHIFT)
    Scale,
    /// x + a learned vector over the last axis
    Shift,
    /// lower triangle, zero above it
    Mask,
    /// inclusive product over earlier positions
    CumProd,
    /// inclusive sum over earlier positions
    CumSum,
    /// mean over the last axis
    RedMean,
    /// sum over the last axis
    RedSum,
    /// minimum over the last axis
    RedMin,
    /// maximum over the last axis
    RedMax,
    /// product over the last axis
    RedProd,
    /// x · y as matrices
    MatMul,
    /// x · yᵀ as matrices
    TMatMul,
    /// dense layer along the channels, without bias
    #[serde(rename = "CONV_1X1")]
    Conv1x1,
    /// causal convolution over the sequence, width 3
    #[serde(rename = "CONV_3X1")]
    Conv3x1,
    /// causal convolution over the sequence, width 7
    #[serde(rename = "CONV_7X1")]
    Conv7x1,
    /// causal convolution over the sequence, width 15
    #[serde(rename = "CONV_15X1")]
    Conv15x1,
    /// causal convolution over the sequence, width 31
    #[serde(rename = "CONV_31X1")]
    Conv31x1,
    /// causal depthwise convolution over the sequence, width 3
    #[serde(rename = "DCONV_3X1")]
    DConv3x1,
    /// causal depthwise convolution over the sequence, width 7
    #[serde(rename = "DCONV_7X1")]
    DConv7x1,
    /// causal depthwise convolution over the sequence, width 15
    #[serde(rename = "DCONV_15X1")]
    DConv15x1,
    /// causal depthwise convolution over the sequence, width 31
    #[serde(rename = "DCONV_31X1")]
    DConv31x1,
}

/// The kind of variable that a parametrised primitive owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParameterKind {
    /// A multiplicative vector over the last axis.
    Scale,
    /// An additive vector over the last axis.
    Shift,
    /// A causal convolution of the given width over the sequence; width 1 is a dense layer.
    Conv(usize),
    /// A causal depthwise convolution of the given width.
    DepthwiseConv(usize),
}

use Primitive::*;

impl Primitive {
    /// All primitives, in the paper's order.
    pub const ALL: [Primitive; 39] = [
        Add, Difference, Divide, Multiply, AbsRoot, Square, Exp, Log, CMul, Abs, Sign, Cos, Sin, Tanh, Sigmoid, Recip,
        Max, Min, Scale, Shift, Mask, CumProd, CumSum, RedMean, RedSum, RedMin, RedMax, RedProd, MatMul, TMatMul,
        Conv1x1, Conv3x1, Conv7x1, Conv15x1, Conv31x1, DConv3x1, DConv7x1, DConv15x1, DConv31x1,
    ];

    /// The name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Add => "ADD",
            Difference => "DIFFERENCE",
            Divide => "DIVIDE",
            Multiply => "MULTIPLY",
            AbsRoot => "ABS_ROOT",
            Square => "SQUARE",
            Exp => "EXP",
            Log => "LOG",
            CMul => "C_MUL",
            Abs => "ABS",
            Sign => "SIGN",
            Cos => "COS",
            Sin => "SIN",
            Tanh => "TANH",
            Sigmoid => "SIGMOID",
            Recip => "RECIP",
            Max => "MAX",
            Min => "MIN",
            Scale => "SCALE",
            Shift => "SHIFT",
            Mask => "MASK",
            CumProd => "CUM_PROD",
            CumSum => "CUM_SUM",
            RedMean => "RED_MEAN",
            RedSum => "RED_SUM",
            RedMin => "RED_MIN",
            RedMax => "RED_MAX",
            RedProd => "RED_PROD",
            MatMul => "MAT_MUL",
            TMatMul => "T_MAT_MUL",
            Conv1x1 => "CONV_1X1",
            Conv3x1 => "CONV_3X1",
            Conv7x1 => "CONV_7X1",
            Conv15x1 => "CONV_15X1",
            Conv31x1 => "CONV_31X1",
            DConv3x1 => "DCONV_3X1",
            DConv7x1 => "DCONV_7X1",
            DConv15x1 => "DCONV_15X1",
            DConv31x1 => "DCONV_31X1",
        }
    }

    /// The primitive of that name; the paper's other spellings are understood too.
    pub fn from_name(name: &str) -> Option<Primitive> {
        match name {
            "DENSE" => Some(Conv1x1),
            "ABS_SQUARE_ROOT" => Some(AbsRoot),
            "CONSTANT_MUL" => Some(CMul),
            "TRANSPOSE_MAT_MUL" => Some(TMatMul),
            _ => Primitive::ALL.into_iter().find(|p| p.name() == name),
        }
    }

    /// Whether the second input is read.
    pub fn uses_input_2(self) -> bool {
        matches!(self, Add | Difference | Divide | Multiply | MatMul | TMatMul)
    }

    /// Whether the constant is read.
    pub fn uses_constant(self) -> bool {
        matches!(self, CMul | Max | Min)
    }

    /// Whether the dimension is read (a depthwise convolution keeps its width and ignores it).
    pub fn uses_dim(self) -> bool {
        matches!(self, Conv1x1 | Conv3x1 | Conv7x1 | Conv15x1 | Conv31x1)
    }

    /// Whether the two inputs may be exchanged.
    pub fn is_commutative(self) -> bool {
        matches!(self, Add | Multiply)
    }

    /// Whether the one input is taken element by element.
    pub fn is_pointwise(self) -> bool {
        matches!(
            self,
            AbsRoot | Square | Exp | Log | CMul | Abs | Sign | Cos | Sin | Tanh | Sigmoid | Recip | Max | Min
        )
    }

    /// The variable that each execution of the primitive owns, if any.
    pub fn parameter(self) -> Option<ParameterKind> {
        match self {
            Scale => Some(ParameterKind::Scale),
            Shift => Some(ParameterKind::Shift),
            Conv1x1 => Some(ParameterKind::Conv(1)),
            Conv3x1 => Some(ParameterKind::Conv(3)),
            Conv7x1 => Some(ParameterKind::Conv(7)),
            Conv15x1 => Some(ParameterKind::Conv(15)),
            Conv31x1 => Some(ParameterKind::Conv(31)),
            DConv3x1 => Some(ParameterKind::DepthwiseConv(3)),
            DConv7x1 => Some(ParameterKind::DepthwiseConv(7)),
            DConv15x1 => Some(ParameterKind::DepthwiseConv(15)),
            DConv31x1 => Some(ParameterKind::DepthwiseConv(31)),
            _ => None,
        }
    }
}
