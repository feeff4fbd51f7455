//! A run with its folder: `config.toml`, `devices.txt`, `tokenizer.json` (unless tokens are bytes), `metrics.jsonl`,
//! `samples.jsonl` (where asked for), `checkpoints/` (the last few, `latest`, `best.safetensors`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use primer_tensor::Device;

use super::{Event, Horizon, Sample, Trainer};
use crate::checkpoint::{CheckpointDir, remove, write_atomically};
use crate::error::{Error, Result};
use crate::generate::SampleOptions;
use crate::metrics::{self, Metric, StepLog};
use crate::settings::RunConfig;
use crate::text::{Corpus, Tokenizer};

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// After that many steps, those of earlier parts counted.
    Steps(u64),
    /// After that many seconds of training, those of earlier parts counted.
    Seconds(f64),
}

/// A training run that writes into a folder.
#[derive(Debug)]
pub struct RunFolder {
    trainer: Trainer,
    metrics: StepLog,
    /// None where no samples are wanted.
    samples: Option<StepLog>,
    checkpoints: CheckpointDir,
    /// Lowest validation loss so far.
    best: f64,
    /// The steps to evaluate after, instead of every so many.
    evaluations: Option<Vec<u64>>,
    device_before: Option<String>,
}

/// The configuration's file in a run's folder.
pub const CONFIG: &str = "config.toml";
/// The file in a run's folder that has a line for each device and set of kernels that it ran on, in order.
pub const DEVICES: &str = "devices.txt";
/// The metrics' file in a run's folder.
const METRICS: &str = "metrics.jsonl";
/// The samples' file in a run's folder.
const SAMPLES: &str = "samples.jsonl";
/// Seconds of training after which the loss is read, also where `log_every` steps take longer.
const READ_SECONDS: f64 = 2.0;
/// Tokens of a sample.
const SAMPLE_TOKENS: usize = 100;
/// The checkpoints' folder in a run's folder.
const CHECKPOINTS: &str = "checkpoints";

impl RunFolder {
    /// Begins a run in `folder`, which is made if need be, in the place of a run that is there. Whether a folder that
    /// isn't empty may be used is the caller's to decide.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`Error::Write`] where the folder can't be written.
    pub fn create(folder: &Path, config: &RunConfig, corpus: &Corpus, device: &Device) -> Result<Self> {
        let trainer = Trainer::new(config, corpus, device)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Write { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        // First, so that nobody goes on from a former run with this one's settings.
        let checkpoints = CheckpointDir::new(folder.join(CHECKPOINTS), config.train.keep);
        checkpoints.clear()?;
        [SAMPLES, Tokenizer::FILE].into_iter().try_for_each(|file| remove(&folder.join(file)))?;
        let path = folder.join(CONFIG);
        write_atomically(&path, config.to_toml()?.as_bytes())?;
        write_atomically(&folder.join(DEVICES), (trainer.device().signature() + "\n").as_bytes())?;
        corpus.tokenizer().save(folder)?;
        let metrics = StepLog::create(&folder.join(METRICS))?;
        let sampling = config.train.sample_every > 0;
        let samples = sampling.then(|| StepLog::create(&folder.join(SAMPLES))).transpose()?;
        Ok(Self { trainer, metrics, samples, checkpoints, best: f64::INFINITY, evaluations: None, device_before: None })
    }

    /// Goes on with the run in `folder` from its newest checkpoint, with the configuration given; metrics past it are
    /// cut off.
    ///
    /// # Errors
    /// As [`Trainer::resume`]; [`Error::NoCheckpoint`]; [`Error::Read`]; [`Error::Write`].
    pub fn resume(folder: &Path, config: &RunConfig, corpus: &Corpus, device: &Device) -> Result<Self> {
        let checkpoints = CheckpointDir::new(folder.join(CHECKPOINTS), config.train.keep);
        let trainer = Trainer::resume(config, corpus, device, &checkpoints.latest()?)?;
        let device_before = add_device(&folder.join(DEVICES), trainer.device())?;
        let path = folder.join(METRICS);
        let metrics = StepLog::resume(&path, trainer.step())?;
        let sample_path = folder.join(SAMPLES);
        let sampling = config.train.sample_every > 0 || sample_path.exists();
        let samples = sampling.then(|| StepLog::resume(&sample_path, trainer.step())).transpose()?;
        let losses = metrics::read(&path)?.into_iter().filter_map(|metric| metric.valid_loss);
        let best = losses.fold(f64::INFINITY, f64::min);
        Ok(Self { trainer, metrics, samples, checkpoints, best, evaluations: None, device_before })
    }

    /// The configuration that a run's folder was begun with, laid over `base`.
    ///
    /// # Errors
    /// As [`RunConfig::apply_file`].
    pub fn config(folder: &Path, mut base: RunConfig) -> Result<RunConfig> {
        base.apply_file(&folder.join(CONFIG))?;
        Ok(base)
    }

    /// Trains until `limit` or until `stop` is set, evaluates, samples and saves as configured, and evaluates and saves
    /// at the end. Gives the last checkpoint's path.
    ///
    /// # Errors
    /// [`Error::Tensor`] from the device, [`Error::Write`].
    pub fn run(&mut self, limit: Limit, stop: &AtomicBool, on_event: &mut dyn FnMut(Event)) -> Result<PathBuf> {
        let train = self.trainer.config().train.clone();
        self.trainer.set_horizon(match limit {
            Limit::Steps(steps) => Horizon::Steps(steps),
            Limit::Seconds(seconds) => Horizon::Seconds(seconds),
        });
        let (last_step, last_second) = match limit {
            Limit::Steps(steps) => (steps, f64::INFINITY),
            Limit::Seconds(seconds) => (u64::MAX, seconds),
        };
        loop {
            let step = self.trainer.step();
            let next = [
                self.evaluated_next(step),
                multiple_after(train.sample_every, step),
                multiple_after(train.checkpoint_every, step),
            ];
            let next = next.into_iter().flatten().fold(last_step, u64::min);
            let unread = self.trainer.seconds_read() + READ_SECONDS;
            let until = last_second.min(unread);
            self.with_metrics(on_event, |trainer, on_event| trainer.advance(next, until, stop, on_event))?;

            let step = self.trainer.step();
            let done = stop.load(Ordering::Relaxed) || step >= last_step || self.trainer.seconds() >= last_second;
            let due = |every: u64| every > 0 && step.is_multiple_of(every);
            let late = self.trainer.seconds() >= self.trainer.seconds_read() + READ_SECONDS;
            let evaluated = self.evaluated_next(step.saturating_sub(1)) == Some(step);
            if done || late || evaluated || due(train.sample_every) || due(train.checkpoint_every) {
                // It waits for the steps, so that their time is not taken for that of what follows, and a checkpoint
                // leaves nothing unread behind.
                self.with_metrics(on_event, Trainer::report)?;
            }
            if done || evaluated {
                self.evaluate(on_event)?;
            }
            if due(train.sample_every) {
                self.sample(stop, on_event)?;
            }
            if done || due(train.checkpoint_every) {
                let path = self.checkpoints.save(&self.trainer.checkpoint()?)?;
                on_event(Event::Saved { step, path: path.clone() });
                if done {
                    return Ok(path);
                }
            }
        }
    }

    /// Evaluates after these steps, which rise, and at the end, instead of every `eval_every` ones.
    pub fn evaluate_at(&mut self, steps: Vec<u64>) {
        self.evaluations = Some(steps);
    }

    /// The first step after `step` that an evaluation follows.
    fn evaluated_next(&self, step: u64) -> Option<u64> {
        match &self.evaluations {
            Some(steps) => steps.iter().copied().find(|&next| next > step),
            None => multiple_after(self.trainer.config().train.eval_every, step),
        }
    }

    /// The trainer, for samples and reports.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// What the run computed on before it was taken up, as its `devices.txt` has it, where that isn't what it computes
    /// on now: the device, or the kernels of an adapter. What follows then differs in its last bits from a run that
    /// never stopped.
    pub fn device_before(&self) -> Option<&str> {
        self.device_before.as_deref()
    }

    fn evaluate(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let measured = self.trainer.measure()?;
        let (valid_loss, bits_per_byte) = (measured.loss_nats, measured.bits_per_byte);
        let step = self.trainer.step();
        let (seconds, tokens) = (self.trainer.seconds(), step * self.trainer.tokens_per_step());
        self.metrics.write(&Metric {
            valid_loss: Some(valid_loss),
            valid_bits_per_byte: Some(bits_per_byte),
            ..Metric::at(step, seconds, tokens)
        })?;
        on_event(Event::Evaluated { step, valid_loss, bits_per_byte });
        if valid_loss < self.best {
            self.best = valid_loss;
            self.checkpoints.save_best(&self.trainer.checkpoint()?)?;
        }
        Ok(())
    }

    /// Lets the model write as it stands; the draws follow from the run's seed and the step. One that is stopped is not
    /// kept.
    fn sample(&mut self, stop: &AtomicBool, on_event: &mut dyn FnMut(Event)) -> Result<()> {
        let (step, train) = (self.trainer.step(), &self.trainer.config().train);
        let seed = train.seed.wrapping_add(step);
        let options = SampleOptions { tokens: SAMPLE_TOKENS, seed, ..SampleOptions::default() };
        let prompt = train.sample_prompt.clone();
        let text = self.trainer.language_model()?.sample(prompt.as_bytes(), &options, &mut |bytes| {
            on_event(Event::Sampling { step, prompt: prompt.clone(), bytes: bytes.to_vec() });
            !stop.load(Ordering::Relaxed)
        })?;
        let sample = Sample { step, prompt, text: String::from_utf8_lossy(&text).into_owned() };
        if let (Some(samples), false) = (&mut self.samples, stop.load(Ordering::Relaxed)) {
            samples.write(&sample)?;
            on_event(Event::Sampled(sample));
        }
        Ok(())
    }

    /// Does `work`, with every event about the steps written to the metrics before it is passed on.
    fn with_metrics(
        &mut self,
        on_event: &mut dyn FnMut(Event),
        work: impl FnOnce(&mut Trainer, &mut dyn FnMut(Event)) -> Result<()>,
    ) -> Result<()> {
        let metrics = &mut self.metrics;
        let tokens_per_step = self.trainer.tokens_per_step();
        let (mut failed, mut seconds) = (None, self.trainer.seconds());
        work(&mut self.trainer, &mut |event| {
            let line = match &event {
                Event::Progress(p) => {
                    seconds = p.seconds;
                    Some(Metric {
                        train_loss: Some(p.loss),
                        learning_rate: Some(p.learning_rate),
                        tokens_per_second: Some(p.tokens_per_second),
                        matmul_gflops: p.matmul_gflops,
                        ..Metric::at(p.step, seconds, p.step * tokens_per_step)
                    })
                }
                Event::NonFinite { step } => {
                    Some(Metric { non_finite: true, ..Metric::at(*step, seconds, step * tokens_per_step) })
                }
                _ => None,
            };
            if let Some(line) = line {
                failed = metrics.write(&line).err().or(failed.take());
            }
            on_event(event);
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// Adds the device's line ([`Device::signature`]) to a file like [`DEVICES`] unless the last one is the same, and gives
/// the last one otherwise. What an older version began has no such file yet.
///
/// # Errors
/// [`Error::Read`] and [`Error::Write`].
pub fn add_device(path: &Path, device: &Device) -> Result<Option<String>> {
    let mut lines = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|source| Error::Read { path: path.to_owned(), source })?,
    };
    let line = device.signature();
    let before = lines.lines().last().map(str::to_owned);
    if before.as_deref() == Some(&line) {
        return Ok(None);
    }
    lines += &(line + "\n");
    write_atomically(path, lines.as_bytes())?;
    Ok(before)
}

/// The first multiple of `every` after `step`; none for 0.
fn multiple_after(every: u64, step: u64) -> Option<u64> {
    (every > 0).then(|| (step / every + 1).saturating_mul(every))
}
