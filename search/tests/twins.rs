//! A program that was evaluated before costs nothing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use primer_search::canonical::canonical_hash;
use primer_search::evolve::{Verification, is_probed, verify};
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

/// With a probe, programs that compute the same are twins whatever they look like, and a score that was passed on often
/// enough is measured again.
#[test]
fn a_probed_score_is_passed_on_so_often_and_no_more() {
    const HITS: u32 = 1;
    each(|engine| {
        let spec = StudySpec { probe_hits: HITS, seed_dna: SHORT.to_owned(), ..spec() };
        let store = engine.study(&spec);
        let options = RunOptions { children: Some(200), ..RunOptions::default() };
        worker::run(&store, &options, &AtomicBool::new(false), evaluate, |_| {}).unwrap();
        let course = course(&store);
        let form = |candidate: &Candidate| canonical_hash(&candidate.dna().unwrap()).unwrap().to_string();
        let (mut other_forms, mut measured_again) = (0, 0);
        let mut hits: HashMap<u64, u32> = HashMap::new();
        let mut measured: HashMap<String, u64> = HashMap::new();
        for candidate in &course {
            let identity = candidate.canonical.clone().unwrap();
            if !is_probed(&identity) {
                continue;
            }
            if let (State::Cached, Some(twin)) = (candidate.state, candidate.twin) {
                let number = hits.entry(twin).or_default();
                *number += 1;
                assert!(*number <= HITS, "{twin} is passed on {number} times");
                let twin = &course[twin as usize];
                assert_eq!((&twin.canonical, twin.fitness), (&candidate.canonical, candidate.fitness));
                other_forms += u32::from(form(twin) != form(candidate));
            } else if candidate.state == State::Done
                && let Some(before) = measured.insert(identity, candidate.child_no)
            {
                assert_eq!(hits.get(&before), Some(&HITS), "{before} was not passed on before another was measured");
                measured_again += 1;
            }
        }
        assert!(
            other_forms > 0 && measured_again > 0,
            "{other_forms} of another form, {measured_again} measured again"
        );
        assert_eq!(verify(&store).unwrap(), Verification::Same { children: 200 });
    });
}
