//! A search that is stopped and goes on is the search that was never stopped.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use primer_search::evolve::{Verification, verify};
use primer_search::store::{Candidate, State, Store};
use primer_search::study::{StudyLimits, StudySpec};
use primer_search::worker::{self, End, Event, RunOptions};

use crate::engines::{at, each};
use crate::synthetic::{self, assert_complete, course, evaluate, run, run_with, spec};

#[test]
fn two_halves_are_one_whole() {
    each(|engine| {
        let whole = engine.undisturbed(60);
        let location = at(&engine.place());
        let summary = run(&Store::create(&location, &spec()).unwrap(), 30);
        assert_eq!((summary.end, summary.finished), (End::Limit, 31));
        let halves = Store::open_or_create(&location, &spec()).unwrap();
        let summary = run(&halves, 60);
        assert_eq!((summary.end, summary.finished), (End::Limit, 30));
        assert_eq!(course(&halves), course(&whole));
        assert_complete(&halves, 60);
        assert_eq!(verify(&halves).unwrap(), Verification::Same { children: 60 });
        // The course is not a trivial one.
        let states: Vec<State> = course(&whole).iter().map(|c| c.state).collect();
        assert!(states.contains(&State::Done) && states.contains(&State::Rejected));
        let parents = course(&whole).iter().filter_map(|c| c.parent).filter(|&p| p > 0).count();
        assert!(parents > 20, "{parents} children of children");
    });
}

#[test]
fn stopping_in_the_middle_of_candidates_costs_no_attempt() {
    each(|engine| {
        let whole = engine.undisturbed(12);
        let location = at(&engine.place());
        let mut stops = 0;
        loop {
            let store = Store::open_or_create(&location, &spec()).unwrap();
            let stop = AtomicBool::new(false);
            let released = Cell::new(false);
            // Stops at step 1 to 6 of the run, of which four lie in one candidate: more stops than it
            // has attempts.
            let mut steps = 0;
            let summary = run_with(&store, 12, &stop, |event| match event {
                Event::Progress { .. } => {
                    steps += 1;
                    if steps == 1 + stops % 6 {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Event::Released { .. } => released.set(true),
                _ => {}
            });
            if summary.end == End::Limit {
                assert!(!released.get());
                break;
            }
            assert_eq!(summary.end, End::Stopped);
            let (counts, _) = store.standing().unwrap();
            assert_eq!((counts.leased, counts.pending), (0, u64::from(released.get())));
            stops += 1;
        }
        assert!(stops > 5);
        let stopped = Store::open(&location).unwrap();
        assert_eq!(course(&stopped), course(&whole));
        assert_complete(&stopped, 12);
        let status = stopped.status().unwrap();
        assert!(status.wasted.steps > 0);
        assert_eq!(status.useful, whole.status().unwrap().useful);
    });
}

#[test]
fn two_workers_share_a_store() {
    each(|engine| {
        let location = at(&engine.place());
        let children = 60;
        let (both, finished) = (Barrier::new(2), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    // Each opens it on its own, as two processes would.
                    let store = Store::open_or_create(&location, &spec()).unwrap();
                    let options = RunOptions { children: Some(children), ..RunOptions::default() };
                    let mut alone = true;
                    // The seed is nobody's company: until it is measured there is nothing else to do.
                    let together = |candidate: &Candidate, report: &mut dyn FnMut(_) -> _| {
                        if candidate.child_no > 0 && std::mem::take(&mut alone) {
                            both.wait();
                        }
                        evaluate(candidate, report)
                    };
                    let mut own = Vec::new();
                    let summary = worker::run(&store, &options, &AtomicBool::new(false), together, |event| {
                        if let Event::Finished { candidate, .. } = event {
                            own.push(candidate.child_no);
                        }
                    });
                    let summary = summary.unwrap();
                    assert_eq!(summary.end, End::Limit);
                    assert_eq!(summary.finished, own.len() as u64);
                    finished.lock().unwrap().push(own);
                });
            }
        });
        let each = finished.into_inner().unwrap();
        assert!(each.iter().all(|own| !own.is_empty()), "one worker did nothing");
        let mut all = each.concat();
        all.sort_unstable();
        assert_eq!(all, (0..=children).collect::<Vec<_>>());
        let store = Store::open(&location).unwrap();
        assert_complete(&store, children);
        assert_eq!(verify(&store).unwrap(), Verification::Same { children });
    });
}

#[test]
fn limits_end_a_run() {
    each(|engine| {
        // Every evaluation is booked at one second.
        let spec = StudySpec { limits: StudyLimits { seconds: Some(9.5), ..StudyLimits::default() }, ..spec() };
        let store = engine.study(&spec);
        let options = RunOptions::default();
        let go = AtomicBool::new(false);
        let summary = worker::run(&store, &options, &go, evaluate, |_| {}).unwrap();
        assert_eq!(summary.end, End::Limit);
        assert_eq!(store.status().unwrap().useful.seconds, 10.0);
        let again = worker::run(&store, &options, &go, evaluate, |_| {}).unwrap();
        assert_eq!((again.end, again.finished), (End::Limit, 0));

        let store = engine.study(&synthetic::spec());
        let options = RunOptions { time: Some(Duration::ZERO), ..options };
        let summary = worker::run(&store, &options, &go, evaluate, |_| {}).unwrap();
        assert_eq!((summary.end, summary.finished), (End::Time, 0));
    });
}
