//! A study whose evaluations cost nothing: the fitness is a hash of the program.

use std::sync::atomic::AtomicBool;

use primer_search::dna::seeds;
use primer_search::store::{Candidate, Cost, Mark, State, Store, Verdict};
use primer_search::study::{Fitness, Preset, StudyLimits, StudySpec, sha256_hex};
use primer_search::worker::{Control, Event, Outcome, Progress, RunOptions, RunSummary, run as run_worker};

/// A small study from the Transformer.
pub fn spec() -> StudySpec {
    let seed = seeds::transformer().unwrap().to_string();
    StudySpec {
        population: 8,
        tournament: 3,
        limits: StudyLimits::default(),
        fitness: Fitness { hurdles: 3, window: 8, seed_runs: 2, ..Fitness::steps(1) },
        ..StudySpec::preset(Preset::Small, seed, sha256_hex("corpus"), 11)
    }
}

/// Four steps, then a result that the program alone decides: mostly a number, sometimes NaN or a
/// rejection.
pub fn evaluate(candidate: &Candidate, report: &mut dyn FnMut(Progress) -> Control) -> Outcome {
    let mut cost = Cost::default();
    for _ in 0..4 {
        cost.steps += 1;
        cost.tokens += 64;
        cost.flops += 1e3;
        cost.predicted_seconds += 0.125;
        cost.training_seconds += 0.2;
        cost.seconds += 0.25;
        let progress = Progress { cost, loss: None };
        if report(progress) == Control::Stop {
            return Outcome::Stopped { cost };
        }
    }
    let verdict = verdict(candidate);
    Outcome::Result { verdict, cost }
}

fn verdict(candidate: &Candidate) -> Verdict {
    let hash = u32::from_str_radix(&sha256_hex(&candidate.program)[..8], 16).unwrap();
    let end = 1.0 + f64::from(hash) / f64::from(u32::MAX);
    match hash % 11 {
        _ if candidate.child_no == 0 => seed_verdict(),
        // Diverges on the way to its second mark, if it goes on after the first.
        0 => match hurdled(candidate, end) {
            Verdict::Fitness { passed: 1.., marks, .. } => {
                // Or at it, which is a mark without a loss.
                let at_it = hash.is_multiple_of(2).then_some(Mark { run: 0, mark: 1, loss: None });
                Verdict::Fitness { loss: f64::NAN, passed: 1, marks: marks[..1].iter().copied().chain(at_it).collect() }
            }
            stopped => stopped,
        },
        1 => Verdict::Rejected("a bad hash".to_owned()),
        _ => hurdled(candidate, end),
    }
}

/// The losses fall by 0.1 from mark to mark, and the first above its bar is the fitness.
fn hurdled(candidate: &Candidate, end: f64) -> Verdict {
    let mut marks = Vec::new();
    for mark in 0..4 {
        let loss = end + 0.1 * f64::from(3 - mark);
        marks.push(Mark { run: 0, mark, loss: Some(loss) });
        let bar = candidate.bars.get(mark as usize).copied().flatten();
        if mark == 3 || bar.is_some_and(|bar| loss > bar) {
            return Verdict::Fitness { loss, passed: mark, marks };
        }
    }
    unreachable!("the last mark is the end")
}

/// Two runs, 2.4 and 2.6 at the end.
fn seed_verdict() -> Verdict {
    let loss = |run: u32, mark: u32| 2.4 + 0.2 * f64::from(run) + 0.1 * f64::from(3 - mark);
    let runs = (0..2).flat_map(|run| (0..4).map(move |mark| Mark { run, mark, loss: Some(loss(run, mark)) }));
    Verdict::Fitness { loss: (loss(0, 3) + loss(1, 3)) / 2.0, passed: 3, marks: runs.collect() }
}

/// The result of a candidate that has no losses at marks.
pub fn plain(loss: f64) -> Verdict {
    Verdict::Fitness { loss, passed: 0, marks: Vec::new() }
}

/// Runs one worker until the study has `children` children.
pub fn run(store: &Store, children: u64) -> RunSummary {
    run_with(store, children, &AtomicBool::new(false), |_| {})
}

/// The same with a way to stop it.
pub fn run_with(store: &Store, children: u64, stop: &AtomicBool, on_event: impl FnMut(&Event)) -> RunSummary {
    let options = RunOptions { children: Some(children), ..RunOptions::default() };
    run_worker(store, &options, stop, evaluate, on_event).unwrap()
}

/// All candidates.
pub fn candidates(store: &Store) -> Vec<Candidate> {
    let mut all = Vec::new();
    loop {
        let page = store.candidates(all.len() as u64).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// All candidates without what may differ between runs: worker, attempts, moments.
pub fn course(store: &Store) -> Vec<Candidate> {
    let same = |candidate| Candidate { worker: None, attempt: 0, spent: 0, finished_ms: None, ..candidate };
    candidates(store).into_iter().map(same).collect()
}

/// Children 1..=`children` are each there once and finished, and the log is complete.
pub fn assert_complete(store: &Store, children: u64) {
    let course = course(store);
    let numbers: Vec<u64> = course.iter().map(|candidate| candidate.child_no).collect();
    assert_eq!(numbers, (0..=children).collect::<Vec<_>>());
    let mut places: Vec<u64> = course.iter().filter_map(|c| c.done_seq).collect();
    places.sort_unstable();
    assert_eq!(places, (0..=children).collect::<Vec<_>>());
    assert!(course.iter().all(|candidate| candidate.state != State::Failed));
}
