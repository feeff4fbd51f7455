//! The feed-forward part of a block.

use primer_tensor::Tensor;

use super::params::{Init, Scope};

/// What lies between the two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// max(x, 0)², Primer's.
    SquaredRelu,
}

impl Activation {
    fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Relu => x.relu(),
            Self::SquaredRelu => x.relu().square(),
        }
    }
}

/// W₂·f(W₁x + b₁) + b₂ over rows `[rows, d]`. Matrices start as truncated normals of fan-in, biases at 0 (spec §3.3).
pub fn feed_forward(mut scope: Scope<'_>, x: &Tensor, d_ff: usize, activation: Activation) -> Tensor {
    let d = x.shape().last();
    let fan_in = |n: usize| Init::TruncatedNormal((n as f64).powf(-0.5));
    let w1 = scope.param("w1", &[d, d_ff], fan_in(d));
    let b1 = scope.param("b1", &[d_ff], Init::Constant(0.0));
    let w2 = scope.param("w2", &[d_ff, d], fan_in(d_ff));
    let b2 = scope.param("b2", &[d], Init::Constant(0.0));
    let hidden = activation.apply(&(x.matmul(&w1) + b1));
    hidden.matmul(&w2) + b2
}
