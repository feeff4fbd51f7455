//! A step: forward, loss, gradient, clipping by the global norm, AdamW.

use burn::module::ParamGroup;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Int, Tensor};

use crate::model::{Fixed, Model};

const CLIP_NORM: f32 = 1.0;
const WEIGHT_DECAY: f32 = 0.1;

/// Names of the fields that weight decay applies to: matrices, but not taps.
const MATRICES: [&str; 5] = ["embedding", "wqkv.weight", "wo.weight", "w1.weight", "w2.weight"];

/// AdamW, with decay on matrices only.
pub fn optimizer() -> ModuleOptimizer {
    let adamw = AdamWConfig::new().with_beta_1(0.9).with_beta_2(0.98).with_epsilon(1e-9);
    let decaying = adamw.clone().with_weight_decay(WEIGHT_DECAY).build();
    let matrices = ParamGroup::from_any_predicates(MATRICES.to_vec());
    adamw.with_weight_decay(0.0).init().with_group(matrices, decaying, None)
}

/// One step; gives the new model and the loss before it, which is computed when it is read.
pub fn step(
    model: Model,
    optimizer: &mut ModuleOptimizer,
    fixed: &Fixed,
    learning_rate: f64,
    (tokens, targets): (Tensor<2, Int>, Tensor<1, Int>),
) -> (Model, Tensor<1>) {
    let loss = model.loss(tokens, targets, fixed);
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let gradients = clipped(gradients, &model);
    (optimizer.step(learning_rate, model, gradients), loss.detach())
}

/// Σ g² over all gradients.
struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let squares = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squares,
                None => squares,
            });
        }
    }
}

/// Multiplies every gradient.
struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor.clone().unsqueeze::<D>());
        }
    }
}

/// The gradients times clip / max(‖all of them‖, clip). What burn has of its own clips each parameter by itself.
fn clipped(mut gradients: GradientsParams, model: &Model) -> GradientsParams {
    let mut squares = Squares { gradients: &gradients, sum: None };
    model.visit(&mut squares);
    let Some(sum) = squares.sum else { return gradients };
    let factor = sum.sqrt().clamp_min(CLIP_NORM).recip() * CLIP_NORM;
    model.visit(&mut Scale { gradients: &mut gradients, factor });
    gradients
}
