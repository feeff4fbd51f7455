//! The runs of an experiment, each in a folder of its own, one after the other.

use super::{Arm, Experiment, damaged};
use crate::failure::Outcome;
use crate::folder::unwritable;
use crate::terminal::{self, Progress, clock};
use primer_models::RunConfig;
use primer_models::checkpoint::CheckpointDir;
use primer_models::metrics::{self, Metric};
use primer_models::train::{Event, Limit, RunFolder};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The folder of the runs in that of the experiment.
const FOLDER: &str = "runs";

/// One training run that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its folder's name in `runs/`, which says what it is.
    pub name: String,
    /// The model's number.
    pub arm: usize,
    /// Everything in force.
    pub config: RunConfig,
}

impl Job {
    /// A run of `steps` steps; `more` ends its name.
    pub fn new(arm: usize, what: &Arm, label: &str, seed: u64, steps: u64, more: &str) -> Self {
        let mut config = what.config.clone();
        config.train.seed = seed;
        config.train.steps = steps;
        // Not every file system has names with a colon.
        let label = label.replace(':', "-");
        Self { name: format!("{label}-n{steps}-s{seed}{more}"), arm, config }
    }

    /// Its steps.
    pub fn steps(&self) -> u64 {
        self.config.train.steps
    }
}

/// A finished run, as its folder tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its folder, seen from the experiment's.
    pub folder: String,
    /// Its seed.
    pub seed: u64,
    /// Its steps.
    pub steps: u64,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Seconds of training by the clock, evaluations and files not counted.
    pub wall_seconds: f64,
    /// The loss on the held-out text after the last step, nats a token; none where it isn't finite.
    pub final_loss: Option<f64>,
    /// The same in bits a byte of text.
    pub final_bits_per_byte: Option<f64>,
    /// The final loss isn't finite, or above that of a model that knows nothing (ln of the vocabulary).
    pub diverged: bool,
    /// Readings between which a gradient wasn't finite; those steps changed nothing.
    pub non_finite_readings: u64,
    /// The evaluations.
    pub points: Vec<Evaluation>,
}

impl Record {
    /// (amount, loss) where a step costs `a_step`; evaluations that aren't finite are left out.
    pub fn curve(&self, a_step: f64) -> Vec<(f64, f64)> {
        self.points.iter().filter_map(|p| Some((p.step as f64 * a_step, p.loss?))).collect()
    }
}

/// One evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Seconds of training by the clock.
    pub wall_seconds: f64,
    /// Mean loss on the held-out text, nats a token; none where it isn't finite.
    pub loss: Option<f64>,
}

/// The steps after which a run of `steps` is evaluated: the same fractions of every run, four to a doubling, from a
/// 64th to all.
pub fn evaluation_steps(steps: u64) -> Vec<u64> {
    let at = |i: i32| ((steps as f64 * 2f64.powf(f64::from(i - 24) / 4.0)).round() as u64).clamp(1, steps.max(1));
    let mut all: Vec<u64> = (0..=24).map(at).collect();
    all.dedup();
    all
}

impl Experiment {
    /// Does what isn't done of `jobs`, in their order, until the user stops it; `seconds` is the time of a step of each
    /// model. Says beforehand how much it is.
    ///
    /// # Errors
    /// A device or folder that fails.
    pub fn train(&self, jobs: &[Job], seconds: &[f64]) -> Outcome {
        let cost = |job: &Job, steps: u64| steps as f64 * seconds[job.arm];
        let mut left: Vec<&Job> = Vec::new();
        for job in jobs {
            if !self.is_finished(job)? {
                left.push(job);
            }
        }
        if left.is_empty() || self.stop.asked() {
            return Ok(());
        }
        let begun = |job: &Job| cost(job, self.saved_step(job).unwrap_or(0));
        let all: f64 = left.iter().map(|job| cost(job, job.steps()) - begun(job)).sum();
        let finished = jobs.len() - left.len();
        let already = if finished > 0 { format!(" ({finished} are finished)") } else { String::new() };
        terminal::note(&format!("runs: {}{already}, about {} of training", left.len(), clock(all)));

        let mut progress = Progress::new("training");
        let mut done = 0.0;
        for (i, job) in left.iter().enumerate() {
            if self.stop.asked() {
                break;
            }
            let place = format!("run {} of {}, {}", i + 1, left.len(), job.name);
            let first = begun(job);
            let share = |step: u64| (done + cost(job, step) - first) / all.max(1e-9);
            self.train_one(job, &place, &share, &mut progress)?;
            done += cost(job, job.steps()) - first;
        }
        progress.finish(&match self.stop.asked() {
            true => format!("stopped and saved, go on with `{}`", self.resume()),
            false => "done".into(),
        });
        Ok(())
    }

    /// Trains one run to its end or until the user stops it; `share` is how much of everything is done at a step.
    fn train_one(&self, job: &Job, place: &str, share: &dyn Fn(u64) -> f64, progress: &mut Progress) -> Outcome {
        let folder = self.out.join(FOLDER).join(&job.name);
        let device = &self.chosen.device;
        let mut run = if self.saved_step(job).is_some() {
            RunFolder::resume(&folder, &job.config, &self.corpus, device)?
        } else {
            // One that was killed before its first checkpoint begins anew.
            remove(&folder)?;
            RunFolder::create(&folder, &job.config, &self.corpus, device)?
        };
        if let Some(before) = run.device_before() {
            progress.say(&format!(
                "warning: {} was begun on \"{before}\"; on \"{}\" its numbers differ, if only in their last bits",
                job.name,
                run.trainer().device().signature()
            ));
        }
        run.trainer().notes().for_each(|note| progress.say(note));
        run.evaluate_at(evaluation_steps(job.steps()));
        run.run(Limit::Steps(job.steps()), &self.stop.flag(), &mut |event| match event {
            Event::Progress(p) => {
                let told = format!("{place}: step {}, loss {:.3}, {:.0} tokens/s", p.step, p.loss, p.tokens_per_second);
                progress.update(share(p.step), None, &told);
            }
            Event::NonFinite { step } => {
                progress.say(&format!("{}, step {step}: a gradient was not finite; that step was left out", job.name));
            }
            _ => {}
        })?;
        if let Some(record) = self.record(job)? {
            let loss = record.final_loss.map_or("not finite".into(), |loss| format!("{loss:.4}"));
            let mark = if record.diverged { " (diverged)" } else { "" };
            progress.say(&format!("{}: held-out loss {loss}{mark}", job.name));
        }
        Ok(())
    }

    /// The step of the run's newest checkpoint.
    fn saved_step(&self, job: &Job) -> Option<u64> {
        let folder = self.out.join(FOLDER).join(&job.name).join("checkpoints");
        CheckpointDir::new(folder, 1).latest_step()
    }

    fn is_finished(&self, job: &Job) -> Outcome<bool> {
        Ok(self.record(job)?.is_some())
    }

    /// What a finished run measured; none for one that isn't finished.
    ///
    /// # Errors
    /// A folder that can't be read.
    pub fn record(&self, job: &Job) -> Outcome<Option<Record>> {
        if self.saved_step(job) != Some(job.steps()) {
            return Ok(None);
        }
        let folder = format!("{FOLDER}/{}", job.name);
        let path = self.out.join(&folder).join("metrics.jsonl");
        let lines = metrics::read(&path)?;
        // A run that was stopped and taken up again was also evaluated where it stopped.
        let planned = evaluation_steps(job.steps());
        let evaluations: Vec<&Metric> =
            lines.iter().filter(|line| line.is_evaluation() && planned.contains(&line.step)).collect();
        let last = evaluations.last().filter(|line| line.step == job.steps());
        let last = last.ok_or_else(|| damaged(&path, "the last evaluation is missing"))?;
        let ignorance = (job.config.model.vocab as f64).ln();
        Ok(Some(Record {
            folder,
            seed: job.config.train.seed,
            steps: job.steps(),
            learning_rate: job.config.optimizer.learning_rate,
            wall_seconds: last.seconds,
            final_loss: last.valid_loss,
            final_bits_per_byte: last.valid_bits_per_byte,
            diverged: last.valid_loss.is_none_or(|loss| loss > ignorance),
            non_finite_readings: lines.iter().filter(|line| line.non_finite).count() as u64,
            points: evaluations
                .iter()
                .map(|line| Evaluation { step: line.step, wall_seconds: line.seconds, loss: line.valid_loss })
                .collect(),
        }))
    }
}

/// Removes the runs of an experiment that another replaces, which are known by their names; whatever else is in `runs/`
/// stays.
///
/// # Errors
/// A folder that can't be removed.
pub fn remove_all(out: &Path) -> Outcome {
    let Ok(entries) = std::fs::read_dir(out.join(FOLDER)) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_a_run(&name) && path.join("config.toml").is_file() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Whether a folder is named as [`Job::new`] names them: `…-n<steps>-s<seed>…`.
fn is_a_run(name: &str) -> bool {
    let number = |part: &str, letter| {
        part.strip_prefix(letter).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts: Vec<&str> = name.split('-').collect();
    parts.windows(2).any(|pair| number(pair[0], 'n') && number(pair[1], 's'))
}

fn remove(folder: &Path) -> Outcome {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritable(folder, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_come_at_the_same_fractions_of_every_run() {
        assert_eq!(evaluation_steps(1), [1]);
        assert_eq!(evaluation_steps(4), [1, 2, 3, 4]);
        let (short, long) = (evaluation_steps(6400), evaluation_steps(64_000));
        assert_eq!((short.len(), short[0], short[12], short[24]), (25, 100, 800, 6400));
        for (a, b) in short.iter().zip(&long) {
            assert!((*b as f64 / *a as f64 / 10.0 - 1.0).abs() < 0.01, "{a} {b}");
        }
    }

    #[test]
    fn only_runs_of_experiments_are_taken_for_such() {
        for name in ["vanilla-n100-s0", "primer_ez-sweep-384-6-4-n5-s12", "vanilla-n100-s3-lr0.01"] {
            assert!(is_a_run(name), "{name}");
        }
        for name in ["train-20260131-154500", "compare-20260131-154500", "vanilla-n-s0", "my-notes", "vanilla-nano-s0"]
        {
            assert!(!is_a_run(name), "{name}");
        }
    }
}
