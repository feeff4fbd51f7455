//! AdamW as graph: the gradients come in, the state's new values go out.

use primer_tensor::{CompareOp, DType, State, Tensor};

use super::AdamWConfig;
use crate::nn::ParamSpec;

/// The scalar data inputs of a step.
pub const LEARNING_RATE: &str = "learning_rate";
/// 1 / (1 − β₁ᵗ).
pub const CORRECTION_1: &str = "correction_1";
/// 1 / (1 − β₂ᵗ).
pub const CORRECTION_2: &str = "correction_2";
/// The state entry that becomes 1 for ever once a gradient wasn't finite.
pub const NON_FINITE: &str = "adamw.non_finite";

/// Name of the first moment of a parameter, in the state and in checkpoints.
pub fn moment_1(name: &str) -> String {
    format!("adamw.m.{name}")
}

/// Name of the second moment of a parameter, in the state and in checkpoints.
pub fn moment_2(name: &str) -> String {
    format!("adamw.v.{name}")
}

/// Puts what [`updates`] reads and writes beside the parameters into a state: moments of 0, and [`NON_FINITE`] at 0.
///
/// # Errors
/// What the device says of the allocation.
pub fn insert_start(state: &mut State, specs: &[ParamSpec]) -> primer_tensor::Result<()> {
    for spec in specs {
        let zeros = vec![0.0; spec.numel()];
        state.insert(&moment_1(&spec.name), spec.shape.as_slice(), &zeros)?;
        state.insert(&moment_2(&spec.name), spec.shape.as_slice(), &zeros)?;
    }
    state.insert(NON_FINITE, [1], &[0.0])
}

/// The scalars of step `step`, counted from 0: learning rate and the two bias corrections, computed in f64.
pub fn scalars(config: &AdamWConfig, rate_factor: f64, step: u64) -> [(&'static str, f32); 3] {
    let t = (step + 1).min(1 << 30) as i32;
    let correction = |beta: f64| (1.0 / (1.0 - beta.powi(t))) as f32;
    [
        (LEARNING_RATE, (config.learning_rate * rate_factor) as f32),
        (CORRECTION_1, correction(config.beta1)),
        (CORRECTION_2, correction(config.beta2)),
    ]
}

/// State updates `(entry, new value)` of one AdamW step (Loshchilov & Hutter 2019) after clipping by the global norm:
///
/// g ← g · min(1, clip/‖g‖), m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²,
/// p ← p − η·(m̂/(√v̂ + ε) + λp), λ for matrices only.
///
/// Where any gradient isn't finite everything keeps its old value, and [`NON_FINITE`] is set.
pub fn updates(
    config: &AdamWConfig,
    specs: &[ParamSpec],
    weights: &[Tensor],
    gradients: &[Tensor],
) -> Vec<(Tensor, Tensor)> {
    let scalar = |name: &str| Tensor::data(name, [1], DType::F32);
    let (rate, c1, c2) = (scalar(LEARNING_RATE), scalar(CORRECTION_1), scalar(CORRECTION_2));
    let one = Tensor::constant(1.0);
    let zero = Tensor::constant(0.0);

    let squares = gradients.iter().map(|g| g.square().sum().reshape([1]));
    let norm_squared = squares.reduce(|a, b| a + b).unwrap_or_else(|| zero.reshape([1]));
    // A boolean can't be broadcast, so the verdict travels as 0 or 1.
    let finite = norm_squared.is_finite().select(&one, &zero);
    let clip = (config.clip_norm > 0.0).then(|| {
        let limit = Tensor::constant(config.clip_norm);
        &limit / norm_squared.sqrt().maximum(&limit)
    });

    let flag = Tensor::state(NON_FINITE, [1]);
    let mut updates = vec![(flag.clone(), flag.maximum(&(&one - &finite)))];
    for ((spec, weight), gradient) in specs.iter().zip(weights).zip(gradients) {
        let m = Tensor::state(&moment_1(&spec.name), spec.shape.as_slice());
        let v = Tensor::state(&moment_2(&spec.name), spec.shape.as_slice());
        let g = match &clip {
            Some(scale) => gradient * scale,
            None => gradient.clone(),
        };
        let new_m = &m * config.beta1 + &g * (1.0 - config.beta1);
        let new_v = &v * config.beta2 + g.square() * (1.0 - config.beta2);
        let mut direction = (&new_m * &c1) / ((&new_v * &c2).sqrt() + config.epsilon);
        if spec.decays() && config.weight_decay > 0.0 {
            direction = direction + weight * config.weight_decay;
        }
        let new_weight = weight - direction * &rate;

        let keep = finite.broadcast_to(spec.shape.as_slice()).compare(CompareOp::Less, &Tensor::constant(0.5));
        for (old, new) in [(weight.clone(), new_weight), (m, new_m), (v, new_v)] {
            let value = keep.select(&old, &new);
            updates.push((old, value));
        }
    }
    updates
}
