//! A program that was evaluated before costs nothing.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use primer_search::evolve::{Verification, verify};
use primer_search::store::{Candidate, Cost, State};
use primer_search::study::StudySpec;
use primer_search::worker::{self, RunOptions};

use crate::engines::each;
use crate::synthetic::{course, evaluate, spec};

/// A program so short that its children soon repeat.
const SHORT: &str = "constants 0.0 1.0\ndims 2 8 1 1 4 16\n\nS0 MAIN:\n  h2 = CONV_1X1(h0) d0\n";

#[test]
fn twins_take_the_twins_result() {
    each(|engine| {
        let spec = StudySpec { seed_dna: SHORT.to_owned(), ..spec() };
        let store = engine.study(&spec);
        let options = RunOptions { children: Some(200), ..RunOptions::default() };
        let mut evaluated = HashSet::new();
        let once = |candidate: &Candidate, report: &mut dyn FnMut(_) -> _| {
            assert!(evaluated.insert(candidate.canonical.clone()), "{} is evaluated twice", candidate.child_no);
            evaluate(candidate, report)
        };
        worker::run(&store, &options, &AtomicBool::new(false), once, |_| {}).unwrap();
        let course = course(&store);
        let mut cached = 0;
        for candidate in &course {
            let Some(twin) = candidate.twin else { continue };
            let twin = &course[twin as usize];
            assert!(twin.done_seq < candidate.done_seq && twin.twin.is_none());
            assert_eq!(twin.canonical, candidate.canonical);
            assert_eq!(twin.fitness, candidate.fitness);
            assert_eq!(candidate.cost, Cost::default());
            cached += u32::from(candidate.state == State::Cached);
        }
        assert!(cached > 5, "{cached} twins");
        let useful: f64 = course.iter().map(|candidate| candidate.cost.seconds).sum();
        assert_eq!(store.status().unwrap().useful.seconds, useful);
        assert_eq!(verify(&store).unwrap(), Verification::Same { children: 200 });
        let top = store.top(10).unwrap();
        assert!(top.iter().all(|best| best.twin.is_none()));
        assert!(top.is_sorted_by(|a, b| a.fitness <= b.fitness));
    });
}
