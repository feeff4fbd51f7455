//! Who holds a candidate, and what becomes of it.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use primer_search::Error;
use primer_search::store::{Candidate, Claim, ClaimOptions, Cost, LEASE, MAX_ATTEMPTS, State, Store, WorkerId};
use primer_search::worker::{self, Control, Event, Outcome, Progress, RunOptions};

use crate::engines::each;
use crate::synthetic::{evaluate, plain, spec};

fn worker(lease: Duration) -> ClaimOptions {
    ClaimOptions { worker: WorkerId::new(), lease, children: None }
}

fn leased(store: &Store, options: &ClaimOptions) -> Candidate {
    match store.claim(options).unwrap() {
        Claim::Leased(candidate) => candidate,
        other => panic!("{other:?}"),
    }
}

const COST: Cost =
    Cost { steps: 3, tokens: 30, flops: 300.0, predicted_seconds: 0.25, training_seconds: 0.375, seconds: 0.5 };

#[test]
fn nothing_is_bred_before_the_seed_is_measured() {
    each(|engine| {
        let store = engine.study(&spec());
        let seed = leased(&store, &worker(LEASE));
        assert_eq!((seed.child_no, seed.attempt, seed.parent), (0, 1, None));
        assert_eq!(store.claim(&worker(LEASE)).unwrap(), Claim::Wait);
        store.finish(&seed, plain(2.0), COST).unwrap().unwrap();
        let child = leased(&store, &worker(LEASE));
        assert_eq!((child.child_no, child.parent, child.watermark), (1, Some(0), 0));
        let child = leased(&store, &worker(LEASE));
        assert_eq!((child.child_no, child.parent, child.watermark), (2, Some(0), 0));
    });
}

#[test]
fn who_lost_the_lease_changes_nothing() {
    each(|engine| {
        let store = engine.study(&spec());
        let late = leased(&store, &worker(Duration::ZERO));
        std::thread::sleep(Duration::from_millis(3));
        let taken = leased(&store, &worker(LEASE));
        assert_eq!((taken.child_no, taken.attempt), (0, 2));
        assert!(!store.renew(&late, LEASE, COST).unwrap());
        assert_eq!(store.finish(&late, plain(1.0), COST).unwrap(), None);
        assert_eq!(store.fail(&late, "too late", COST).unwrap(), None);
        assert!(!store.release(&late, COST).unwrap());
        assert!(store.renew(&taken, LEASE, COST).unwrap());
        let done = store.finish(&taken, plain(2.0), COST).unwrap().unwrap();
        assert_eq!((done.state, done.fitness, done.done_seq), (State::Done, Some(2.0), Some(0)));
        // A second time changes nothing, and says what the first one did: its answer may have been lost.
        let twice = Cost { steps: 9, ..COST };
        assert_eq!(store.finish(&taken, plain(1.0), twice).unwrap(), Some(done));
        let status = store.status().unwrap();
        assert_eq!((status.useful, status.wasted), (COST, COST));
        assert_eq!(status.seed_fitness, Some(2.0));
    });
}

#[test]
fn a_candidate_that_kills_its_workers_is_given_up() {
    each(|engine| {
        let store = engine.study(&spec());
        for attempt in 1..=MAX_ATTEMPTS {
            assert_eq!(leased(&store, &worker(Duration::ZERO)).attempt, attempt);
            std::thread::sleep(Duration::from_millis(3));
        }
        match store.claim(&worker(LEASE)).unwrap() {
            Claim::Settled(seed) => {
                assert_eq!((seed.state, seed.fitness), (State::Failed, None));
                assert!(seed.error.unwrap().contains("died"));
            }
            other => panic!("{other:?}"),
        }
        // It was the seed program, without which there is no study.
        match store.claim(&worker(LEASE)) {
            Err(Error::Seed { reason }) => assert!(reason.contains("died")),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_released_candidate_keeps_its_attempts() {
    each(|engine| {
        let store = engine.study(&spec());
        for attempt in 1..=2 * MAX_ATTEMPTS {
            let seed = leased(&store, &worker(LEASE));
            assert_eq!(seed.attempt, attempt);
            assert!(store.release(&seed, COST).unwrap());
        }
        assert_eq!(store.status().unwrap().wasted.steps, u64::from(6 * MAX_ATTEMPTS));
    });
}

#[test]
fn failed_attempts_are_repeated_and_then_the_fault_is_told() {
    each(|engine| {
        let store = engine.study(&spec());
        let go = AtomicBool::new(false);
        let mut retries = 0;
        let mut calls = 0;
        // Child 1 fails twice, everything else works; the loss of a device doesn't stop the search.
        let options = RunOptions { children: Some(3), ..RunOptions::default() };
        let evaluate_badly = |candidate: &Candidate, report: &mut dyn FnMut(_) -> _| {
            calls += u32::from(candidate.child_no == 1);
            if candidate.child_no == 1 && calls <= 2 {
                return Outcome::Failed { reason: "device lost".to_owned(), cost: COST };
            }
            evaluate(candidate, report)
        };
        worker::run(&store, &options, &go, evaluate_badly, |event| {
            retries += u32::from(matches!(event, Event::Retry { child_no: 1, .. }));
        })
        .unwrap();
        assert_eq!(retries, 2);
        let child = store.candidate(1).unwrap().unwrap();
        assert_eq!((child.attempt, child.state.is_finished()), (3, true));
        assert_ne!(child.state, State::Failed);

        let options = RunOptions::default();
        let always =
            |_: &Candidate, _: &mut dyn FnMut(_) -> _| Outcome::Failed { reason: "no device".to_owned(), cost: COST };
        match worker::run(&store, &options, &go, always, |_| {}) {
            Err(Error::Evaluation { reason, .. }) => assert_eq!(reason, "no device"),
            other => panic!("{other:?}"),
        }
        let (counts, _) = store.standing().unwrap();
        assert_eq!((counts.failed, counts.leased), (2, 0));
    });
}

/// A machine without what the study needs joins: nothing is lost but its own time.
#[test]
fn a_worker_that_can_evaluate_nothing_takes_no_attempt() {
    each(|engine| {
        let store = engine.study(&spec());
        let go = AtomicBool::new(false);
        let broken =
            |_: &Candidate, _: &mut dyn FnMut(_) -> _| Outcome::Broken { reason: "no device".to_owned(), cost: COST };
        for _ in 0..5 {
            match worker::run(&store, &RunOptions::default(), &go, broken, |_| {}) {
                Err(Error::Worker { reason }) => assert_eq!(reason, "no device"),
                other => panic!("{other:?}"),
            }
        }
        let seed = store.candidate(0).unwrap().unwrap();
        assert_eq!(seed.state, State::Pending);
        let options = RunOptions { children: Some(2), ..RunOptions::default() };
        worker::run(&store, &options, &go, evaluate, |_| {}).unwrap();
        assert_eq!(store.candidate(0).unwrap().unwrap().state, State::Done);
    });
}

#[test]
fn a_panic_gives_the_candidate_back() {
    each(|engine| {
        let store = engine.study(&spec());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let options = RunOptions::default();
            let bug = |_: &Candidate, report: &mut dyn FnMut(Progress) -> Control| {
                let _ = report(Progress { cost: COST, loss: None });
                panic!("a bug")
            };
            worker::run(&store, &options, &AtomicBool::new(false), bug, |_| {})
        }));
        assert!(panicked.is_err());
        let seed = store.candidate(0).unwrap().unwrap();
        assert_eq!((seed.state, seed.attempt), (State::Pending, 1));
        assert!(seed.error.is_some());
        assert_eq!(store.status().unwrap().wasted, COST);
    });
}

/// More operations than 64 bits count, as the search of the paper has.
#[test]
fn the_cost_of_a_large_study_is_summed() {
    each(|engine| {
        let store = engine.study(&spec());
        let huge = Cost { flops: 9e18, ..COST };
        for _ in 0..3 {
            assert!(store.release(&leased(&store, &worker(LEASE)), huge).unwrap());
        }
        assert_eq!(store.status().unwrap().wasted.flops, 2.7e19);
    });
}

/// The answer to a claim may be lost on its way: the worker that asks again gets what it was given.
#[test]
fn a_worker_holds_one_candidate() {
    each(|engine| {
        let store = engine.study(&spec());
        let own = worker(LEASE);
        let seed = leased(&store, &own);
        assert_eq!(leased(&store, &own), seed);
        store.finish(&seed, plain(2.0), COST).unwrap().unwrap();
        let child = leased(&store, &own);
        let other = leased(&store, &worker(LEASE));
        assert_eq!((child.child_no, other.child_no), (1, 2));
        assert_eq!(leased(&store, &own), child);
        assert_eq!(store.status().unwrap().wasted, Cost::default());
    });
}
