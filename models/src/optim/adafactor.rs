//! Adafactor (Shazeer & Stern 2018) as both libraries of the paper run it (spec §5.1): no momentum, factored second
//! moments, updates clipped by their root mean square, steps relative to the parameter's.

use primer_tensor::{ReduceOp, Tensor};

use super::{LEARNING_RATE, scalar};
use crate::nn::ParamSpec;

/// The data input with the second moment's decay, 1 − (t + 1)^−0.8 for step t counted from 0.
pub const DECAY: &str = "second_moment_decay";

/// Added to each squared gradient.
const EPSILON_1: f64 = 1e-30;
/// Least root mean square of a parameter that its steps are relative to.
const EPSILON_2: f64 = 1e-3;
/// Root mean square beyond which an update is scaled down.
const CLIP: f64 = 1.0;
/// Second moments are factored where the last two dimensions have so many elements each.
const FACTORED_FROM: usize = 128;

fn is_factored(spec: &ParamSpec) -> bool {
    spec.shape.len() >= 2 && spec.shape[spec.shape.len() - 2..].iter().all(|&dim| dim >= FACTORED_FROM)
}

/// Names and shapes of a parameter's second moments: of its rows and columns `[.., rows, 1]` and `[.., 1, columns]`, or
/// whole.
pub(super) fn entries(spec: &ParamSpec) -> Vec<(String, Vec<usize>)> {
    let entry = |kind: &str, shape| (format!("adafactor.{kind}.{}", spec.name), shape);
    if !is_factored(spec) {
        return vec![entry("v", spec.shape.clone())];
    }
    let last = spec.shape.len() - 1;
    let (mut rows, mut columns) = (spec.shape.clone(), spec.shape.clone());
    rows[last] = 1;
    columns[last - 1] = 1;
    vec![entry("rows", rows), entry("columns", columns)]
}

/// The decay of a step counted from 0.
pub(super) fn scalars(step: u64) -> [(&'static str, f32); 1] {
    [(DECAY, (1.0 - ((step + 1) as f64).powf(-0.8)) as f32)]
}

/// With v̂ the second moment, or rows·columns / mean(rows): u = g/√v̂, u ← u / max(1, RMS(u)), p ← p − η·max(RMS(p),
/// 10⁻³)·u.
pub(super) fn update(spec: &ParamSpec, weight: &Tensor, gradient: &Tensor) -> Vec<(Tensor, Tensor)> {
    let decay = scalar(DECAY);
    let fresh = Tensor::constant(1.0) - &decay;
    let squared = gradient.square() + EPSILON_1;
    let last = spec.shape.len() - 1;
    let moments: Vec<Tensor> =
        entries(spec).iter().map(|(name, shape)| Tensor::state(name, shape.as_slice())).collect();
    let blend = |old: &Tensor, new: Tensor| old * &decay + new * &fresh;
    let mean = |x: &Tensor, axis: usize| x.reduce(ReduceOp::Sum, axis) * (1.0 / x.shape()[axis] as f64);
    let (new, direction) = match moments.as_slice() {
        [rows, columns] => {
            let (new_rows, new_columns) = (blend(rows, mean(&squared, last)), blend(columns, mean(&squared, last - 1)));
            let relative = &new_rows / mean(&new_rows, last - 1);
            let direction = gradient / relative.sqrt() / new_columns.sqrt();
            (vec![new_rows, new_columns], direction)
        }
        [whole, ..] => {
            let new = blend(whole, squared);
            let direction = gradient / new.sqrt();
            (vec![new], direction)
        }
        [] => (Vec::new(), gradient.clone()),
    };
    let root_mean_square = |x: &Tensor| (x.square().sum() * (1.0 / spec.numel() as f64)).sqrt().reshape([1]);
    let clipped = &direction / (root_mean_square(&direction) * (1.0 / CLIP)).maximum(&Tensor::constant(1.0));
    let scale = root_mean_square(weight).maximum(&Tensor::constant(EPSILON_2)) * scalar(LEARNING_RATE);
    let mut updates = vec![(weight.clone(), weight - clipped * scale)];
    updates.extend(moments.into_iter().zip(new));
    updates
}
