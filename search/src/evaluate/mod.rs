//! The fitness of a program: validation loss after a fixed budget of training.
//!
//! Everything random is shared by all candidates of a study (common random numbers): the batches, and the start of
//! whatever an edit doesn't touch. So two candidates differ in fitness by their programs and not by their luck.

mod seed;
mod starts;
mod timing;
mod training;

use std::time::Instant;

use cpu_time::ThreadTime;
use primer_models::optim::OptimizerConfig;
use primer_models::text::{Corpus, TokenSet};
use primer_tensor::Device;

use starts::Starts;
pub use training::{Training, step_program};

use crate::dna::Dna;
use crate::error::{Error, Result};
use crate::leak::Causal;
use crate::lower::{self, Limits, Plan, Sizes};
use crate::rejection::Rejection;
use crate::store::{Candidate, Cost, Mark, Verdict};
use crate::study::{Budget, Strategy, StudySpec};
use crate::worker::{Control, Outcome, Progress};

/// Tokens of the fixed evaluation windows: at a hurdle, and at the end.
const EVALUATION_TOKENS: [usize; 2] = [16_384, 65_536];

/// Trains and measures candidates of one study on one device.
pub struct Evaluator {
    spec: StudySpec,
    sizes: Sizes,
    limits: Limits,
    optimizer: OptimizerConfig,
    train: TokenSet,
    valid: TokenSet,
    device: Device,
    starts: Starts,
    /// FLOPs of a step of the seed program, and the seconds predicted for it.
    seed_step: (f64, f64),
    /// Runs of the seed program at a time.
    seed_threads: u32,
}

/// How one training run ended.
enum Trained {
    /// Measured at its end, or at the hurdle that it failed; infinite where it diverged.
    Loss {
        loss: f64,
        passed: u32,
    },
    Stopped,
}

/// How far a run has come on its way to a mark.
enum Advanced {
    Reached,
    /// A loss that is not finite.
    Diverged,
    Stopped,
}

/// What one run has spent of its budget.
#[derive(Default)]
struct Spent {
    steps: u64,
    /// Those of the training thread on a CPU, by the clock on a GPU.
    seconds: f64,
}

/// What a run of a candidate has to keep to.
struct Course<'a> {
    run: u32,
    seed: u64,
    bars: &'a [Option<f64>],
}

impl Evaluator {
    /// An evaluator of a study, with the corpus that [`StudySpec::tokens`] gives.
    ///
    /// # Errors
    /// Those of [`StudySpec::check_corpus`]; [`Error::Rejected`] where the study's own seed program can't be planned;
    /// [`Error::Model`] where the corpus is too short.
    pub fn new(spec: &StudySpec, corpus: &Corpus, device: &Device) -> Result<Evaluator> {
        spec.check_corpus(corpus)?;
        let sizes = spec.sizes();
        let (train, valid) = (TokenSet::train(corpus)?, TokenSet::valid(corpus)?);
        train.check(sizes.sequence)?;
        valid.check(sizes.sequence)?;
        let mut evaluator = Evaluator {
            limits: spec.program_limits()?,
            spec: spec.clone(),
            sizes,
            // Regularisation is off (paper A.8).
            optimizer: OptimizerConfig {
                optimizer: spec.training.optimizer,
                learning_rate: spec.learning_rate,
                clip_norm: spec.training.clip_norm,
                weight_decay: 0.0,
                ..OptimizerConfig::default()
            },
            train,
            valid,
            device: device.clone(),
            starts: Starts::default(),
            seed_step: (0.0, 0.0),
            seed_threads: 1,
        };
        if !matches!(spec.fitness.budget, Budget::Tokens | Budget::Seconds) {
            let plan = lower::plan(&spec.seed_dna.parse()?, sizes, &evaluator.limits)?;
            let seed = Training::new(&evaluator, &plan, spec.seed)?;
            evaluator.seed_step = evaluator.step_cost(&seed);
        }
        Ok(evaluator)
    }

    /// Trains the seed program with so many of its seeds at a time, at least one. A worker that waits for the seed program
    /// has a thread to spare; a GPU, or a CPU device with threads of its own, has not.
    pub fn with_seed_threads(self, threads: u32) -> Evaluator {
        Evaluator { seed_threads: threads.max(1), ..self }
    }

    /// One sentence for each file of tokens that was damaged and made again (see [`TokenSet::note`]), and one where less
    /// text is held out than candidates are to be measured on.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let ([_, wanted], held_out) = (EVALUATION_TOKENS, self.valid.len());
        let few = (held_out < wanted).then(|| {
            format!("{held_out} tokens are held out; losses at the end are measured on these, of {wanted} that they should be")
        });
        [&self.train, &self.valid].into_iter().filter_map(TokenSet::note).map(str::to_owned).chain(few)
    }

    /// Trains the candidate as far as the study's budget and its hurdles let it, and measures it. A loss that is not
    /// finite ends it, when it is next read, with the worst fitness; a program that leaks or exceeds a limit is
    /// rejected. Where the device fails, the seed program tells whether for this program alone.
    pub fn evaluate(&self, candidate: &Candidate, report: &mut dyn FnMut(Progress) -> Control) -> Outcome {
        let began = Instant::now();
        let mut cost = Cost::default();
        let mut marks = Vec::new();
        let result = self.measure(candidate, &mut cost, &mut marks, began, report);
        // Runs beside each other take longer in all than by the clock.
        cost.seconds = cost.seconds.max(began.elapsed().as_secs_f64());
        match result {
            Ok(Trained::Loss { loss, passed }) => {
                Outcome::Result { verdict: Verdict::Fitness { loss, passed, marks }, cost }
            }
            Ok(Trained::Stopped) => Outcome::Stopped { cost },
            Err(Error::Rejected(reason)) => Outcome::Result { verdict: Verdict::Rejected(reason.to_string()), cost },
            Err(error) => {
                let reason = error.to_string();
                // Where the seed program can't be trained either, the program isn't to blame.
                match self.try_seed() {
                    Ok(()) => Outcome::Failed { reason, cost },
                    Err(_) => Outcome::Broken { reason, cost },
                }
            }
        }
    }

    /// One step of the seed program.
    fn try_seed(&self) -> Result<()> {
        self.spec.check_device(&self.device)?;
        let mut seed = self.prepare(&self.spec.seed_dna.parse()?)?;
        seed.step()?;
        seed.loss().map(drop)
    }

    /// The runs of a candidate: one, but several of the seed program, whose fitness is their mean.
    fn measure(
        &self,
        candidate: &Candidate,
        cost: &mut Cost,
        marks: &mut Vec<Mark>,
        began: Instant,
        report: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Trained> {
        self.spec.check_device(&self.device)?;
        let dna = candidate.dna()?;
        let plan = Causal::prove(&dna, lower::plan(&dna, self.sizes, &self.limits)?)?;
        if candidate.parent.is_none() {
            return self.measure_seed(&plan, cost, marks, report);
        }
        let seed = match self.spec.strategy {
            Strategy::None => self.spec.seed.wrapping_add(candidate.child_no + u64::from(self.spec.fitness.seed_runs)),
            _ => self.spec.seed,
        };
        let course = Course { run: 0, seed, bars: &candidate.bars };
        self.train(&plan, course, cost, marks, &mut |cost, loss| {
            cost.seconds = began.elapsed().as_secs_f64();
            report(Progress { cost: *cost, loss })
        })
    }

    /// One training run, measured at every mark that it reaches.
    fn train(
        &self,
        plan: &Causal,
        course: Course<'_>,
        cost: &mut Cost,
        marks: &mut Vec<Mark>,
        report: &mut dyn FnMut(&mut Cost, Option<f64>) -> Control,
    ) -> Result<Trained> {
        let mut training = self.start(plan, course.seed)?;
        let (mut spent, mut measured) = (Spent::default(), f64::NAN);
        let end = self.spec.fitness.hurdles;
        for (mark, units) in (0..).zip(self.spec.fitness.marks()) {
            match self.advance(&mut training, units as f64 * self.spec.fitness.unit, &mut spent, cost, report)? {
                Advanced::Reached => {}
                Advanced::Diverged => return Ok(Trained::Loss { loss: f64::INFINITY, passed: mark }),
                Advanced::Stopped => return Ok(Trained::Stopped),
            }
            let tokens = EVALUATION_TOKENS[usize::from(mark == end)];
            let Some(loss) = training.evaluate(tokens, &mut || report(cost, None))? else {
                return Ok(Trained::Stopped);
            };
            measured = loss;
            marks.push(Mark { run: course.run, mark, loss: Some(measured).filter(|loss| loss.is_finite()) });
            let bar = course.bars.get(mark as usize).copied().flatten();
            if !measured.is_finite() || bar.is_some_and(|bar| measured > bar) {
                return Ok(Trained::Loss { loss: measured, passed: mark });
            }
        }
        Ok(Trained::Loss { loss: measured, passed: end })
    }

    /// Trains on until a run that has `spent` so much is at a mark, its loss isn't finite, or `report` says to stop.
    fn advance(
        &self,
        training: &mut Training<'_>,
        mark: f64,
        spent: &mut Spent,
        cost: &mut Cost,
        report: &mut dyn FnMut(&mut Cost, Option<f64>) -> Control,
    ) -> Result<Advanced> {
        let tokens_per_step = (self.sizes.batch * self.sizes.sequence) as u64;
        let (flops, predicted) = self.step_cost(training);
        while !self.has_reached(mark, spent, (flops, predicted)) {
            let (wall, thread) = (Instant::now(), ThreadTime::now());
            let loss = training.step()?;
            let wall = wall.elapsed().as_secs_f64();
            // A thread that waits for the processor spends none of its budget; one that waits for a GPU does.
            let seconds = if matches!(self.device, Device::Gpu(_)) { wall } else { thread.elapsed().as_secs_f64() };
            spent.seconds += seconds;
            spent.steps += 1;
            cost.steps += 1;
            cost.tokens += tokens_per_step;
            cost.flops += flops;
            cost.predicted_seconds += predicted;
            cost.training_seconds += seconds;
            if loss.is_some_and(|loss| !loss.is_finite()) {
                return Ok(Advanced::Diverged);
            }
            if let Control::Stop = report(cost, loss) {
                return Ok(Advanced::Stopped);
            }
        }
        Ok(Advanced::Reached)
    }

    /// A program trained once more to the end of the study's budget, without hurdles and with a seed of its own,
    /// measured on the windows of held-out text behind those that candidates are measured on: the loss, infinite where
    /// it isn't finite, and the steps. None where `report` says to stop.
    ///
    /// # Errors
    /// Those of [`Evaluator::prepare`]; [`Error::Rejected`] for a program that leaks; [`Error::Model`] where the held-out
    /// text has no further windows.
    pub fn select(
        &self,
        dna: &Dna,
        seed: u64,
        report: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Option<(f64, u64)>> {
        let plan = Causal::prove(dna, lower::plan(dna, self.sizes, &self.limits)?)?;
        let mut training = self.start(&plan, seed)?;
        let (mut spent, mut cost) = (Spent::default(), Cost::default());
        let mut report = |cost: &mut Cost, loss| report(Progress { cost: *cost, loss });
        let loss = match self.advance(&mut training, self.end(), &mut spent, &mut cost, &mut report)? {
            Advanced::Reached => {
                let report = &mut || report(&mut cost, None);
                match training.evaluate_beyond(EVALUATION_TOKENS[1], report)? {
                    Some(loss) => loss,
                    None => return Ok(None),
                }
            }
            Advanced::Diverged => f64::INFINITY,
            Advanced::Stopped => return Ok(None),
        };
        Ok(Some((loss, spent.steps)))
    }

    /// Steps that a program gets for the whole of the study's budget, without hurdles; 1 where that is in measured
    /// seconds.
    ///
    /// # Errors
    /// Those of [`Evaluator::prepare`].
    pub fn steps_to_the_end(&self, dna: &Dna) -> Result<u64> {
        let costs = self.step_cost(&self.prepare(dna)?);
        Ok(self.limit(self.end(), costs))
    }

    /// The last mark, in the budget's unit.
    fn end(&self) -> f64 {
        self.spec.fitness.marks().last().unwrap_or(1) as f64 * self.spec.fitness.unit
    }

    /// A program in training, before its first step.
    ///
    /// # Errors
    /// [`Error::Rejected`] where it exceeds the study's limits; the engine's errors.
    pub fn prepare(&self, dna: &Dna) -> Result<Training<'_>> {
        self.start(&lower::plan(dna, self.sizes, &self.limits)?, self.spec.seed)
    }

    /// [`Evaluator::prepare`] for what is planned already, with a seed of its own.
    fn start(&self, plan: &Plan, seed: u64) -> Result<Training<'_>> {
        let training = Training::new(self, plan, seed)?;
        let steps = self.steps_at(self.spec.fitness.unit, self.step_cost(&training));
        if steps < 1.0 {
            return Err(Rejection::Budget { steps }.into());
        }
        Ok(training)
    }

    /// FLOPs of a step, and the seconds predicted for it.
    fn step_cost(&self, training: &Training<'_>) -> (f64, f64) {
        let flops = training.executable().report().map_or(0.0, |report| report.flops as f64);
        (flops, self.spec.roofline.seconds(training.executable()))
    }

    /// Whether a run is at a mark: one more step would spend more than the mark allows, or, in seconds, the last one
    /// did.
    fn has_reached(&self, mark: f64, spent: &Spent, costs: (f64, f64)) -> bool {
        match self.spec.fitness.budget {
            Budget::Seconds => spent.seconds >= mark,
            _ => spent.steps >= self.limit(mark, costs),
        }
    }

    /// Whole steps that fit into a mark.
    fn limit(&self, mark: f64, costs: (f64, f64)) -> u64 {
        self.steps_at(mark, costs).floor() as u64
    }

    /// Steps that a mark allows; where seconds are measured, whatever a step takes: one.
    fn steps_at(&self, mark: f64, (flops, predicted): (f64, f64)) -> f64 {
        let (seed_flops, seed_predicted) = self.seed_step;
        match self.spec.fitness.budget {
            Budget::Seconds => 1.0,
            Budget::Tokens => mark,
            // The quotient first: of a program that costs what the seed does it is 1, and not a last bit less than the
            // mark.
            Budget::Flops => mark * (seed_flops / flops),
            Budget::Cost => mark * (seed_predicted / predicted),
        }
    }
}
