//! The replay finds what was changed.

use std::path::Path;

use primer_search::evolve::{Verification, verify};
use primer_search::store::Store;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::synthetic::{course, undisturbed};

/// Changes a store behind its back.
pub fn tamper(path: &Path, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.unwrap();
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn every_kind_of_change_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(undisturbed(&path, 30));
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
    ];
    for (statement, field) in cases {
        let copy = folder.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        tamper(&copy, statement);
        match verify(&Store::open(&copy).unwrap()).unwrap() {
            Verification::Different(difference) => {
                assert_eq!(difference.field, field, "{difference}");
            }
            same => panic!("{statement}: {same:?}"),
        }
    }
}

/// Another loss for one candidate is found out by its marks; if those are forged too, by the children that it would not have had.
#[test]
fn a_forged_loss_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = undisturbed(&path, 60);
    let finalist = course(&store).into_iter().find(|c| c.child_no > 10 && c.passed == 3).unwrap().child_no;
    drop(store);
    let difference = || match verify(&Store::open(&path).unwrap()).unwrap() {
        Verification::Different(difference) => difference,
        same => panic!("{same:?}"),
    };
    const FINALIST: &str = "(SELECT min(child_no) FROM candidate WHERE child_no > 10 AND passed = 3)";
    tamper(&path, &format!("UPDATE candidate SET fitness = 9.0 WHERE child_no = {FINALIST}"));
    let found = difference();
    assert_eq!((found.child_no, found.field), (finalist, "fitness"));
    tamper(&path, &format!("UPDATE mark SET loss = 9.0 WHERE mark = 3 AND child_no = {FINALIST}"));
    let found = difference();
    assert_eq!((found.field, found.stored), ("parent", finalist.to_string()), "{}", found.child_no);
    assert!((finalist + 1..=finalist + 8).contains(&found.child_no), "{}", found.child_no);
}
