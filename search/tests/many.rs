//! A store as large as a long study's.

use std::io::Write;
use std::time::{Duration, Instant};

#[cfg(unix)]
use primer_search::store::Location;
use primer_search::store::{ClaimOptions, LEASE, Store, WorkerId};

use crate::engines::{at, each, tamper};
use crate::synthetic::spec;

const MANY: u64 = 100_000;

/// Fills a new study with finished candidates that were never trained, by statements that both engines know.
fn fill(url: &str) {
    tamper(
        url,
        &format!(
            "INSERT INTO candidate (child_no, parent, mutation, program, canonical, watermark, bars, state, worker,
                 attempt, spent, done_seq, fitness, passed, steps, tokens, flops, predicted_seconds, training_seconds, seconds,
                 finished_ms)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})
             SELECT i, i / 2, mutation, program, 'hash ' || i, i - 1, '', 'done', 'worker', 1, 1, i,
                 1.0 + (i * 7919 % 100003) / 100003.0, 3, 70, 71680, 1000000, 1.0, 1.0, 1.0, 0
             FROM n CROSS JOIN (SELECT mutation, program FROM candidate WHERE child_no = 0) seed"
        ),
    );
    tamper(url, "UPDATE candidate SET state = 'done', done_seq = 0, fitness = 2.0 WHERE child_no = 0");
    tamper(url, &format!("UPDATE study SET next_child = {MANY} + 1, done_seq = {MANY}"));
    tamper(
        url,
        "INSERT INTO ledger SELECT child_no, 1, 'worker', 'useful', 70, 71680, 1000000, 1.0, 1.0, 1.0
         FROM candidate",
    );
    #[cfg(unix)]
    if let (Location::Postgres(_), Some((_, schema))) = (at(url), url.rsplit_once('=')) {
        // What a server does by itself within a minute.
        for table in ["candidate", "ledger"] {
            crate::cluster::shared().sql(&format!("VACUUM ANALYZE {schema}.{table}"));
        }
    }
}

/// Prints what questions and claims take; to be run by hand where a table or a statement changes:
/// `cargo test --release -p primer-search --test main -- --ignored --nocapture many::`
#[test]
#[ignore = "it measures"]
fn what_a_large_store_takes() {
    each(|engine| {
        let url = engine.place();
        drop(Store::create(&at(&url), &spec()).unwrap());
        fill(&url);
        let name = url.split(':').next().unwrap_or_default();
        let say = |what: &str, mut work: Box<dyn FnMut()>| {
            let mut times: Vec<Duration> = (0..11)
                .map(|_| {
                    let start = Instant::now();
                    work();
                    start.elapsed()
                })
                .collect();
            times.sort();
            writeln!(std::io::stdout(), "{name}: {what}: median {:?}, longest {:?}", times[5], times[10]).unwrap();
        };
        let open = || Store::open(&at(&url)).unwrap();
        say("open and status", Box::new(|| assert_eq!(open().status().unwrap().counts.done, MANY + 1)));
        let store = open();
        say("status", Box::new(|| assert_eq!(store.status().unwrap().counts.done, MANY + 1)));
        say("standing", Box::new(|| assert_eq!(store.standing().unwrap().0.done, MANY + 1)));
        say("the best 10", Box::new(|| assert_eq!(store.ranking().take(10).map(Result::unwrap).count(), 10)));
        say("lineage", Box::new(|| assert_eq!(store.lineage(MANY).unwrap().len(), 18)));
        let claim = || {
            let options = ClaimOptions { worker: WorkerId::new(), lease: LEASE, children: None };
            store.claim(&options).unwrap();
        };
        say("claim", Box::new(claim));
    });
}
