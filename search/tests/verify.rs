//! The replay finds what was changed.

use primer_search::evolve::{Verification, verify, verify_log};
use primer_search::store::{Candidate, Claim, ClaimOptions, LEASE, Store, WorkerId};
use primer_search::worker::{Control, Outcome};

use crate::engines::{at, each, tamper};
use crate::synthetic::{course, evaluate, run, spec};

#[test]
fn every_kind_of_change_is_found() {
    let cases = [
        ("UPDATE candidate SET program = replace(program, 'SELF-ATTENTION', 'X') WHERE child_no = 7", "program"),
        ("UPDATE candidate SET parent = 9 WHERE child_no = 20 AND parent <> 9", "parent"),
        ("UPDATE candidate SET mutation = replace(mutation, '[]', '[ ]') WHERE child_no = 5", "mutation"),
        ("UPDATE candidate SET watermark = watermark + 100 WHERE child_no = 30", "watermark"),
        ("UPDATE candidate SET canonical = 'x' WHERE child_no = 12", "canonical form"),
        ("UPDATE candidate SET bars = '9.0 9.0 9.0' WHERE child_no = 8", "bars"),
        (
            "UPDATE candidate SET passed = passed + 1 WHERE child_no =
                 (SELECT max(child_no) FROM candidate WHERE state = 'done')",
            "number of hurdles passed",
        ),
        (
            "UPDATE mark SET loss = loss / 2 WHERE mark = 3 AND child_no =
                 (SELECT max(child_no) FROM mark WHERE mark = 3)",
            "fitness",
        ),
        ("UPDATE candidate SET done_seq = 1000 WHERE child_no = 13", "place in the log"),
        // Results of their own that nobody measured, or of twins that they don't have.
        (
            "UPDATE candidate SET state = 'cached', fitness = 0.5 WHERE child_no =
                 (SELECT max(child_no) FROM candidate WHERE state = 'done')",
            "state",
        ),
        (
            "UPDATE candidate SET state = 'failed', fitness = 0.5, passed = 0 WHERE child_no =
                 (SELECT max(child_no) FROM candidate WHERE state = 'done')",
            "fitness",
        ),
        (
            "UPDATE candidate SET twin = NULL WHERE child_no =
                 (SELECT max(child_no) FROM candidate WHERE state = 'cached')",
            "twin",
        ),
        (
            "UPDATE candidate SET passed = passed + 1 WHERE child_no =
                 (SELECT max(child_no) FROM candidate WHERE state = 'cached')",
            "number of hurdles passed",
        ),
    ];
    for (statement, field) in cases {
        each(|engine| {
            let url = engine.place();
            run(&Store::create(&at(&url), &spec()).unwrap(), 30);
            tamper(&url, statement);
            match verify(&Store::open(&at(&url)).unwrap()).unwrap() {
                Verification::Different(difference) => {
                    assert_eq!(difference.field, field, "{difference}");
                }
                same => panic!("{statement}: {same:?}"),
            }
        });
    }
}

/// Another loss for one candidate is found out by its marks; if those are forged too, by the children that it would
/// not have had.
#[test]
fn a_forged_loss_shows() {
    each(|engine| {
        let url = engine.place();
        let store = Store::create(&at(&url), &spec()).unwrap();
        run(&store, 60);
        let finalist = course(&store).into_iter().find(|c| c.child_no > 10 && c.passed == 3).unwrap().child_no;
        drop(store);
        let difference = || match verify(&Store::open(&at(&url)).unwrap()).unwrap() {
            Verification::Different(difference) => difference,
            same => panic!("{same:?}"),
        };
        const FINALIST: &str = "(SELECT min(child_no) FROM candidate WHERE child_no > 10 AND passed = 3)";
        tamper(&url, &format!("UPDATE candidate SET fitness = 9.0 WHERE child_no = {FINALIST}"));
        let found = difference();
        assert_eq!((found.child_no, found.field), (finalist, "fitness"));
        tamper(&url, &format!("UPDATE mark SET loss = 9.0 WHERE mark = 3 AND child_no = {FINALIST}"));
        let found = difference();
        assert_eq!((found.field, found.stored), ("parent", finalist.to_string()), "{}", found.child_no);
        assert!((finalist + 1..=finalist + 8).contains(&found.child_no), "{}", found.child_no);
    });
}

/// A replay takes minutes, and workers go on meanwhile.
#[test]
fn what_finishes_after_the_log_was_read_is_no_difference() {
    each(|engine| {
        let store = Store::create(&at(&engine.place()), &spec()).unwrap();
        run(&store, 20);
        // Some are in hand while the log is read, and have their results when their rows are.
        let claim = || {
            let options = ClaimOptions { worker: WorkerId::new(), lease: LEASE, children: None };
            (0..30).find_map(|_| match store.claim(&options).unwrap() {
                Claim::Leased(candidate) => Some(candidate),
                _ => None,
            })
        };
        let held: Vec<Candidate> = (0..6).map(|_| claim().unwrap()).collect();
        let log = store.log().unwrap();
        for candidate in held {
            match evaluate(&candidate, &mut |_| Control::Continue) {
                Outcome::Result { verdict, cost } => drop(store.finish(&candidate, verdict, cost).unwrap().unwrap()),
                other => panic!("{other:?}"),
            }
        }
        run(&store, 60);
        assert_eq!(verify_log(&store, &log).unwrap(), Verification::Same { children: log.candidates - 1 });
        assert_eq!(verify(&store).unwrap(), Verification::Same { children: 60 });
    });
}
