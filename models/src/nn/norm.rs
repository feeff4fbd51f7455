//! Normalisation.

use primer_tensor::Tensor;

use super::params::{Init, Scope};

/// What is made of a row before it enters a layer, or after it left one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// (x − μ) / √(σ² + ε) · scale + shift, σ² = mean((x − μ)²) (Ba, Kiros & Hinton 2016).
    Layer,
    /// x / √(mean(x²) + ε) · scale (Zhang & Sennrich 2019).
    Rms,
    /// (x − μ) / √(v + ε) · scale + shift, v = mean(x·(x − μ)): Primer's, the layer norm but for rounding (paper §4,
    /// spec §3.2).
    Primer,
}

impl Norm {
    /// Over the last axis of rows `[rows, d]`.
    ///
    /// With ε = 0 it is the DNA's form, not a number where a row is constant.
    pub fn apply(self, mut scope: Scope<'_>, x: &Tensor, epsilon: f64) -> Tensor {
        let d = x.shape().last();
        let scale = scope.param("scale", &[d], Init::Constant(1.0));
        let root = |moment: Tensor| if epsilon == 0.0 { moment.sqrt() } else { (moment + epsilon).sqrt() };
        if self == Self::Rms {
            return x / root(x.square().mean_axis(1)) * scale;
        }
        let shift = scope.param("shift", &[d], Init::Constant(0.0));
        let centred = x - x.mean_axis(1);
        let deviation = match self {
            // Rounding can take it below 0.
            Self::Primer if epsilon == 0.0 => root((x * &centred).mean_axis(1).abs()),
            Self::Primer => root((x * &centred).mean_axis(1).relu()),
            _ => root(centred.square().mean_axis(1)),
        };
        centred / deviation * scale + shift
    }
}
