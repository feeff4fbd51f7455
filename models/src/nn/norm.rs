//! Normalisation.

use primer_tensor::Tensor;

use super::params::{Init, Scope};

/// Layer norm over the last axis of `[rows, d]`: (x − μ) / √(σ² + ε) · scale + shift (Ba, Kiros & Hinton 2016).
///
/// With ε = 0 it is the DNA's form, not a number where a row is constant.
pub fn layer_norm(mut scope: Scope<'_>, x: &Tensor, epsilon: f64) -> Tensor {
    let d = x.shape().last();
    let scale = scope.param("scale", &[d], Init::Constant(1.0));
    let shift = scope.param("shift", &[d], Init::Constant(0.0));
    let centred = x - x.mean_axis(1);
    let variance = centred.square().mean_axis(1);
    let deviation = if epsilon == 0.0 { variance.sqrt() } else { (variance + epsilon).sqrt() };
    centred / deviation * scale + shift
}
