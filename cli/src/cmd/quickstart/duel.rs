//! Two models trained in turns, for equal time.

use super::Schedule;
use crate::failure::Outcome;
use crate::report::data::{Arm, Point};
use crate::report::html::pretty;
use crate::stop::Stop;
use crate::terminal::{self, Progress};
use primer_models::RunConfig;
use primer_models::text::Corpus;
use primer_models::train::{Event, Horizon, Trainer};
use primer_tensor::Device;
use std::time::{Duration, Instant};

/// A trained model with its record.
pub struct Trained {
    /// What the report takes.
    pub data: Arm,
    /// The model.
    pub trainer: Trainer,
    /// Latest training loss and tokens a second.
    latest: Option<(f64, f64)>,
    /// Seconds of training at which it is evaluated next.
    next_evaluation: f64,
}

/// Share of the time left that training gets; the rest is evaluation.
const TRAINING_SHARE: f64 = 0.85;
/// Each evaluation comes so much later than the one before, so that a logarithmic axis is even.
const EVALUATION_GROWTH: f64 = 1.25;
/// Where steps are slow, so many times its own duration passes in training between two evaluations.
const EVALUATION_SPACING: f64 = 7.0;

impl Trained {
    fn new(config: &RunConfig, corpus: &Corpus, device: &Device) -> Outcome<Self> {
        let trainer = Trainer::new(config, corpus, device)?;
        trainer.notes().for_each(terminal::note);
        let data = Arm {
            arch: config.model.arch.name().into(),
            parameters: trainer.model().parameters() as u64,
            steps: 0,
            tokens: 0,
            seconds: 0.0,
            points: Vec::new(),
            samples: Vec::new(),
        };
        Ok(Self { data, trainer, latest: None, next_evaluation: 0.2 })
    }

    fn slice(&mut self, length: Duration, stop: &Stop) -> Outcome {
        let latest = &mut self.latest;
        self.trainer.run_slice(length, &stop.flag(), &mut |event| {
            if let Event::Progress(p) = event {
                *latest = Some((p.loss, p.tokens_per_second));
            }
        })?;
        self.data.steps = self.trainer.step();
        self.data.tokens = self.trainer.step() * self.trainer.tokens_per_step();
        self.data.seconds = self.trainer.seconds();
        Ok(())
    }

    fn evaluate(&mut self) -> Outcome {
        let validation_loss = self.trainer.evaluate()?;
        let data = &mut self.data;
        data.points.push(Point { step: data.steps, tokens: data.tokens, seconds: data.seconds, validation_loss });
        Ok(())
    }

    fn evaluate_if_due(&mut self) -> Outcome {
        if self.data.seconds < self.next_evaluation {
            return Ok(());
        }
        let begin = Instant::now();
        self.evaluate()?;
        let apart = EVALUATION_SPACING * begin.elapsed().as_secs_f64();
        self.next_evaluation = (self.data.seconds * EVALUATION_GROWTH).max(self.data.seconds + apart);
        Ok(())
    }

    fn told(&self) -> String {
        match self.latest {
            Some((loss, rate)) => format!("{} loss {loss:.3} at {rate:.0} tokens/s", pretty(&self.data.arch)),
            None => format!("{} not begun", pretty(&self.data.arch)),
        }
    }
}

/// Trains a model for each configuration until the schedule says so, in turns of measured compute.
///
/// # Errors
/// A configuration, corpus or device that can't be used.
pub fn run(
    configs: &[RunConfig],
    corpus: &Corpus,
    device: &Device,
    schedule: Schedule,
    stop: &Stop,
) -> Outcome<Vec<Trained>> {
    let mut progress = Progress::new("training");
    let mut arms = configs.iter().map(|config| Trained::new(config, corpus, device)).collect::<Outcome<Vec<_>>>()?;

    let left = schedule.training.saturating_duration_since(Instant::now()).as_secs_f64();
    let budget = (left * TRAINING_SHARE / arms.len() as f64).max(0.05);
    let turn = Duration::from_secs_f64((budget / 40.0).clamp(0.05, 0.5));
    for arm in &mut arms {
        arm.trainer.set_horizon(Horizon::Seconds(budget));
    }
    loop {
        // Whoever has had less goes first, so that no model gains by the order.
        arms.sort_by(|a, b| a.data.seconds.total_cmp(&b.data.seconds));
        let mut trained = false;
        for i in 0..arms.len() {
            // On a slow machine the first turn of one model may take all the time: the other one has its turn all the
            // same.
            let over = arms[i].data.seconds >= budget || Instant::now() >= schedule.training;
            if stop.asked() || over && arms[i].data.steps > 0 {
                continue;
            }
            arms[i].slice(turn, stop)?;
            arms[i].evaluate_if_due()?;
            trained = true;
            let done = arms.iter().map(|a| a.data.seconds).sum::<f64>() / (budget * arms.len() as f64);
            let mut told: Vec<&Trained> = arms.iter().collect();
            told.sort_by_key(|arm| place(configs, arm));
            let text: Vec<String> = told.into_iter().map(Trained::told).collect();
            let left = schedule.training.saturating_duration_since(Instant::now());
            progress.update(done, Some(left), &text.join(", "));
        }
        if !trained {
            break;
        }
    }
    arms.sort_by_key(|arm| place(configs, arm));
    let mut ends = Vec::new();
    for arm in &mut arms {
        if arm.data.steps > 0 && arm.data.points.last().is_none_or(|p| p.step < arm.data.steps) {
            arm.evaluate()?;
        }
        if let Some(last) = arm.data.points.last() {
            ends.push(format!("{} {:.4}", pretty(&arm.data.arch), last.validation_loss));
        }
    }
    progress.finish(&format!("held-out loss: {}", ends.join(", ")));
    Ok(arms)
}

/// The arm's place among the configurations.
fn place(configs: &[RunConfig], arm: &Trained) -> usize {
    configs.iter().position(|c| c.model.arch.name() == arm.data.arch).unwrap_or(usize::MAX)
}
