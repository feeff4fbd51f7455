//! What a run computes, as programs: a training step, the optimizer's step on accumulated gradients, the evaluation.

use primer_autodiff::checkpointed_grad_tensors;
use primer_tensor::{DType, Program, Tensor};

use crate::arch::Model;
use crate::error::Result;
use crate::settings::RunConfig;

/// The data input with the tokens to predict.
pub(super) const TARGETS: &str = "targets";
/// The state entry that gathers the steps' losses between two readings.
pub(super) const LOSS_SUM: &str = "train.loss_sum";

/// The program of one training step: forward, loss, gradient, clipping and the optimizer as state updates; the mean
/// cross entropy as output 0.
///
/// # Errors
/// [`Error::BadValue`](crate::Error::BadValue) from the configuration, [`Error::Tensor`](crate::Error::Tensor) where
/// the gradient can't be built.
pub fn step_program(config: &RunConfig) -> Result<Program> {
    config.validate()?;
    step_of(&Model::build_for_training(&config.model, config.train.batch)?, config)
}

/// The program of the optimizer's step on the gradients that the batches of a step have added up; none where a step has
/// one batch, whose [`step_program`] does it all.
///
/// # Errors
/// As [`step_program`].
pub fn apply_program(config: &RunConfig) -> Result<Option<Program>> {
    config.validate()?;
    apply_of(&Model::build_for_training(&config.model, config.train.batch)?, config)
}

fn targets(model: &Model) -> Tensor {
    Tensor::data(TARGETS, [model.tokens.shape().numel()], DType::U32)
}

/// The step: its state updates, and the mean cross entropy as output 0. Where gradients are accumulated, it adds its
/// own to them and leaves the rest to [`apply_of`].
pub(super) fn step_of(model: &Model, config: &RunConfig) -> Result<Program> {
    let loss = model.token_losses(&targets(model)).mean();
    let mut objective = loss.clone();
    if let Some(auxiliary) = &model.auxiliary_loss {
        objective = objective + auxiliary;
    }
    if config.train.z_loss > 0.0 {
        objective = objective + model.logits.logsumexp().square().mean() * config.train.z_loss;
    }
    let scale = config.train.precision.loss_scale(config.train.batch * config.model.seq);
    if scale != 1.0 {
        objective = objective * scale;
    }
    let kept = if config.train.recompute_activations { model.residual_stream.as_slice() } else { &[] };
    let mut gradients = checkpointed_grad_tensors(&objective, &model.weights, kept)?;
    if scale != 1.0 {
        gradients.iter_mut().for_each(|gradient| *gradient = &*gradient * (1.0 / scale));
    }
    let share = 1.0 / config.train.accumulate as f64;
    let mut updates = if config.train.accumulate == 1 {
        config.optimizer.updates(&model.params, &model.weights, &gradients)
    } else {
        // The last layer's first, as in [`OptimizerConfig::updates`](crate::optim::OptimizerConfig::updates).
        let sums = gradient_sums(model).into_iter().zip(gradients).rev();
        sums.map(|(sum, gradient)| (sum.clone(), sum + gradient * share)).collect()
    };
    let sum = Tensor::state(LOSS_SUM, [1]);
    updates.push((sum.clone(), sum + (&loss * share).reshape([1])));
    Ok(Program::trace(&[loss], &updates)?)
}

/// The optimizer's step on the accumulated gradients, which begin anew; none where gradients aren't accumulated.
pub(super) fn apply_of(model: &Model, config: &RunConfig) -> Result<Option<Program>> {
    if config.train.accumulate == 1 {
        return Ok(None);
    }
    let sums = gradient_sums(model);
    let mut updates = config.optimizer.updates(&model.params, &model.weights, &sums);
    let zero = Tensor::constant(0.0);
    updates.extend(sums.into_iter().map(|sum| (sum.clone(), zero.broadcast_to(sum.shape()))));
    Ok(Some(Program::trace(&[], &updates)?))
}

/// The state entry with the mean gradient of a parameter over the batches of a step so far.
pub(super) fn gradient_sum(name: &str) -> String {
    format!("train.gradient.{name}")
}

fn gradient_sums(model: &Model) -> Vec<Tensor> {
    model.params.iter().map(|spec| Tensor::state(&gradient_sum(&spec.name), spec.shape.as_slice())).collect()
}

/// The evaluation: each token's loss as output 0.
pub(super) fn evaluation(config: &RunConfig) -> Result<Program> {
    let model = Model::build(&config.model, config.train.batch)?;
    Ok(Program::trace(&[model.token_losses(&targets(&model))], &[])?)
}
