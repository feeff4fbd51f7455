//! One program in training: its step, its evaluation and their state.

use std::collections::HashMap;

use primer_autodiff::grad_tensors;
use primer_models::nn::ParamSpec;
use primer_models::optim::{NON_FINITE, OptimizerConfig};
use primer_tensor::{DType, Data, Executable, Graph, Program, State, Tensor};

use super::Evaluator;
use crate::error::Result;
use crate::lower::{POSITIONS, Parameter, Plan, Sizes, TOKENS, positions};
use crate::worker::Control;

/// Steps between two readings of the loss.
const READ_EVERY: u64 = 10;

/// The data input with the tokens to predict.
const TARGETS: &str = "targets";

/// One program in training.
pub struct Training<'a> {
    evaluator: &'a Evaluator,
    step: Executable,
    evaluation: Executable,
    state: State,
    seed: u64,
    steps: u64,
}

impl<'a> Training<'a> {
    /// `seed` keys the parameters' start and the order of the text.
    pub(super) fn new(evaluator: &'a Evaluator, plan: &Plan, seed: u64) -> Result<Self> {
        let device = &evaluator.device;
        let (step, evaluation) = programs(plan, &evaluator.optimizer)?;
        let (step, evaluation) = (device.compile(&step)?, device.compile(&evaluation)?);
        let specs: Vec<ParamSpec> = plan.parameters().iter().map(param_spec).collect();

        let mut state = State::new(device);
        for (parameter, spec) in plan.parameters().iter().zip(&specs) {
            state.insert(&spec.name, spec.shape.as_slice(), &evaluator.starts.get(parameter, seed))?;
        }
        evaluator.optimizer.insert_start(&mut state, &specs)?;
        let (sequence, width) = (evaluator.sizes.sequence, plan.width());
        state.insert(POSITIONS, [sequence, width], &positions(sequence, width))?;
        Ok(Self { evaluator, step, evaluation, state, seed, steps: 0 })
    }

    /// One step; every tenth time also the loss in nats a token, for which the device is waited. A gradient that isn't
    /// finite counts as such a loss.
    ///
    /// # Errors
    /// The engine's errors.
    pub fn step(&mut self) -> Result<Option<f64>> {
        let step = self.steps;
        self.run(|executable, state, inputs| executable.run(state, inputs))?;
        if step.is_multiple_of(READ_EVERY) { self.loss().map(Some) } else { Ok(None) }
    }

    /// The last step's loss, for which the device is waited.
    pub(super) fn loss(&mut self) -> Result<f64> {
        let flag = self.state.read(NON_FINITE)?;
        let loss = self.step.output(0)?;
        let broken = flag.iter().any(|&x| x != 0.0);
        Ok(if broken { f64::INFINITY } else { loss.first().copied().map_or(f64::NAN, f64::from) })
    }

    /// One step, with the seconds that each launch took; none where the device has no such clock.
    pub(super) fn timed_step(&mut self) -> Result<Vec<f64>> {
        let times = self.run(|executable, state, inputs| executable.profile(state, inputs))?;
        Ok(times.into_iter().map(|(_, time)| time.as_secs_f64()).collect())
    }

    fn run<T>(
        &mut self,
        run: impl FnOnce(&mut Executable, &mut State, &[(&str, Data<'_>)]) -> primer_tensor::Result<T>,
    ) -> Result<T> {
        let (evaluator, step) = (self.evaluator, self.steps);
        self.steps += 1;
        let Sizes { batch, sequence, .. } = evaluator.sizes;
        let batch = evaluator.train.batch(batch, sequence, self.seed, step)?;
        let rate = evaluator.spec.training.schedule().factor(step, u64::MAX);
        let scalars = evaluator.optimizer.scalars(rate, step).into_iter().map(|(name, x)| (name, [x]));
        let scalars: Vec<_> = scalars.collect();
        let mut inputs = vec![(TOKENS, Data::U32(&batch.inputs)), (TARGETS, Data::U32(&batch.targets))];
        inputs.extend(scalars.iter().map(|(name, value)| (*name, Data::F32(value))));
        Ok(run(&mut self.step, &mut self.state, &inputs)?)
    }

    /// The planned step.
    pub fn executable(&self) -> &Executable {
        &self.step
    }

    /// Mean loss in nats a token over the first `tokens` of the study's fixed windows; infinite where a gradient wasn't
    /// finite; none where `report`, which is called batch by batch, says to stop.
    ///
    /// # Errors
    /// The engine's errors.
    pub fn evaluate(&mut self, tokens: usize, report: &mut dyn FnMut() -> Control) -> Result<Option<f64>> {
        let batches = tokens.div_ceil(self.tokens_per_batch());
        self.mean_loss(0, batches, report)
    }

    /// The same over as many windows as there are behind the first `tokens`, at most four times as many.
    ///
    /// # Errors
    /// [`ShortCorpus`](primer_models::Error::ShortCorpus) where there is none; the engine's errors.
    pub(super) fn evaluate_beyond(
        &mut self,
        tokens: usize,
        report: &mut dyn FnMut() -> Control,
    ) -> Result<Option<f64>> {
        let evaluator = self.evaluator;
        let first = tokens.div_ceil(self.tokens_per_batch());
        evaluator.valid.check(self.tokens_per_batch() * (first + 1))?;
        self.mean_loss(first, 4 * first, report)
    }

    fn tokens_per_batch(&self) -> usize {
        self.evaluator.sizes.batch * self.evaluator.sizes.sequence
    }

    /// Mean loss over `batches` batches of windows from batch `first` on.
    fn mean_loss(&mut self, first: usize, batches: usize, report: &mut dyn FnMut() -> Control) -> Result<Option<f64>> {
        let evaluator = self.evaluator;
        let Sizes { batch, sequence, .. } = evaluator.sizes;
        let (mut sum, mut count) = (0.0, 0);
        for window in evaluator.valid.windows(batch, sequence)?.skip(first).take(batches) {
            let inputs = [(TOKENS, Data::U32(&window.inputs)), (TARGETS, Data::U32(&window.targets))];
            self.evaluation.run(&mut self.state, &inputs)?;
            sum += self.evaluation.output(0)?.first().copied().map_or(f64::NAN, f64::from);
            count += 1;
            if report() == Control::Stop {
                return Ok(None);
            }
        }
        let flag = self.state.read(NON_FINITE)?;
        Ok(Some(if count == 0 || flag.iter().any(|&x| x != 0.0) { f64::INFINITY } else { sum / f64::from(count) }))
    }
}

/// The program of one training step: forward, loss, gradient, clipping and the optimizer as state updates; the mean
/// loss as output 0.
///
/// # Errors
/// [`Error::Rejected`](crate::Error::Rejected) where the graph refuses the program;
/// [`Error::Gradient`](crate::Error::Gradient); [`Error::Tensor`](crate::Error::Tensor).
pub fn step_program(plan: &Plan, optimizer: &OptimizerConfig) -> Result<Program> {
    Ok(programs(plan, optimizer)?.0)
}

/// The step, and the evaluation: the mean loss alone.
fn programs(plan: &Plan, optimizer: &OptimizerConfig) -> Result<(Program, Program)> {
    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph)?;
    let nodes = Tensor::raise(&graph, &HashMap::new());
    let logits = &nodes[lowered.logits.index()];
    let weights: Vec<Tensor> = lowered.parameters.iter().map(|id| nodes[id.index()].clone()).collect();
    let specs: Vec<ParamSpec> = plan.parameters().iter().map(param_spec).collect();

    let rows = plan.sizes().batch * plan.sizes().sequence;
    let loss = logits.cross_entropy(&Tensor::data(TARGETS, [rows], DType::U32)).mean();
    let gradients = grad_tensors(&loss, &weights)?;
    let updates = optimizer.updates(&specs, &weights, &gradients);
    Ok((Program::trace(std::slice::from_ref(&loss), &updates)?, Program::trace(&[loss], &[])?))
}

fn param_spec(parameter: &Parameter) -> ParamSpec {
    ParamSpec { name: parameter.name.clone(), shape: parameter.shape.clone(), init: parameter.model_init() }
}

#[cfg(test)]
mod tests {
    use primer_models::optim::Optimizer;
    use primer_models::text::Corpus;
    use primer_tensor::Device;

    use super::*;
    use crate::dna::seeds;
    use crate::study::{Budget, Fitness, Preset, StudySpec};

    /// The betas are those of the hand-written models; regularisation is off (paper A.8).
    #[test]
    fn candidates_of_the_small_preset_train_by_adam_without_weight_decay() {
        let corpus = Corpus::from_text("text", "a line of text\n".repeat(200).as_bytes()).unwrap();
        let small = StudySpec::preset(Preset::Small, seeds::TRANSFORMER.to_owned(), corpus.sha256(), 1);
        // Nothing need be compiled for a budget of tokens.
        let spec = StudySpec { fitness: Fitness { budget: Budget::Tokens, ..small.fitness }, ..small };
        let evaluator = Evaluator::new(&spec, &corpus, &Device::cpu_with_threads(1)).unwrap();
        let OptimizerConfig { optimizer, learning_rate, beta1, beta2, weight_decay, clip_norm, .. } =
            evaluator.optimizer;
        assert_eq!((optimizer, learning_rate, clip_norm), (Optimizer::Adamw, 3e-3, 1.0));
        assert_eq!((beta1, beta2, weight_decay), (0.9, 0.98, 0.0));
    }
}
