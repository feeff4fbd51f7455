//! The seed program's runs. They don't depend on each other, and nothing can be bred before they are done.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Instant;

use super::{Course, Evaluator, Trained};
use crate::error::{Error, Result};
use crate::leak::Causal;
use crate::store::{Cost, Mark};
use crate::worker::{Control, Progress};

/// One run.
struct Run {
    number: u32,
    trained: Result<Trained>,
    cost: Cost,
    marks: Vec<Mark>,
}

impl Evaluator {
    /// All runs of the seed program, with their mean loss. So many at a time as there are
    /// [`Evaluator::with_seed_threads`]; what comes out doesn't depend on how many that is.
    pub(super) fn measure_seed(
        &self,
        plan: &Causal,
        cost: &mut Cost,
        marks: &mut Vec<Mark>,
        report: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Trained> {
        let runs = self.spec.fitness.seed_runs;
        let (next, stop) = (AtomicU32::new(0), AtomicBool::new(false));
        let work = |sender: &SyncSender<(u32, Progress)>| {
            let mut done = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= runs {
                    break;
                }
                done.push(self.run_seed(plan, number, &mut |progress| {
                    // Whoever listens is gone only if it panics.
                    let _ = sender.send((number, progress));
                    if stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Continue }
                }));
            }
            done
        };
        let mut done = thread::scope(|scope| {
            // Without room, so that a run goes on when its report is read, and stops where it is told to.
            let (sender, receiver) = mpsc::sync_channel(0);
            let spawn = |_| {
                let sender = sender.clone();
                let work = &work;
                thread::Builder::new().spawn_scoped(scope, move || work(&sender))
            };
            let first = spawn(0).map_err(|error| {
                let message = format!("the system refuses a thread: {error}");
                Error::Tensor(primer_tensor::Error::Device { message })
            })?;
            // And as many more as the system grants.
            let more = (1..self.seed_threads.min(runs)).map_while(|i| spawn(i).ok());
            let threads: Vec<_> = std::iter::once(first).chain(more).collect();
            drop(sender);
            let mut spent = vec![Cost::default(); runs as usize];
            for (number, Progress { cost, loss }) in receiver {
                spent[number as usize] = cost;
                if let Control::Stop = report(Progress { cost: spent.iter().copied().sum(), loss }) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            Ok::<_, Error>(joined.flatten().collect::<Vec<Run>>())
        })?;
        done.sort_by_key(|run| run.number);
        *cost = done.iter().map(|run| run.cost).sum();
        let (mut sum, complete) = (0.0, done.len() == runs as usize);
        for run in done {
            marks.extend(run.marks);
            match run.trained? {
                Trained::Loss { loss, .. } => sum += loss,
                Trained::Stopped => return Ok(Trained::Stopped),
            }
        }
        if !complete {
            return Ok(Trained::Stopped);
        }
        Ok(Trained::Loss { loss: sum / f64::from(runs), passed: self.spec.fitness.hurdles })
    }

    fn run_seed(&self, plan: &Causal, number: u32, report: &mut dyn FnMut(Progress) -> Control) -> Run {
        let (began, mut cost, mut marks) = (Instant::now(), Cost::default(), Vec::new());
        let course = Course { run: number, seed: self.spec.seed.wrapping_add(number.into()), bars: &[] };
        let trained = self.train(plan, course, &mut cost, &mut marks, &mut |cost, loss| {
            cost.seconds = began.elapsed().as_secs_f64();
            report(Progress { cost: *cost, loss })
        });
        cost.seconds = began.elapsed().as_secs_f64();
        Run { number, trained, cost, marks }
    }
}
