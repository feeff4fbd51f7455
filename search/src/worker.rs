//! One worker: takes candidates from the store, has them evaluated, puts the results in.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::{Best, Candidate, Claim, ClaimOptions, Cost, Counts, LEASE, State, Store, Verdict, WorkerId};

/// After a pause of its own, a worker waits so long at most, a third of the lease where that is less, before it claims:
/// whoever was frozen with it, as all are by a machine that sleeps, renews meanwhile what it holds.
const SETTLE: Duration = Duration::from_secs(10);

/// How long to wait where another worker has the seed program.
const POLL: Duration = Duration::from_millis(20);

/// Attempts that may go wrong one after the other before the fault is taken to be this worker's.
const MAX_FAILURES: u32 = 6;

/// Limits of one call of [`run`], besides the study's own.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Stop once the study has so many children, those of earlier runs included.
    pub children: Option<u64>,
    /// Stop after so long; the candidate in hand is put back.
    pub time: Option<Duration>,
    /// How long without progress until another worker may take the candidate in hand.
    pub lease: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { children: None, time: None, lease: LEASE }
    }
}

/// What an evaluation reports while it goes on, at each step or so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Spent so far in this attempt.
    pub cost: Cost,
    /// The latest training loss in nats a token.
    pub loss: Option<f64>,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Control {
    /// Go on.
    Continue,
    /// Return [`Outcome::Stopped`] soon.
    Stop,
}

/// How an evaluation ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With a result.
    Result {
        /// The fitness or the reason for none.
        verdict: Verdict,
        /// Spent in this attempt.
        cost: Cost,
    },
    /// With a fault that is not the program's: a lost device, no memory.
    Failed {
        /// What went wrong.
        reason: String,
        /// Spent in this attempt.
        cost: Cost,
    },
    /// With a fault of the worker's: the seed program fails as well. The candidate loses no attempt.
    Broken {
        /// What went wrong.
        reason: String,
        /// Spent in this attempt.
        cost: Cost,
    },
    /// Early, as told by [`Control::Stop`].
    Stopped {
        /// Spent in this attempt.
        cost: Cost,
    },
}

/// What happens in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A candidate is about to be evaluated.
    Started {
        /// The candidate.
        candidate: Candidate,
    },
    /// The candidate in hand goes on.
    Progress {
        /// The candidate's number.
        child_no: u64,
        /// How far it is.
        progress: Progress,
    },
    /// A candidate is finished: evaluated, rejected, failed, or a twin's result taken.
    Finished {
        /// The candidate, with its fitness, its state and the mutations that made it.
        candidate: Candidate,
        /// The best so far.
        best: Option<Best>,
        /// All candidates of the study by state.
        counts: Counts,
    },
    /// An attempt went wrong; the candidate waits for another one.
    Retry {
        /// The candidate's number.
        child_no: u64,
        /// What went wrong.
        reason: String,
    },
    /// Another worker has taken the candidate in hand over; nothing is lost but the work.
    LeaseLost {
        /// The candidate's number.
        child_no: u64,
    },
    /// The candidate in hand was put back, since the run stops.
    Released {
        /// The candidate's number.
        child_no: u64,
    },
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The study's limit or that of [`RunOptions::children`] is reached.
    Limit,
    /// The time of [`RunOptions::time`] is over.
    Time,
    /// It was told to.
    Stopped,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Why it ended.
    pub end: End,
    /// Candidates that this worker finished, evaluated or not.
    pub finished: u64,
}

/// Works on the study until a limit is reached or `stop` is set.
///
/// `evaluate` gets a candidate and a function to report to, and must return soon once that says
/// [`Control::Stop`]. The lease is prolonged by these reports: an evaluation that hangs loses it.
/// A candidate that is stopped, by `stop` or by the time, waits for the next run and loses no
/// attempt; one whose evaluation panics is recorded as failed once, and the panic goes on.
///
/// # Errors
///
/// [`Error::Seed`] if the seed program can't be evaluated, [`Error::Evaluation`] after several
/// failed attempts in a row, [`Error::Worker`] where nothing can be evaluated here, and those of the store.
pub fn run(
    store: &Store,
    options: &RunOptions,
    stop: &AtomicBool,
    mut evaluate: impl FnMut(&Candidate, &mut dyn FnMut(Progress) -> Control) -> Outcome,
    mut on_event: impl FnMut(&Event),
) -> Result<RunSummary> {
    let clock = Clock { stop, start: Instant::now(), time: options.time };
    let claim_options = ClaimOptions { worker: WorkerId::new(), lease: options.lease, children: options.children };
    let mut pulse = Pulse::new(options.lease, SystemTime::now());
    let mut finished = 0;
    let mut failures = 0;
    loop {
        if let Some(end) = clock.end() {
            return Ok(RunSummary { end, finished });
        }
        pulse.beat(SystemTime::now());
        if pulse.is_settling(SystemTime::now()) {
            std::thread::sleep(POLL);
            continue;
        }
        let candidate = match store.claim(&claim_options)? {
            Claim::Leased(candidate) => candidate,
            Claim::Settled(candidate) => {
                finished += 1;
                on_event(&finished_event(store, candidate)?);
                continue;
            }
            Claim::Wait => {
                std::thread::sleep(POLL);
                continue;
            }
            Claim::Over => {
                let end = End::Limit;
                return Ok(RunSummary { end, finished });
            }
        };
        let held = Held::new(store, candidate);
        let event = attempt(held, options.lease, &clock, &mut pulse, &mut evaluate, &mut on_event)?;
        match &event {
            Event::Finished { candidate, .. } => {
                finished += 1;
                failures = match candidate.state {
                    State::Failed => failures + 1,
                    _ => 0,
                };
            }
            Event::Retry { .. } => failures += 1,
            Event::Released { .. } => {
                on_event(&event);
                let end = clock.end().unwrap_or(End::Stopped);
                return Ok(RunSummary { end, finished });
            }
            _ => {}
        }
        on_event(&event);
        if failures >= MAX_FAILURES {
            let (child_no, reason) = match event {
                Event::Retry { child_no, reason } => (child_no, reason),
                Event::Finished { candidate, .. } => (candidate.child_no, candidate.error.unwrap_or_default()),
                _ => continue,
            };
            return Err(Error::Evaluation { child_no, failures, reason });
        }
    }
}

/// Evaluates one candidate and records how that ended.
fn attempt(
    held: Held<'_>,
    lease: Duration,
    clock: &Clock<'_>,
    pulse: &mut Pulse,
    evaluate: &mut impl FnMut(&Candidate, &mut dyn FnMut(Progress) -> Control) -> Outcome,
    on_event: &mut impl FnMut(&Event),
) -> Result<Event> {
    let (store, child_no) = (held.store, held.candidate.child_no);
    on_event(&Event::Started { candidate: held.candidate.clone() });
    let mut renewed = Instant::now();
    let mut lost = false;
    let mut broken = None;
    let outcome = evaluate(&held.candidate, &mut |progress| {
        pulse.beat(SystemTime::now());
        held.spent.set(progress.cost);
        if clock.end().is_some() || lost || broken.is_some() {
            return Control::Stop;
        }
        on_event(&Event::Progress { child_no, progress });
        if renewed.elapsed() >= lease / 3 {
            match store.renew(&held.candidate, lease, progress.cost) {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => lost = true,
                Err(error) => broken = Some(error),
            }
        }
        match lost || broken.is_some() {
            true => Control::Stop,
            false => Control::Continue,
        }
    });
    if let Some(error) = broken {
        return Err(error);
    }
    let candidate = held.settle();
    let event = match outcome {
        Outcome::Result { verdict, cost } => {
            store.finish(&candidate, verdict, cost)?.map(|candidate| finished_event(store, candidate)).transpose()?
        }
        Outcome::Failed { reason, cost } => match store.fail(&candidate, &reason, cost)? {
            Some(candidate) if candidate.state.is_finished() => Some(finished_event(store, candidate)?),
            now => now.map(|_| Event::Retry { child_no, reason }),
        },
        Outcome::Broken { reason, cost } => {
            store.release(&candidate, cost)?;
            return Err(Error::Worker { reason });
        }
        Outcome::Stopped { cost } => store.release(&candidate, cost)?.then_some(Event::Released { child_no }),
    };
    Ok(event.unwrap_or(Event::LeaseLost { child_no }))
}

fn finished_event(store: &Store, candidate: Candidate) -> Result<Event> {
    let (counts, best) = store.standing()?;
    Ok(Event::Finished { candidate, best, counts })
}

/// Notices that its worker was frozen: by the machine's sleep, or by a signal that stops a process.
#[derive(Debug)]
struct Pulse {
    lease: Duration,
    /// By the clock on the wall, which goes on while a machine sleeps.
    last: SystemTime,
    thawed: Option<SystemTime>,
}

impl Pulse {
    fn new(lease: Duration, now: SystemTime) -> Pulse {
        Pulse { lease, last: now, thawed: None }
    }

    /// To be called often. A pause in which leases may have run out is taken for a freeze.
    fn beat(&mut self, now: SystemTime) {
        if now.duration_since(self.last).is_ok_and(|pause| pause >= self.lease / 3) {
            self.thawed = Some(now);
        }
        self.last = now;
    }

    /// Whether others that were frozen may not yet have renewed their leases.
    fn is_settling(&self, now: SystemTime) -> bool {
        let since = self.thawed.and_then(|thawed| now.duration_since(thawed).ok());
        since.is_some_and(|since| since < SETTLE.min(self.lease / 3))
    }
}

/// When to stop.
struct Clock<'a> {
    stop: &'a AtomicBool,
    start: Instant,
    time: Option<Duration>,
}

impl Clock<'_> {
    fn end(&self) -> Option<End> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(End::Stopped);
        }
        self.time.is_some_and(|time| self.start.elapsed() >= time).then_some(End::Time)
    }
}

/// A leased candidate. Where an evaluation panics, or the store fails in the middle, it is given
/// back as a failed attempt instead of being held by a living process that forgot it.
struct Held<'a> {
    store: &'a Store,
    candidate: Candidate,
    spent: Cell<Cost>,
    settled: bool,
}

impl<'a> Held<'a> {
    fn new(store: &'a Store, candidate: Candidate) -> Held<'a> {
        Held { store, candidate, spent: Cell::default(), settled: false }
    }

    /// The candidate, to be recorded by the caller.
    fn settle(mut self) -> Candidate {
        self.settled = true;
        self.candidate.clone()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let failed = self.store.fail(&self.candidate, "the evaluation broke off", self.spent.get());
        if let Err(error) = failed {
            tracing::warn!(%error, "giving a candidate back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_was_frozen_lets_others_renew_first() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Duration::from_secs(120), start);
        for second in 1..100 {
            pulse.beat(at(second));
            assert!(!pulse.is_settling(at(second)));
        }
        // Ten minutes' sleep.
        pulse.beat(at(700));
        assert!(pulse.is_settling(at(700)) && pulse.is_settling(at(709)) && !pulse.is_settling(at(710)));
        for second in 701..730 {
            pulse.beat(at(second));
        }
        assert!(!pulse.is_settling(at(730)));
        // A clock that is set back is no pause.
        pulse.beat(at(10));
        assert!(!pulse.is_settling(at(10)));
    }
}
