//! SIGKILL at any moment, of workers and of the server, loses nothing.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use primer_search::evolve::{Verification, verify};
use primer_search::rng::{Purpose, Rng};
use primer_search::store::{Candidate, LEASE, State, Store, Verdict};
use primer_search::worker::{self, Control, Event, Outcome, RunOptions};

#[cfg(unix)]
use crate::cluster::{Cluster, PASSWORD};
use crate::engines::{at, each};
use crate::synthetic::{assert_complete, candidates, course, evaluate, spec};

const STORE: &str = "PRIMER_TEST_KILLED_WORKER_STORE";
const HOLD_AFTER: &str = "PRIMER_TEST_KILLED_WORKER_HOLD_AFTER";

/// A worker's process, started by the tests below, which goes on until it is killed.
#[test]
fn worker_process() {
    let Ok(url) = std::env::var(STORE) else { return };
    let hold_after: Option<usize> = std::env::var(HOLD_AFTER).ok().map(|finished| finished.parse().unwrap());
    let finished = Cell::new(0);
    let in_evaluation = || {
        if hold_after.is_some_and(|enough| finished.get() >= enough) {
            writeln!(std::io::stdout(), "holds").unwrap();
            std::thread::sleep(Duration::from_secs(60));
            panic!("nobody killed it");
        }
    };
    work(&url, None, in_evaluation, |child_no| {
        finished.set(finished.get() + 1);
        writeln!(std::io::stdout(), "finished {child_no}").unwrap();
    });
}

/// Some are killed at any moment, some certainly within an evaluation.
#[test]
fn killed_workers_lose_nothing() {
    each(|engine| {
        let url = engine.place();
        Store::create(&at(&url), &spec()).unwrap();
        let mut rng = Rng::new(2026, 0, Purpose::Rates);
        for round in 0..8 {
            let finished = 1 + rng.below(4);
            if round % 2 == 0 {
                let mut process = Process::start(&url, None);
                process.says("finished ", finished);
                std::thread::sleep(Duration::from_micros(rng.below(9_000) as u64));
                process.kill();
            } else {
                let mut process = Process::start(&url, Some(finished));
                process.says("holds", 1);
                process.kill();
            }
        }
        let store = Store::open(&at(&url)).unwrap();
        let many = course(&store).len() as u64 + 10;
        finish(&url, many);
        assert_complete(&store, many);
        let attempts = (0..=many).map(|child_no| store.candidate(child_no).unwrap().unwrap().attempt);
        let again = attempts.filter(|&attempt| attempt > 1).count();
        assert!(again >= 4, "{again} of the kills hit an evaluation");
        assert_eq!(verify(&store).unwrap(), Verification::Same { children: many });
        // A candidate that was lost is found at once on Linux, so that not even the order differs.
        if cfg!(target_os = "linux") {
            let whole = engine.undisturbed(many);
            assert_eq!(course(&store), course(&whole));
            assert_eq!(store.status().unwrap().useful, whole.status().unwrap().useful);
        }
    });
}

/// Four processes, killed and replaced one after the other, and a server that is killed under them.
#[cfg(unix)]
#[test]
fn a_server_restarted_among_dying_workers_loses_nothing() {
    let mut cluster = Cluster::start();
    let url = cluster.url("primer", PASSWORD, "postgres");
    Store::create(&at(&url), &spec()).unwrap();
    let mut rng = Rng::new(407, 0, Purpose::Rates);
    let mut workers: Vec<Process> = (0..4).map(|_| Process::start(&url, None)).collect();
    workers[0].says("finished ", 1);
    let store = Store::open(&at(&url)).unwrap();
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(rng.below(60) as u64));
        // A candidate that loses three workers is given up, so none may lose a second one.
        while unfinished(&store).any(|candidate| candidate.attempt > 1) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let place = rng.below(4);
        std::mem::replace(&mut workers[place], Process::start(&url, None)).kill();
        if round == 4 {
            // Those that have opened the store go on by themselves; who comes while the server is away doesn't wait.
            workers.iter_mut().for_each(|worker| worker.says("finished ", 1));
            cluster.restart();
        }
    }
    workers.iter_mut().for_each(|worker| worker.child.kill().unwrap());
    workers.into_iter().for_each(Process::kill);
    let many = course(&store).len() as u64 + 40;
    finish(&url, many);
    assert_complete(&store, many);
    assert_eq!(verify(&store).unwrap(), Verification::Same { children: many });
    // What each candidate got is what it gets undisturbed, with the same bars.
    for candidate in course(&store) {
        let undisturbed = match evaluate(&candidate, &mut |_| Control::Continue) {
            Outcome::Result { verdict, cost } => (verdict, cost),
            other => panic!("{other:?}"),
        };
        match (&undisturbed.0, candidate.state) {
            (Verdict::Fitness { loss, passed, .. }, State::Done) => {
                assert_eq!((candidate.fitness, candidate.passed), (Some(*loss).filter(|l| l.is_finite()), *passed));
                assert_eq!(candidate.cost, undisturbed.1);
            }
            (Verdict::Rejected(_), State::Rejected) | (_, State::Cached) => {}
            // Its program was too large to be evaluated, or its twin was rejected.
            (_, State::Rejected) if candidate.canonical.is_none() || candidate.twin.is_some() => {}
            other => panic!("{}: {other:?}", candidate.child_no),
        }
    }
    // The ledger has each of them once, and every lost attempt besides.
    let status = store.status().unwrap();
    let measured = course(&store).iter().map(|candidate| candidate.cost.steps).sum::<u64>();
    assert_eq!(status.useful.steps, measured);
}

/// The candidates without a result.
fn unfinished(store: &Store) -> impl Iterator<Item = Candidate> {
    candidates(store).into_iter().filter(|candidate| !candidate.state.is_finished())
}

/// Works until nothing is left. Where a dead process can't be told from a living one, its lease has to run out first.
fn finish(url: &str, children: u64) {
    let store = Store::open(&at(url)).unwrap();
    while store.standing().unwrap().0.finished() <= children {
        work(url, Some(children), || {}, |_| {});
    }
}

fn work(url: &str, children: Option<u64>, in_evaluation: impl Fn(), mut finished: impl FnMut(u64)) {
    let store = Store::open(&at(url)).unwrap();
    // Where a dead process isn't known from a living one, a lease ends soon.
    let lease = if cfg!(target_os = "linux") { LEASE } else { Duration::from_secs(2) };
    let options = RunOptions { children, lease, ..RunOptions::default() };
    let slowly = |candidate: &_, report: &mut dyn FnMut(_) -> _| {
        evaluate(candidate, &mut |progress| {
            in_evaluation();
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

/// A worker in a process of its own.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// With `hold_after`, it stops in the midst of the first evaluation after so many candidates.
    fn start(url: &str, hold_after: Option<usize>) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kill::worker_process", "--nocapture"]).env(STORE, url);
        command.envs(hold_after.map(|finished| (HOLD_AFTER, finished.to_string())));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        // The pipe stays open until the end: a worker that can't write would end by itself.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    /// Waits for so many lines more with `words`.
    fn says(&mut self, words: &str, times: usize) {
        let lines = self.lines.by_ref().map_while(Result::ok);
        let seen = lines.filter(|line| line.contains(words)).take(times).count();
        assert_eq!(seen, times, "the worker ended by itself");
    }

    /// A worker that had ended by itself wouldn't have died of the signal.
    fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        #[cfg(unix)]
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(!status.success());
    }
}
