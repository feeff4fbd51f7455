//! The fitness of a program: validation loss after a fixed budget of training.
//!
//! Everything random is shared by all candidates of a study (common random numbers): the batches, and the start of whatever an
//! edit doesn't touch. So two candidates differ in fitness by their programs and not by their luck.

use std::collections::HashMap;
use std::time::Instant;

use primer_autodiff::grad_tensors;
use primer_models::nn::{Init as Start, ParamSpec};
use primer_models::optim::{NON_FINITE, OptimizerConfig};
use primer_models::text::{Corpus, TokenSet};
use primer_tensor::plan::PlanReport;
use primer_tensor::{DType, Data, Device, Executable, Graph, Program, State, Tensor};

use crate::dna::Dna;
use crate::error::{Error, Result};
use crate::leak::leak_test;
use crate::lower::{self, Init, Limits, POSITIONS, Plan, Sizes, TOKENS, initial_values, positions};
use crate::store::{Candidate, Cost, Verdict};
use crate::study::{FitnessBudget, StudySpec};
use crate::worker::{Control, Outcome, Progress};

/// Tokens of the fixed evaluation windows.
const EVALUATION_TOKENS: usize = 65_536;

/// Steps over which the learning rate rises; it then stays.
const WARM_UP: u64 = 50;

/// Steps between two readings of the loss.
const READ_EVERY: u64 = 10;

/// The data input with the tokens to predict.
const TARGETS: &str = "targets";

/// Trains and measures candidates of one study on one device.
pub struct Evaluator {
    spec: StudySpec,
    sizes: Sizes,
    limits: Limits,
    optimizer: OptimizerConfig,
    train: TokenSet,
    valid: TokenSet,
    device: Device,
}

/// How one training run ended.
enum Trained {
    /// Mean validation loss in nats a token.
    Loss(f64),
    Stopped,
}

impl Evaluator {
    /// # Errors
    /// [`Error::StudyMismatch`] where the corpus isn't the study's; [`Error::Rejected`] where the study's own seed program can't be
    /// planned; [`Error::Model`] where the corpus is too short.
    pub fn new(spec: &StudySpec, corpus: &Corpus, device: &Device) -> Result<Evaluator> {
        if corpus.sha256() != spec.corpus {
            let (stored, given) = (spec.corpus.clone(), corpus.sha256());
            return Err(Error::StudyMismatch { key: "corpus".into(), stored, given });
        }
        let sizes = Sizes {
            layers: spec.model.layers as usize,
            vocab: spec.model.vocab as usize,
            sequence: spec.model.seq as usize,
            batch: spec.model.batch as usize,
        };
        let (train, valid) = (TokenSet::train(corpus)?, TokenSet::valid(corpus)?);
        train.check(sizes.sequence)?;
        valid.check(sizes.sequence)?;
        Ok(Evaluator {
            limits: Limits::around(&spec.seed_dna.parse()?, spec.model.unit.into(), sizes)?,
            spec: spec.clone(),
            sizes,
            // Schedules that decay would make stops at different times incomparable; regularisation is off (paper A.8).
            optimizer: OptimizerConfig {
                learning_rate: spec.learning_rate,
                weight_decay: 0.0,
                ..OptimizerConfig::default()
            },
            train,
            valid,
            device: device.clone(),
        })
    }

    /// Trains the candidate for the study's budget and measures it. A loss that is not finite ends it at once with the worst
    /// fitness; a program that leaks or exceeds a limit is rejected.
    pub fn evaluate(&self, candidate: &Candidate, report: &mut dyn FnMut(Progress) -> Control) -> Outcome {
        let began = Instant::now();
        let mut cost = Cost::default();
        let result = self.train(candidate, &mut cost, began, report);
        cost.seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(Trained::Loss(loss)) => Outcome::Result { verdict: Verdict::Fitness(loss), cost },
            Ok(Trained::Stopped) => Outcome::Stopped { cost },
            Err(Error::Rejected(reason)) => Outcome::Result { verdict: Verdict::Rejected(reason.to_string()), cost },
            Err(error) => Outcome::Failed { reason: error.to_string(), cost },
        }
    }

    fn train(
        &self,
        candidate: &Candidate,
        cost: &mut Cost,
        began: Instant,
        report: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Trained> {
        let dna = candidate.dna()?;
        let plan = lower::plan(&dna, self.sizes, &self.limits)?;
        leak_test(&dna, plan.unit(), &Device::cpu_with_threads(1))?;
        let mut run = Training::new(self, &plan)?;
        let tokens_per_step = (self.sizes.batch * self.sizes.sequence) as u64;
        let trained = Instant::now();
        while !self.spent(cost, trained) {
            let loss = run.step()?;
            cost.steps += 1;
            cost.tokens += tokens_per_step;
            if loss.is_some_and(|loss| !loss.is_finite()) {
                return Ok(Trained::Loss(f64::INFINITY));
            }
            cost.seconds = began.elapsed().as_secs_f64();
            if let Control::Stop = report(Progress { cost: *cost, loss }) {
                return Ok(Trained::Stopped);
            }
        }
        run.evaluate().map(Trained::Loss)
    }

    /// A program in training, before its first step.
    ///
    /// # Errors
    /// [`Error::Rejected`] where it exceeds the study's limits; the engine's errors.
    pub fn prepare(&self, dna: &Dna) -> Result<Training<'_>> {
        Training::new(self, &lower::plan(dna, self.sizes, &self.limits)?)
    }

    fn spent(&self, cost: &Cost, trained: Instant) -> bool {
        match self.spec.fitness {
            FitnessBudget::Steps(steps) => cost.steps >= steps,
            FitnessBudget::Tokens(tokens) => cost.tokens >= tokens,
            FitnessBudget::Seconds(seconds) => trained.elapsed().as_secs_f64() >= seconds,
        }
    }
}

/// One program in training.
pub struct Training<'a> {
    evaluator: &'a Evaluator,
    step: Executable,
    evaluation: Executable,
    state: State,
    steps: u64,
}

impl<'a> Training<'a> {
    fn new(evaluator: &'a Evaluator, plan: &Plan) -> Result<Self> {
        let device = &evaluator.device;
        let (step, evaluation) = programs(plan, &evaluator.optimizer)?;
        let (step, evaluation) = (device.compile(&step)?, device.compile(&evaluation)?);
        let specs: Vec<ParamSpec> = plan.parameters().iter().map(param_spec).collect();

        let mut state = State::new(device);
        for (parameter, spec) in plan.parameters().iter().zip(&specs) {
            state.insert(&spec.name, spec.shape.as_slice(), &initial_values(parameter, evaluator.spec.seed))?;
        }
        evaluator.optimizer.insert_start(&mut state, &specs)?;
        let (sequence, width) = (evaluator.sizes.sequence, plan.width());
        state.insert(POSITIONS, [sequence, width], &positions(sequence, width))?;
        Ok(Self { evaluator, step, evaluation, state, steps: 0 })
    }

    /// One step; every tenth time also the loss in nats a token, for which the device is waited. A gradient that isn't finite counts
    /// as such a loss.
    ///
    /// # Errors
    /// The engine's errors.
    pub fn step(&mut self) -> Result<Option<f64>> {
        let (evaluator, step) = (self.evaluator, self.steps);
        self.steps += 1;
        let Sizes { batch, sequence, .. } = evaluator.sizes;
        let batch = evaluator.train.batch(batch, sequence, evaluator.spec.seed, step)?;
        let rate = ((step + 1) as f64 / WARM_UP as f64).min(1.0);
        let scalars = evaluator.optimizer.scalars(rate, step).into_iter().map(|(name, x)| (name, [x]));
        let scalars: Vec<_> = scalars.collect();
        let mut inputs = vec![(TOKENS, Data::U32(&batch.inputs)), (TARGETS, Data::U32(&batch.targets))];
        inputs.extend(scalars.iter().map(|(name, value)| (*name, Data::F32(value))));
        self.step.run(&mut self.state, &inputs)?;
        if !step.is_multiple_of(READ_EVERY) {
            return Ok(None);
        }
        let flag = self.state.read(NON_FINITE)?;
        let loss = self.step.output(0)?;
        let broken = flag.iter().any(|&x| x != 0.0);
        Ok(Some(if broken { f64::INFINITY } else { loss.first().copied().map_or(f64::NAN, f64::from) }))
    }

    /// What a step costs.
    pub fn report(&self) -> Option<&PlanReport> {
        self.step.report()
    }

    /// Mean loss in nats a token over the study's fixed windows; infinite where a gradient wasn't finite.
    ///
    /// # Errors
    /// The engine's errors.
    pub fn evaluate(&mut self) -> Result<f64> {
        let evaluator = self.evaluator;
        let Sizes { batch, sequence, .. } = evaluator.sizes;
        let batches = EVALUATION_TOKENS.div_ceil(batch * sequence);
        let (mut sum, mut count) = (0.0, 0);
        for window in evaluator.valid.windows(batch, sequence)?.take(batches) {
            let inputs = [(TOKENS, Data::U32(&window.inputs)), (TARGETS, Data::U32(&window.targets))];
            self.evaluation.run(&mut self.state, &inputs)?;
            sum += self.evaluation.output(0)?.first().copied().map_or(f64::NAN, f64::from);
            count += 1;
        }
        let flag = self.state.read(NON_FINITE)?;
        Ok(if count == 0 || flag.iter().any(|&x| x != 0.0) { f64::INFINITY } else { sum / f64::from(count) })
    }
}

/// The program of one training step: forward, loss, gradient, clipping and AdamW as state updates; the mean loss as output 0.
///
/// # Errors
/// [`Error::Rejected`] where the graph refuses the program; [`Error::Gradient`]; [`Error::Tensor`].
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

fn param_spec(parameter: &lower::Parameter) -> ParamSpec {
    let init = match parameter.init {
        Init::Normal(std) => Start::Normal(std),
        Init::Constant(value) => Start::Constant(value),
    };
    ParamSpec { name: parameter.name.clone(), shape: parameter.shape.clone(), init }
}
