//! The trainer: state, programs and cursor of one run, without files.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use primer_tensor::{Data, Device, Executable, State};

use super::programs::{LOSS_SUM, TARGETS, apply_of, evaluation, gradient_sum, step_of};
use super::{Event, Progress};
use crate::arch::{KEY, Model, TOKENS};
use crate::checkpoint::{Checkpoint, NamedTensor};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::generate::{Evaluation, LanguageModel};
use crate::optim::NON_FINITE;
use crate::settings::RunConfig;
use crate::text::{Corpus, TokenSet, Tokenizer};

/// What the learning-rate schedule spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Horizon {
    /// That many steps.
    Steps(u64),
    /// That many seconds of training; the number of steps is estimated from those done.
    Seconds(f64),
}

/// What [`Trainer::run_slice`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slice {
    /// Steps done in the slice.
    pub steps: u64,
    /// Seconds they took.
    pub seconds: f64,
}

/// How one of the programs is run.
type RunProgram<'a> = dyn FnMut(&mut Executable, &mut State, &[(&str, Data<'_>)]) -> primer_tensor::Result<()> + 'a;

/// One training run in memory: `train` steps forward, loss, gradient, clipping and the optimizer as one program on one
/// state.
pub struct Trainer {
    config: RunConfig,
    model: Model,
    device: Device,
    state: State,
    step_program: Executable,
    /// The optimizer alone, where gradients are accumulated; then `step_program` only adds to them.
    apply_program: Option<Executable>,
    eval_program: Executable,
    train: TokenSet,
    valid: TokenSet,
    corpus_sha256: String,
    horizon: Horizon,
    step: u64,
    seconds: f64,
    read_at: (u64, f64),
    last_rate: f64,
    last_total: u64,
}

impl Trainer {
    /// A fresh run: seeded weights, moments at 0.
    ///
    /// # Errors
    /// [`Error::BadValue`] from the configuration, [`Error::ShortCorpus`], [`Error::Tensor`] from the device.
    pub fn new(config: &RunConfig, corpus: &Corpus, device: &Device) -> Result<Self> {
        config.validate()?;
        let tokens = corpus.tokenizer().vocab();
        if tokens > config.model.vocab {
            let (key, value) = ("model.vocab".into(), config.model.vocab.to_string());
            return Err(Error::BadValue { key, value, reason: format!("the tokenizer knows {tokens} tokens") });
        }
        let (train, valid) = (TokenSet::train(corpus)?, TokenSet::valid(corpus)?);
        train.check(config.model.seq)?;
        valid.check(config.model.seq)?;
        let device = &config.train.precision.on(device)?;
        let model = Model::build_for_training(&config.model, config.train.batch)?;
        let (step, eval) = (step_of(&model, config)?, evaluation(config)?);
        let apply = apply_of(&model, config)?;
        // Before the weights: what doesn't fit is refused while nothing is allocated.
        let step_program = device.compile(&step)?;
        let apply_program = apply.map(|program| device.compile(&program)).transpose()?;
        let eval_program = device.compile(&eval)?;
        let mut state = model.initial_state(device, config.train.seed)?;
        config.optimizer.insert_start(&mut state, &model.params)?;
        state.insert(LOSS_SUM, [1], &[0.0])?;
        if apply_program.is_some() {
            for spec in &model.params {
                state.insert_zeros(&gradient_sum(&spec.name), spec.shape.as_slice())?;
            }
        }
        Ok(Self {
            step_program,
            apply_program,
            eval_program,
            horizon: Horizon::Steps(config.train.steps),
            config: config.clone(),
            model,
            device: device.clone(),
            state,
            train,
            valid,
            corpus_sha256: corpus.sha256(),
            step: 0,
            seconds: 0.0,
            read_at: (0, 0.0),
            last_rate: 0.0,
            last_total: config.train.steps,
        })
    }

    /// A run that goes on from a checkpoint, bit for bit as if it had never stopped.
    ///
    /// # Errors
    /// As [`Trainer::new`]; what [`Checkpoint::read`] and [`Checkpoint::fit`] say of the file; [`Error::OtherModel`]
    /// where its model computes something else with the same weights; [`Error::OtherCorpus`];
    /// [`Error::OtherTokenizer`]; [`Error::DamagedCheckpoint`] where the file has no optimizer state.
    pub fn resume(config: &RunConfig, corpus: &Corpus, device: &Device, path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::read(path)?;
        let mut trainer = Self::new(config, corpus, device)?;
        let mut checkpoint = checkpoint.fit(path, &config.model, &trainer.model.shapes())?;
        checkpoint.check_model(path, &config.model)?;
        if checkpoint.corpus_sha256 != trainer.corpus_sha256 {
            return Err(Error::OtherCorpus { expected: checkpoint.corpus_sha256, found: trainer.corpus_sha256 });
        }
        corpus.tokenizer().check(&checkpoint.tokenizer)?;
        let entries = config.optimizer.entries(&trainer.model.params);
        let optimizer = checkpoint.optimizer_state(path, config.optimizer.optimizer, &entries)?;
        for tensor in checkpoint.weights.iter().chain(&optimizer) {
            trainer.state.insert(&tensor.name, tensor.shape.as_slice(), &tensor.data)?;
        }
        trainer.step = checkpoint.step;
        trainer.seconds = checkpoint.seconds;
        trainer.read_at = (checkpoint.step, checkpoint.seconds);
        Ok(trainer)
    }

    /// What it computes on, in its precision.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Trains until `until` steps are done, reading the loss every `log_every` steps, or until `stop` is set.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn run(&mut self, until: u64, stop: &AtomicBool, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        self.advance(until, f64::INFINITY, stop, on_event)
    }

    /// [`Trainer::run`] with a second limit, on the seconds of training.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn advance(
        &mut self,
        until_step: u64,
        until_seconds: f64,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<()> {
        while self.step < until_step && self.seconds < until_seconds && !stop.load(Ordering::Relaxed) {
            self.timed_step(&mut Executable::run)?;
            if self.step.is_multiple_of(self.config.train.log_every) {
                self.report(on_event)?;
            }
        }
        Ok(())
    }

    /// Trains for about `duration` of measured compute (at least one step), then waits for the device, so that two
    /// models can take turns fairly. One reading of the loss at the end.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn run_slice(
        &mut self,
        duration: Duration,
        stop: &AtomicBool,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Slice> {
        let (first, began) = (self.step, self.seconds);
        let end = began + duration.as_secs_f64();
        loop {
            self.timed_step(&mut Executable::run)?;
            if self.seconds >= end || stop.load(Ordering::Relaxed) {
                break;
            }
        }
        self.report(on_event)?;
        Ok(Slice { steps: self.step - first, seconds: self.seconds - began })
    }

    /// Reads the loss since the last reading, which waits for the device, and reports it.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn report(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let (read_step, read_seconds) = self.read_at;
        if self.step == read_step {
            return Ok(());
        }
        let began = Instant::now();
        let sum = self.scalar(LOSS_SUM)?;
        self.seconds += began.elapsed().as_secs_f64();
        let steps = self.step - read_step;
        let tokens = steps as f64 * self.tokens_per_step() as f64;
        let seconds = (self.seconds - read_seconds).max(1e-9);
        let runs = (steps * self.config.train.accumulate as u64) as f64;
        self.state.insert(LOSS_SUM, [1], &[0.0])?;
        self.read_at = (self.step, self.seconds);
        on_event(Event::Progress(Progress {
            step: self.step,
            total_steps: self.last_total,
            loss: sum / steps as f64,
            learning_rate: self.last_rate,
            tokens_per_second: tokens / seconds,
            matmul_gflops: self.step_program.report().map(|r| r.matmul_flops as f64 * runs / seconds / 1e9),
            seconds: self.seconds,
        }));
        if self.scalar(NON_FINITE)? != 0.0 {
            self.state.insert(NON_FINITE, [1], &[0.0])?;
            tracing::warn!(step = self.step, "a gradient was not finite");
            on_event(Event::NonFinite { step: self.step });
        }
        Ok(())
    }

    /// Mean cross entropy in nats per token on the validation text, or on its first `eval_batches` batches, each token
    /// once.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn evaluate(&mut self) -> Result<f64> {
        Ok(self.measure()?.loss_nats)
    }

    /// [`Trainer::evaluate`] in all its units.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn measure(&mut self) -> Result<Evaluation> {
        let (mut sum, mut tokens, mut bytes) = (0.0, 0, 0);
        let batches = self.valid.in_order(self.model.batch, self.model.config.seq)?;
        for (batch, count) in batches.take(self.config.train.eval_batches) {
            let inputs = [(TOKENS, Data::U32(&batch.inputs)), (TARGETS, Data::U32(&batch.targets))];
            self.eval_program.run(&mut self.state, &inputs)?;
            let losses = self.eval_program.output(0)?;
            sum += losses[..count].iter().map(|&x| f64::from(x)).sum::<f64>();
            tokens += count as u64;
            bytes +=
                batch.targets[..count].iter().map(|&token| self.valid.tokenizer().byte_len(token) as u64).sum::<u64>();
        }
        Ok(Evaluation::new(sum, tokens, bytes))
    }

    /// Everything needed to go on later.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let read = |entries: Vec<(String, Vec<usize>)>| -> Result<Vec<NamedTensor>> {
            let one = |(name, shape): (String, Vec<usize>)| {
                let data = self.state.read(&name)?;
                Ok(NamedTensor { name, shape, data })
            };
            entries.into_iter().map(one).collect()
        };
        Ok(Checkpoint {
            model: self.model.config.clone(),
            step: self.step,
            seconds: self.seconds,
            corpus_sha256: self.corpus_sha256.clone(),
            tokenizer: self.tokenizer().id().to_owned(),
            weights: read(self.model.shapes())?,
            optimizer: Some(read(self.config.optimizer.entries(&self.model.params))?),
        })
    }

    /// A copy of the model as it stands, for sampling and evaluation.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn language_model(&self) -> Result<LanguageModel> {
        let weights = self.model.params.iter().map(|p| {
            let data = self.state.read(&p.name)?;
            Ok(NamedTensor { name: p.name.clone(), shape: p.shape.clone(), data })
        });
        let language = LanguageModel::new(&self.model.config, &weights.collect::<Result<Vec<_>>>()?, &self.device)?;
        Ok(language.with_tokenizer(self.tokenizer().clone()))
    }

    /// What the learning-rate schedule spans; the configuration's steps unless set.
    pub fn set_horizon(&mut self, horizon: Horizon) {
        self.horizon = horizon;
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Seconds of training: steps alone.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Seconds of training when the loss was last read.
    pub(super) fn seconds_read(&self) -> f64 {
        self.read_at.1
    }

    /// Tokens a step trains on.
    pub fn tokens_per_step(&self) -> u64 {
        self.config.tokens_per_step()
    }

    /// The configuration in force.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The model's configuration.
    pub fn model_config(&self) -> &ModelConfig {
        &self.model.config
    }

    /// What turned the text into tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.train.tokenizer()
    }

    /// One sentence for each file of tokens that was damaged and made again; see [`TokenSet::note`].
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        [&self.train, &self.valid].into_iter().filter_map(TokenSet::note)
    }

    /// The recorded model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The planned step, for printing and counting.
    pub fn step_executable(&self) -> &Executable {
        &self.step_program
    }

    /// Trains one step, and tells for each kernel, in order, what it is and how long it took; nothing where the device has
    /// no such clock ([`Executable::profile`]).
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device.
    pub fn profile_step(&mut self) -> Result<Vec<(String, Duration)>> {
        let mut kernels = Vec::new();
        self.timed_step(&mut |executable, state, inputs| {
            kernels.extend(executable.profile(state, inputs)?);
            Ok(())
        })?;
        Ok(kernels)
    }

    fn timed_step(&mut self, run: &mut RunProgram<'_>) -> Result<()> {
        let began = Instant::now();
        let total = match self.horizon {
            Horizon::Steps(steps) => steps,
            Horizon::Seconds(budget) if self.seconds > 0.0 => {
                (self.step as f64 * (budget / self.seconds).min(1e6)).ceil() as u64
            }
            Horizon::Seconds(_) => self.config.train.steps,
        };
        let factor = self.config.schedule.factor(self.step, total);
        let train = &self.config.train;
        let scalars = self.config.optimizer.scalars(factor, self.step).into_iter().map(|(name, x)| (name, [x]));
        let scalars: Vec<_> = scalars.collect();
        for part in 0..train.accumulate as u64 {
            let index = self.step * train.accumulate as u64 + part;
            let batch = self.train.batch(train.batch, self.model.config.seq, train.seed, index)?;
            let key = [train.seed as u32, index as u32];
            let mut inputs = vec![(TOKENS, Data::U32(&batch.inputs)), (TARGETS, Data::U32(&batch.targets))];
            inputs.push((KEY, Data::U32(&key)));
            inputs.extend(scalars.iter().map(|(name, value)| (*name, Data::F32(value))));
            run(&mut self.step_program, &mut self.state, &inputs)?;
        }
        if let Some(apply) = &mut self.apply_program {
            let inputs: Vec<_> = scalars.iter().map(|(name, value)| (*name, Data::F32(value))).collect();
            run(apply, &mut self.state, &inputs)?;
        }
        self.last_rate = self.config.optimizer.learning_rate * factor;
        self.last_total = total.max(self.step + 1);
        self.step += 1;
        self.seconds += began.elapsed().as_secs_f64();
        Ok(())
    }

    fn scalar(&self, name: &str) -> Result<f64> {
        Ok(self.state.read(name)?.first().copied().map_or(f64::NAN, f64::from))
    }
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("config", &self.config).field("step", &self.step).finish_non_exhaustive()
    }
}
