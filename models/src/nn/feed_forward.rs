//! The feed-forward part of a block.

use primer_tensor::Tensor;

use super::params::{Init, Scope};
use crate::config::Projections;

/// What lies between the two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// ½x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), the approximation of Hendrycks & Gimpel (2016).
    Gelu,
    /// x·sigmoid(x) (Ramachandran et al. 2017).
    Swish,
    /// max(x, 0)², Primer's.
    SquaredRelu,
}

impl Activation {
    /// f(x), element by element.
    pub fn apply(self, x: &Tensor) -> Tensor {
        match self {
            Self::Relu => x.relu(),
            Self::Gelu => {
                let cubic = x * (x.square() * 0.044_715 + 1.0);
                x * ((cubic * (2.0 / std::f64::consts::PI).sqrt()).tanh() + 1.0) * 0.5
            }
            Self::Swish => x * x.sigmoid(),
            Self::SquaredRelu => x.relu().square(),
        }
    }
}

/// How matrices of the feed-forward part start (spec §3.3).
fn fan_in(n: usize) -> Init {
    Init::TruncatedNormal((n as f64).powf(-0.5))
}

/// f(x·W₁ + b₁)·W₂ + b₂ over rows `[rows, d]`. Matrices start as truncated normals of fan-in, biases at 0.
pub fn feed_forward(mut scope: Scope<'_>, x: &Tensor, d_ff: usize, activation: Activation) -> Tensor {
    let d = x.shape().last();
    let w1 = scope.param("w1", &[d, d_ff], fan_in(d));
    let b1 = scope.param("b1", &[d_ff], Init::Constant(0.0));
    let hidden = activation.apply(&(x.matmul(&w1) + b1));
    project_down(&mut scope, &hidden, d)
}

/// (f(x·W₁ + b₁) ⊙ (x·V + c))·W₂ + b₂ over rows `[rows, d]`, a gated linear unit (Shazeer 2020); starts as for
/// [`feed_forward`].
///
/// Fused, `w1` is `[d, 2·ff]` with the columns of W₁ first, and `b1` likewise; separate, the four are `w1`, `b1`, `v`,
/// `c`.
pub fn gated_feed_forward(
    mut scope: Scope<'_>,
    x: &Tensor,
    d_ff: usize,
    activation: Activation,
    projections: Projections,
) -> Tensor {
    let d = x.shape().last();
    let zero = || Init::Constant(0.0);
    let (gate, linear) = match projections {
        Projections::Fused => {
            let w1 = scope.param("w1", &[d, 2 * d_ff], Init::Columns(vec![fan_in(d), fan_in(d)]));
            let both = x.matmul(&w1) + scope.param("b1", &[2 * d_ff], zero());
            (both.slice(1, 0, d_ff), both.slice(1, d_ff, 2 * d_ff))
        }
        Projections::Separate => {
            let gate = x.matmul(&scope.param("w1", &[d, d_ff], fan_in(d))) + scope.param("b1", &[d_ff], zero());
            (gate, x.matmul(&scope.param("v", &[d, d_ff], fan_in(d))) + scope.param("c", &[d_ff], zero()))
        }
    };
    let hidden = activation.apply(&gate) * linear;
    project_down(&mut scope, &hidden, d)
}

fn project_down(scope: &mut Scope<'_>, hidden: &Tensor, d: usize) -> Tensor {
    let d_ff = hidden.shape().last();
    let w2 = scope.param("w2", &[d_ff, d], fan_in(d_ff));
    let b2 = scope.param("b2", &[d], Init::Constant(0.0));
    hidden.matmul(&w2) + b2
}
