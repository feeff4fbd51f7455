//! Files that are no good, and options that don't fit: a clear error, and nothing is changed.

use std::path::{Path, PathBuf};

use primer_search::Error;
use primer_search::error::ServerProblem;
use primer_search::store::{Location, Store};
use primer_search::study::StudySpec;

use crate::engines::{at, each, tamper};
use crate::synthetic::{run, spec};

/// A finished little store, closed.
fn closed(folder: &Path) -> PathBuf {
    let path = folder.join("store.db");
    run(&Store::create(&path.as_path().into(), &spec()).unwrap(), 30);
    path
}

/// Opening fails with a kind of error, and leaves the file and its folder as they are.
fn refused(path: &Path, expected: impl Fn(&Error) -> bool) {
    let before = std::fs::read(path).unwrap();
    for open in [Store::open, |location: &Location| Store::open_or_create(location, &spec())] {
        let error = open(&path.into()).expect_err("it must not open");
        assert!(expected(&error), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    assert_eq!(std::fs::read(path).unwrap(), before);
    let names: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn another_versions_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    tamper(&url(&path), "PRAGMA user_version = 99");
    refused(&path, |error| matches!(error, Error::StoreVersion { found: 99, expected: 2, .. }));
}

#[test]
fn files_that_are_no_stores() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let good = std::fs::read(&path).unwrap();
    let damage = |error: &Error| matches!(error, Error::StoreContent { .. });
    for bytes in [&b""[..], b"SQLite format 3\0", &[b'x'; 5_000], &good[..good.len() / 2]] {
        std::fs::write(&path, bytes).unwrap();
        refused(&path, damage);
    }
    std::fs::write(&path, &good).unwrap();
    tamper(&url(&path), "PRAGMA application_id = 7");
    refused(&path, damage);
    std::fs::write(&path, &good).unwrap();
    tamper(&url(&path), "UPDATE study SET spec = replace(spec, '\"population\":8', '\"population\":9')");
    refused(&path, damage);
}

/// Wherever the damage lies, there is an error or, where it hit nothing that is read, a result.
#[test]
fn a_damaged_store_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let good = std::fs::read(&path).unwrap();
    let mut errors = 0;
    let pages = good.len() / 4096;
    for page in (1..pages).step_by(2) {
        let mut bad = good.clone();
        bad[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(&path, &bad).unwrap();
        let seen = Store::open(&path.as_path().into()).and_then(|store| {
            store.status()?;
            store.log()?;
            store.candidates(0).map(|_| ())
        });
        match seen {
            Ok(()) => {}
            Err(Error::StoreContent { .. }) => errors += 1,
            Err(other) => panic!("page {page}: {other:?}"),
        }
    }
    assert!(errors > 3, "{errors} of {pages} pages");
}

#[test]
fn folders_that_take_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mut permissions = std::fs::metadata(&closed).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&closed, permissions).unwrap();
    // The system's administrator may write anywhere but where the kernel itself says no.
    let writable = std::fs::write(closed.join("probe"), "").is_ok();
    let no_folder = if writable { PathBuf::from("/sys/kernel") } else { closed };
    for folder in [no_folder, folder.path().join("missing")] {
        let path = folder.join("store.db");
        let error = Store::create(&path.as_path().into(), &spec()).expect_err("it can't be made");
        assert!(matches!(&error, Error::Io { path: named, .. } if *named == path), "{error:?}");
        assert!(matches!(Store::open(&path.as_path().into()), Err(Error::Io { .. })));
    }
}

#[test]
fn other_options_than_the_studys() {
    each(|engine| {
        let location = at(&engine.place());
        run(&Store::create(&location, &spec()).unwrap(), 30);
        let other = StudySpec { tournament: 4, ..spec() };
        match Store::open_or_create(&location, &other) {
            Err(Error::StudyMismatch { key, stored, given }) => {
                assert_eq!((&*key, &*stored, &*given), ("tournament", "3", "4"));
            }
            other => panic!("{other:?}"),
        }
        // Comments in the seed program are no difference, and its instructions are.
        let commented = StudySpec { seed_dna: format!("# the same\n{}", spec().seed_dna), ..spec() };
        let store = Store::open_or_create(&location, &commented).unwrap();
        assert_eq!(store.spec(), &spec());
        assert_eq!(run(&store, 30).finished, 0);
        let changed = StudySpec { seed_dna: spec().seed_dna.replace("h3 = SHIFT(h2)", "h3 = SCALE(h2)"), ..spec() };
        match Store::open_or_create(&location, &changed) {
            Err(Error::StudyMismatch { key, .. }) => assert_eq!(key, "seed_dna"),
            other => panic!("{other:?}"),
        }
        let twice = Store::create(&location, &spec()).expect_err("it is there");
        assert!(
            matches!(twice, Error::Io { .. } | Error::StoreServer { problem: ServerProblem::Study, .. }),
            "{twice:?}"
        );
        // A program that can't be read makes no store.
        let nonsense = StudySpec { seed_dna: "S0:".to_owned(), ..spec() };
        let location = at(&engine.place());
        assert!(Store::create(&location, &nonsense).is_err());
        assert!(!Store::exists(&location).unwrap());
    });
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}
