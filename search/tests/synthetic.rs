//! A study whose evaluations cost nothing: the fitness is a hash of the program.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use primer_search::dna::seeds;
use primer_search::store::{Candidate, Cost, State, Store, Verdict};
use primer_search::study::{Preset, StudyLimits, StudySpec, sha256_hex};
use primer_search::worker::{Control, Event, Outcome, Progress, RunOptions, RunSummary, run as run_worker};

/// A small study from the Transformer.
pub fn spec() -> StudySpec {
    let seed = seeds::transformer().unwrap().to_string();
    StudySpec {
        population: 8,
        tournament: 3,
        limits: StudyLimits::default(),
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
    match hash % 11 {
        _ if candidate.child_no == 0 => Verdict::Fitness(2.5),
        0 => Verdict::Fitness(f64::NAN),
        1 => Verdict::Rejected("a bad hash".to_owned()),
        _ => Verdict::Fitness(1.0 + f64::from(hash) / f64::from(u32::MAX)),
    }
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

/// A store in which one worker made `children` children undisturbed.
pub fn undisturbed(path: &Path, children: u64) -> Store {
    let store = Store::create(path, &spec()).unwrap();
    run(&store, children);
    store
}

/// All candidates without what may differ between runs: worker, attempts, moments.
pub fn course(store: &Store) -> Vec<Candidate> {
    let mut all = Vec::new();
    loop {
        let page = store.candidates(all.len() as u64).unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.into_iter().map(|candidate| Candidate {
            worker: None,
            attempt: 0,
            finished_ms: None,
            ..candidate
        }));
    }
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
