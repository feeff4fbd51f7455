//! SIGKILL at any moment loses nothing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use primer_search::evolve::{Verification, verify};
use primer_search::rng::{Purpose, Rng};
use primer_search::store::Store;
use primer_search::worker::{self, Event, RunOptions};

use crate::synthetic::{assert_complete, course, evaluate, spec, undisturbed};

const STORE: &str = "PRIMER_TEST_KILLED_WORKER_STORE";
const CHILDREN: u64 = 40;

/// The test starts itself as the worker to be killed.
#[test]
fn killed_workers_lose_nothing() {
    if let Some(path) = std::env::var_os(STORE) {
        return work(Path::new(&path), |child_no| {
            writeln!(std::io::stdout(), "finished {child_no}").unwrap();
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.db");
    Store::create(&path, &spec()).unwrap();
    let mut rng = Rng::new(2026, 0, Purpose::Batches);
    for _ in 0..7 {
        kill_after(&path, 1 + rng.below(4), Duration::from_micros(rng.below(9_000) as u64));
    }
    let store = Store::open(&path).unwrap();
    let (counts, _) = store.standing().unwrap();
    assert!(counts.finished() < CHILDREN, "the workers outran their killers");
    // Where a dead process can't be told from a living one, its lease has to run out first.
    while store.standing().unwrap().0.finished() <= CHILDREN {
        work(&path, |_| {});
    }
    assert_complete(&store, CHILDREN);
    let attempts = (0..=CHILDREN).map(|child_no| store.candidate(child_no).unwrap().unwrap().attempt);
    let again = attempts.filter(|&attempt| attempt > 1).count();
    assert!(again > 1, "{again} of the kills hit an evaluation");
    assert_eq!(verify(&store).unwrap(), Verification::Same { children: CHILDREN });
    // A candidate that was lost is found at once on Linux, so that not even the order differs.
    if cfg!(target_os = "linux") {
        let whole = undisturbed(&folder.path().join("whole.db"), CHILDREN);
        assert_eq!(course(&store), course(&whole));
        assert_eq!(store.status().unwrap().useful, whole.status().unwrap().useful);
    }
}

fn work(path: &Path, mut finished: impl FnMut(u64)) {
    let store = Store::open(path).unwrap();
    let options = RunOptions { children: Some(CHILDREN), lease: Duration::from_secs(2), ..RunOptions::default() };
    let slowly = |candidate: &_, report: &mut dyn FnMut(_) -> _| {
        evaluate(candidate, &mut |progress| {
            std::thread::sleep(Duration::from_millis(1));
            report(progress)
        })
    };
    let go = AtomicBool::new(false);
    worker::run(&store, &options, &go, slowly, |event| {
        if let Event::Finished { candidate, .. } = event {
            finished(candidate.child_no);
        }
    })
    .unwrap();
}

/// Starts a worker process and kills it a moment after it has finished so many candidates.
fn kill_after(path: &Path, candidates: usize, moment: Duration) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::killed_workers_lose_nothing", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe stays open until the kill: a worker that can't write would end by itself.
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let seen = lines.by_ref().map_while(Result::ok).filter(|line| line.contains("finished ")).take(candidates).count();
    assert_eq!(seen, candidates, "the worker ended by itself");
    std::thread::sleep(moment);
    process.kill().unwrap();
    let status = process.wait().unwrap();
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(!status.success());
}
