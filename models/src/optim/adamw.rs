//! AdamW (Loshchilov & Hutter 2019).

use primer_tensor::Tensor;

use super::{LEARNING_RATE, OptimizerConfig, scalar};
use crate::nn::ParamSpec;

/// The data input with 1 / (1 − β₁ᵗ).
pub const CORRECTION_1: &str = "correction_1";
/// The data input with 1 / (1 − β₂ᵗ).
pub const CORRECTION_2: &str = "correction_2";

/// Name of the first moment of a parameter.
pub fn moment_1(name: &str) -> String {
    format!("adamw.m.{name}")
}

/// Name of the second moment of a parameter.
pub fn moment_2(name: &str) -> String {
    format!("adamw.v.{name}")
}

/// The two moments of a parameter.
pub(super) fn entries(spec: &ParamSpec) -> Vec<(String, Vec<usize>)> {
    vec![(moment_1(&spec.name), spec.shape.clone()), (moment_2(&spec.name), spec.shape.clone())]
}

/// The bias corrections of a step counted from 0.
pub(super) fn scalars(config: &OptimizerConfig, step: u64) -> [(&'static str, f32); 2] {
    let t = (step + 1).min(1 << 30) as i32;
    let correction = |beta: f64| (1.0 / (1.0 - beta.powi(t))) as f32;
    [(CORRECTION_1, correction(config.beta1)), (CORRECTION_2, correction(config.beta2))]
}

/// m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g², p ← p − η·(m̂/(√v̂ + ε) + λp), λ for matrices only.
pub(super) fn update(
    config: &OptimizerConfig,
    spec: &ParamSpec,
    weight: &Tensor,
    gradient: &Tensor,
) -> Vec<(Tensor, Tensor)> {
    let m = Tensor::state(&moment_1(&spec.name), spec.shape.as_slice());
    let v = Tensor::state(&moment_2(&spec.name), spec.shape.as_slice());
    let new_m = &m * config.beta1 + gradient * (1.0 - config.beta1);
    let new_v = &v * config.beta2 + gradient.square() * (1.0 - config.beta2);
    let root = (&new_v * scalar(CORRECTION_2)).sqrt() + config.epsilon;
    let mut direction = (&new_m * scalar(CORRECTION_1)) / root;
    if spec.decays() && config.weight_decay > 0.0 {
        direction = direction + weight * config.weight_decay;
    }
    let new_weight = weight - direction * scalar(LEARNING_RATE);
    vec![(weight.clone(), new_weight), (m, new_m), (v, new_v)]
}
