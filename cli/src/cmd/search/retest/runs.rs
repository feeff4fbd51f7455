//! The runs of a retest, several at a time.

use super::plan::Retest;
use crate::cmd::device;
use crate::cmd::search::existing;
use crate::cmd::search::work::in_threads;
use crate::failure::{Failure, Outcome};
use crate::terminal::Progress;
use crate::typed::command_line;
use primer_models::text::{Corpus, TokenSet};
use primer_models::train::Event;
use primer_models::{RunConfig, Trainer};
use primer_search::Evaluator;
use primer_search::dna::Dna;
use primer_search::retest::{Measurement, Setting, Task};
use primer_search::worker::Control;
use primer_tensor::Device;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a contestant's runs in one setting have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What is tested.
    pub setting: Setting,
    /// The contestant's name.
    pub name: String,
    /// An earlier contestant that is the same computation here.
    pub same_as: Option<String>,
    /// Everything in force but learning rate and seed.
    pub config: RunConfig,
}

/// What workers need to do a task.
pub struct Bench<'a> {
    /// The contestants; none while programs are selected.
    pub entries: &'a [Entry],
    /// The text of the test, with the setting's tokens.
    pub corpus: &'a Corpus,
}

impl Retest {
    /// Does what isn't done of `tasks` until the user stops it; whether all is done.
    ///
    /// # Errors
    /// A device or file that fails.
    pub fn run(&self, what: &str, tasks: &[Task], bench: &Bench<'_>) -> Outcome<bool> {
        let left: Vec<&Task> = tasks.iter().filter(|task| self.measured(task).is_none()).collect();
        if left.is_empty() {
            return Ok(true);
        }
        if self.stop.asked() {
            return Ok(false);
        }
        let next = AtomicUsize::new(0);
        let workers = usize::from(self.workers).min(left.len());
        // The part of each worker's run that is done, and the bar.
        let live = Mutex::new((vec![0.0; workers], 0usize, Progress::new(what)));
        let lock = || live.lock().unwrap_or_else(PoisonError::into_inner);
        let work = |worker: usize| -> Outcome {
            let device = device::open(&self.compute.of_a_worker())?.device;
            let mut evaluators = BTreeMap::new();
            while !self.stop.asked() {
                let Some(task) = left.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let show = |part: f64, loss: Option<f64>| {
                    let mut live = lock();
                    let (parts, done, bar) = &mut *live;
                    parts[worker] = part;
                    let share = (*done as f64 + parts.iter().sum::<f64>()) / left.len() as f64;
                    let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.3}"));
                    bar.update(share, None, &format!("{} of {} runs; {}{loss}", *done, left.len(), describe(task)));
                };
                let measurement = match task {
                    Task::Select { study, child, seed } => {
                        if !evaluators.contains_key(study) {
                            let evaluator = Evaluator::new(self.stores[*study].spec(), &self.corpus, &device)?;
                            evaluators.insert(*study, evaluator);
                        }
                        self.select(task, &evaluators[study], *study, *child, *seed, &show)?
                    }
                    Task::Tune { setting, name, learning_rate, seed }
                    | Task::Test { setting, name, learning_rate, seed } => {
                        let entry = bench.entries.iter().find(|e| e.setting == *setting && e.name == *name);
                        let entry = entry.ok_or_else(|| Failure::new(format!("{name} has no model")))?;
                        let mut config = entry.config.clone();
                        config.optimizer.learning_rate = *learning_rate;
                        config.train.seed = *seed;
                        self.test(task, &config, bench.corpus, &device, &show)?
                    }
                };
                let Some(measurement) = measurement else { break };
                let loss = measurement.loss.map_or("not finite".into(), |loss| format!("{loss:.4}"));
                self.add(measurement)?;
                let mut live = lock();
                live.0[worker] = 0.0;
                live.1 += 1;
                live.2.say(&format!("{}: held-out loss {loss}", describe(task)));
            }
            Ok(())
        };
        let results = in_threads(workers, work);
        let (_, _, bar) = live.into_inner().unwrap_or_else(PoisonError::into_inner);
        let complete = tasks.iter().all(|task| self.measured(task).is_some());
        let resume = || command_line(["search", "retest", "--resume", "--out", &self.out.to_string_lossy()]);
        bar.finish(&if complete { "done".into() } else { format!("stopped, go on with `{}`", resume()) });
        results.into_iter().collect::<Outcome<Vec<()>>>()?;
        Ok(complete)
    }

    fn select(
        &self,
        task: &Task,
        evaluator: &Evaluator,
        study: usize,
        child: u64,
        seed: u64,
        show: &dyn Fn(f64, Option<f64>),
    ) -> Outcome<Option<Measurement>> {
        let began = Instant::now();
        let dna = self.program(study, child)?;
        let all = evaluator.steps_to_the_end(&dna)? as f64;
        let done = evaluator.select(&dna, seed, &mut |progress| {
            show(progress.cost.steps as f64 / all, progress.loss);
            if self.stop.asked() { Control::Stop } else { Control::Continue }
        })?;
        Ok(done.map(|(loss, steps)| Measurement {
            task: task.clone(),
            loss: Some(loss).filter(|loss| loss.is_finite()),
            steps,
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    fn test(
        &self,
        task: &Task,
        config: &RunConfig,
        corpus: &Corpus,
        device: &Device,
        show: &dyn Fn(f64, Option<f64>),
    ) -> Outcome<Option<Measurement>> {
        let began = Instant::now();
        let steps = config.train.steps;
        let mut trainer = Trainer::new(config, corpus, device)?;
        trainer.run(steps, &self.stop.flag(), &mut |event| {
            if let Event::Progress(p) = event {
                show(p.step as f64 / steps as f64, Some(p.loss));
            }
        })?;
        if trainer.step() < steps {
            return Ok(None);
        }
        let held_out = TokenSet::valid(corpus)?;
        let (half, all) = (held_out.len() / 2, held_out.len());
        let held_out = held_out.narrow(if matches!(task, Task::Tune { .. }) { 0..half } else { half..all });
        let loss = trainer.language_model()?.evaluate(&held_out)?.loss_nats;
        Ok(Some(Measurement {
            task: task.clone(),
            loss: Some(loss).filter(|loss| loss.is_finite()),
            steps,
            seconds: began.elapsed().as_secs_f64(),
        }))
    }

    /// A candidate's program.
    ///
    /// # Errors
    /// A store that doesn't have it.
    pub fn program(&self, study: usize, child: u64) -> Outcome<Dna> {
        Ok(existing(&self.stores[study], child)?.dna()?)
    }
}

/// A run in a few words.
fn describe(task: &Task) -> String {
    match task {
        Task::Select { child, seed, .. } => format!("candidate {child} again, seed {seed}"),
        Task::Tune { setting, name, learning_rate, .. } => {
            format!("{}, {name}, is {learning_rate} the best rate", setting.name())
        }
        Task::Test { setting, name, learning_rate, seed } => {
            format!("{}, {name}, rate {learning_rate}, seed {seed}", setting.name())
        }
    }
}
