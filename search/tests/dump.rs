//! A study as text is the study.

use primer_search::Error;
use primer_search::evolve::{Verification, verify};
use primer_search::store::{Candidate, Claim, ClaimOptions, Cost, Dump, LEASE, Mark, State, Status, Store, WorkerId};
use primer_search::study::{Strategy, StudyLimits, StudySpec, sha256_hex};
use serde_json::{Value, json};

use crate::engines::{Engine, at, each};
use crate::synthetic::{candidates, course, run, spec};

/// All that a store knows, but for workers, attempts and moments. Seconds are not exact, and their sum depends on the
/// engine's order.
fn all(store: &Store) -> (Vec<Candidate>, Vec<Vec<Mark>>, Status) {
    let course = course(store);
    let marks = course.iter().map(|candidate| store.marks(candidate.child_no).unwrap()).collect();
    let status = store.status().unwrap();
    let rounded =
        |cost: Cost| Cost { training_seconds: cost.training_seconds.round(), seconds: cost.seconds.round(), ..cost };
    (course, marks, Status { useful: rounded(status.useful), wasted: rounded(status.wasted), ..status })
}

fn dumped(store: &Store) -> Dump {
    Dump::from_jsonl(&Dump::of(store).unwrap().to_jsonl().unwrap()).unwrap()
}

/// The lines as JSON.
fn lines(dump: &Dump) -> Vec<Value> {
    dump.to_jsonl().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_study_is_bred_again() {
    each(|engine| {
        let store = engine.undisturbed(60);
        let dump = dumped(&store);
        assert_eq!((dump.candidates(), dump.study_sha256()), (61, store.spec_sha256()));
        let copy = dump.restore(&at(&engine.place())).unwrap();
        assert_eq!(all(&copy), all(&store));
        assert_eq!(verify(&copy).unwrap(), Verification::Same { children: 60 });
        assert_eq!(dumped(&copy), dump);
        // And it goes on as the other does.
        run(&store, 90);
        run(&copy, 90);
        assert_eq!(course(&copy), course(&store));
    });
}

#[test]
fn an_engine_takes_over_from_another() {
    let from = Engine::Sqlite(tempfile::tempdir().unwrap()).undisturbed(30);
    each(|engine| {
        let copy = dumped(&from).restore(&at(&engine.place())).unwrap();
        assert_eq!(all(&copy), all(&from));
        assert_eq!(verify(&copy).unwrap(), Verification::Same { children: 30 });
    });
}

/// A dump of a study at work holds what is finished; the rest waits, with the parents and bars that it has.
#[test]
fn what_has_no_result_waits() {
    each(|engine| {
        let store = engine.undisturbed(20);
        let options = ClaimOptions { worker: WorkerId::new(), lease: LEASE, children: None };
        let held = (0..30).find_map(|_| match store.claim(&options).unwrap() {
            Claim::Leased(candidate) => Some(candidate),
            _ => None,
        });
        let held = held.unwrap();
        let copy = dumped(&store).restore(&at(&engine.place())).unwrap();
        let waits = copy.candidate(held.child_no).unwrap().unwrap();
        assert_eq!((waits.state, &waits.program, &waits.bars), (State::Pending, &held.program, &held.bars));
        assert_eq!(verify(&copy).unwrap(), Verification::Same { children: held.child_no });
        run(&copy, 40);
        assert_eq!(verify(&copy).unwrap(), Verification::Same { children: 40 });
        assert_eq!(course(&copy), course(&engine.undisturbed(40)));
    });
}

/// Attempts that came to nothing count in the copy as they do in the store, also one whose worker was killed.
#[test]
fn what_was_spent_in_vain_counts() {
    each(|engine| {
        let store = engine.undisturbed(10);
        let cost = Cost { steps: 3, predicted_seconds: 0.5, seconds: 0.75, ..Cost::default() };
        let claim = |store: &Store| {
            let options = ClaimOptions { worker: WorkerId::new(), lease: LEASE, children: None };
            (0..30).find_map(|_| match store.claim(&options).unwrap() {
                Claim::Leased(candidate) => Some(candidate),
                _ => None,
            })
        };
        let held = claim(&store).unwrap();
        store.fail(&held, "the device is gone", cost).unwrap().unwrap();
        let held = claim(&store).unwrap();
        let wasted = |store: &Store| store.status().unwrap().wasted;
        let once = dumped(&store).restore(&at(&engine.place())).unwrap();
        assert_eq!(wasted(&once), cost, "a worker that hasn't reported yet has spent nothing");
        assert!(store.renew(&held, LEASE, cost).unwrap());
        let twice = dumped(&store).restore(&at(&engine.place())).unwrap();
        assert_eq!(wasted(&twice).predicted_seconds, 2.0 * cost.predicted_seconds);
        // Two of three attempts are spent, and the third one is the last.
        let waits = twice.candidate(held.child_no).unwrap().unwrap();
        assert_eq!((waits.spent, waits.error.as_deref()), (2, Some("the device is gone")));
        let last = claim(&twice).unwrap();
        assert_eq!((last.child_no, last.attempt), (held.child_no, held.attempt + 1));
        let failed = twice.fail(&last, "the device is gone", cost).unwrap().unwrap();
        assert_eq!(failed.state, State::Failed);
        let after = dumped(&twice).restore(&at(&engine.place())).unwrap();
        assert_eq!(all(&after), all(&twice));
        assert_eq!(verify(&after).unwrap(), Verification::Same { children: held.child_no });
    });
}

/// Controls too, and a limit is reached where it would have been.
#[test]
fn a_control_ends_where_it_would_have_ended() {
    each(|engine| {
        for strategy in [Strategy::Random1, Strategy::Drift, Strategy::None] {
            let limits = StudyLimits { cost: Some(15.0), ..StudyLimits::default() };
            let store = engine.study(&StudySpec { strategy, limits, ..spec() });
            run(&store, 10);
            let copy = dumped(&store).restore(&at(&engine.place())).unwrap();
            run(&store, 1000);
            run(&copy, 1000);
            assert_eq!(all(&copy), all(&store), "{strategy:?}");
            assert!((20..500).contains(&course(&copy).len()), "{strategy:?}: {}", course(&copy).len());
        }
    });
}

/// Nothing is finished in a study that was just made.
#[test]
fn an_empty_study_is_one_too() {
    each(|engine| {
        let dump = dumped(&engine.undisturbed(0));
        assert_eq!(dump.candidates(), 1);
        run(&dump.restore(&at(&engine.place())).unwrap(), 12);
        let fresh = dumped(&engine.study(&spec()));
        let copy = fresh.restore(&at(&engine.place())).unwrap();
        assert_eq!(candidates(&copy)[0].state, State::Pending);
        run(&copy, 12);
        assert_eq!(course(&copy), course(&engine.undisturbed(12)));
    });
}

/// The options are kept as they were hashed, also those of a study that is older than some of them.
#[test]
fn the_options_keep_their_text() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::Sqlite(folder);
    let mut lines = lines(&dumped(&engine.undisturbed(5)));
    let mut spec: Value = serde_json::from_str(lines[0]["spec"].as_str().unwrap()).unwrap();
    for option in ["tokenizer", "tokenizer_sha256", "training"] {
        spec.as_object_mut().unwrap().remove(option).unwrap();
    }
    lines[0]["spec"] = json!(spec.to_string());
    lines[0]["spec_sha256"] = json!(sha256_hex(&spec.to_string()));
    let older = Dump::from_jsonl(&text(&lines)).unwrap();
    let store = older.restore(&at(&engine.place())).unwrap();
    assert_eq!(store.spec_sha256(), sha256_hex(&spec.to_string()));
    assert_eq!(dumped(&store), older);
}

#[test]
fn a_place_that_is_taken_stays_as_it_is() {
    each(|engine| {
        let url = engine.place();
        let dump = dumped(&engine.undisturbed(10));
        dump.restore(&at(&url)).unwrap();
        assert!(matches!(dump.restore(&at(&url)), Err(Error::Io { .. } | Error::StoreServer { .. })));
        assert_eq!(verify(&Store::open(&at(&url)).unwrap()).unwrap(), Verification::Same { children: 10 });
    });
}

#[test]
fn every_kind_of_change_is_refused() {
    let engine = Engine::Sqlite(tempfile::tempdir().unwrap());
    let original = lines(&dumped(&engine.undisturbed(40)));
    // The line, 1-based, of the first child that is like this.
    let find = |wanted: &dyn Fn(&Value) -> bool| original.iter().skip(2).position(wanted).unwrap() + 3;
    let twin = find(&|line| line["twin"].is_u64());
    let loss = |line: &Value| line["fitness"].as_f64().unwrap_or(f64::INFINITY);
    let best = original[2..30].iter().map(loss).fold(f64::INFINITY, f64::min);
    let best = find(&|line| loss(line) == best);
    let late = original.len();
    let with = |kind: &str, attempt: u32| {
        json!({ "attempt": attempt, "kind": kind, "steps": 1, "tokens": 1, "flops": 1.0, "predicted_seconds": 0.1,
            "training_seconds": 0.1, "seconds": 0.1 })
    };
    type Change = (usize, &'static str, Value, usize, &'static str);
    let changes: [Change; 25] = [
        (1, "primer_study", json!(2), 1, "version 2"),
        (1, "primer_study", Value::Null, 1, "no study"),
        (1, "spec", json!("{}"), 1, "hash"),
        (1, "candidates", json!(50), late, "with 41 of 50"),
        (1, "more", json!(1), 1, "unknown field `more`"),
        (2, "watermark", json!(1), 2, "nothing comes before"),
        (2, "marks", json!([[1, 0, 2.0], [0, 0, 2.0]]), 2, "in order"),
        (2, "marks", json!([[2, 0, 2.0]]), 2, "not those of the study"),
        (5, "child_no", json!(7), 5, "candidate 7, not 3"),
        (5, "program_sha256", json!("0123456789abcdef"), 5, "another program"),
        (5, "marks", json!([[0, 0, 2.0], [0, 0, 2.0]]), 5, "each once"),
        (5, "ledger", json!([with("useful", 1), with("wasted", 1)]), 5, "each once"),
        (5, "ledger", json!([with("useful", 9)]), 5, "not possible ones"),
        (5, "ledger", json!([with("lost", 1)]), 5, "unknown variant"),
        (5, "attempt", json!(u32::MAX), 5, "not possible ones"),
        (5, "finished_ms", Value::Null, 5, "not finished"),
        (5, "passed", json!(-1), 5, "invalid value"),
        (5, "state", json!("dead"), 5, "unknown variant"),
        (5, "state", json!("leased"), 5, "state can't be leased"),
        (5, "state", json!("pending"), 5, "state can't be pending"),
        (late, "watermark", json!(1000), late, "watermark"),
        (late, "done_seq", json!(1000), late, "place in the log can't be 1000"),
        (late, "done_seq", json!(3), late, "another one's"),
        (twin, "twin", json!(1000), twin, "younger"),
        // The losses decide who has which children.
        (best, "fitness", json!(9.0), 0, "lead to another program"),
    ];
    for (line, key, value, wrong, reason) in changes {
        let mut lines = original.clone();
        lines[line - 1][key] = value.clone();
        let place = engine.place();
        let restored = Dump::from_jsonl(&text(&lines)).and_then(|dump| dump.restore(&at(&place)));
        let Err(error) = restored else { panic!("{key} = {value} is taken") };
        let said = error.to_string();
        assert!(said.contains(reason), "{key} = {value}: {said}");
        let Error::Dump { line: found, .. } = error else { panic!("{key} = {value}: {said}") };
        assert!(found == wrong || wrong == 0 && found > line, "{key} = {value}: {said}");
        assert!(!Store::exists(&at(&place)).unwrap(), "{key} = {value} left a store");
    }
    for (text, reason) in [
        ("", "line 1 of the study: there is none"),
        ("{}\n", "no study"),
        ("text\n", "line 1 of the study: column 2: expected"),
    ] {
        let said = Dump::from_jsonl(text).unwrap_err().to_string();
        assert!(said.contains(reason), "{text:?}: {said}");
    }
    // A text that was cut off.
    let whole = text(&original);
    let said = Dump::from_jsonl(&whole[..whole.len() / 2]).unwrap_err().to_string();
    assert!(said.contains(": EOF") || said.contains("of 41 candidates"), "{said}");
}
