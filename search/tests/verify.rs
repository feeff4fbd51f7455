//! The replay finds what was changed.

use std::path::Path;

use primer_search::evolve::{Verification, verify};
use primer_search::store::Store;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::synthetic::undisturbed;

/// Changes a store behind its back.
pub fn tamper(path: &Path, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
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

/// A better loss for one candidate would have led to other parents.
#[test]
fn a_forged_loss_shows_in_the_selections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(undisturbed(&path, 60));
    tamper(&path, "UPDATE candidate SET fitness = 0.001 WHERE child_no = 20");
    match verify(&Store::open(&path).unwrap()).unwrap() {
        Verification::Different(difference) => {
            assert_eq!((difference.field, &*difference.replayed), ("parent", "20"));
            assert!((21..=29).contains(&difference.child_no), "{difference}");
        }
        same => panic!("{same:?}"),
    }
}
