//! Servers that are no good: an error of its own kind for each, and no password in any.

use std::time::Duration;

use primer_search::Error;
use primer_search::error::ServerProblem as Problem;
use primer_search::store::{Claim, ClaimOptions, Cost, Location, Store, WorkerId};

use crate::cluster::{self, PASSWORD};
use crate::engines::at;
use crate::synthetic::{plain, run, spec};

/// What stands in the way of opening and of making a study, which is the same.
fn refused(url: &str) -> Problem {
    let problem = |result: Result<Store, Error>| match result.map(|_| ()) {
        Err(error) => {
            let said = format!("{error} {error:?}");
            assert!(!said.contains(PASSWORD) && !said.contains("wrong-word"), "{said}");
            match error {
                Error::StoreServer { problem, .. } => problem,
                other => panic!("{other:?}"),
            }
        }
        Ok(()) => panic!("{url} opens"),
    };
    let made = problem(Store::create(&at(url), &spec()));
    match problem(Store::open(&at(url))) {
        // An empty place is no reason not to make a study in it.
        Problem::NoStudy => made,
        opened => {
            assert_eq!(opened, made);
            opened
        }
    }
}

#[test]
fn servers_that_do_not_let_anyone_in() {
    let (login, database) = {
        let cluster = cluster::shared();
        (cluster.url("primer", "wrong-word", "postgres"), cluster.url("primer", PASSWORD, "nowhere"))
    };
    assert!(matches!(refused(&login), Problem::Login { reason } if reason.contains("password authentication failed")));
    assert!(matches!(refused(&database), Problem::NoDatabase { reason } if reason.contains("nowhere")));
    // Nobody listens on the first port.
    let nobody = format!("postgres://primer:{PASSWORD}@127.0.0.1:1/postgres");
    assert!(matches!(refused(&nobody), Problem::Unreachable { .. }));
    let nowhere = format!("postgres://primer:{PASSWORD}@%2Fnowhere/postgres");
    assert!(matches!(refused(&nowhere), Problem::Unreachable { .. }));
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(refused(&format!("{database}?sslmode={mode}")), Problem::Tls);
    }
    for bad in [format!("postgres://primer:{PASSWORD}@host:port/db"), format!("postgres://a:{PASSWORD}/b?c@host/db")] {
        assert!(matches!(refused(&bad), Problem::Url { .. }), "{bad}");
    }
}

#[test]
fn places_that_hold_something_else() {
    let (empty, _) = cluster::shared().schema();
    assert!(!Store::exists(&at(&empty)).unwrap());
    match Store::open(&at(&empty)) {
        Err(Error::StoreServer { problem: Problem::NoStudy, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(refused(&empty.replace("search_path]=", "search_path]=not_")), Problem::NoSchema);

    let (taken, schema) = cluster::shared().schema();
    cluster::shared().sql(&format!("CREATE TABLE {schema}.ledger (entry TEXT)"));
    assert!(matches!(refused(&taken), Problem::Occupied { reason } if reason.contains("ledger")));
    assert_eq!(cluster::shared().sql(&format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'")), "1\n");

    let (other, schema) = cluster::shared().schema();
    drop(Store::create(&at(&other), &spec()).unwrap());
    cluster::shared().sql(&format!("UPDATE {schema}.primer_store SET version = 99"));
    match Store::open(&at(&other)) {
        Err(Error::StoreVersion { found: 99, expected: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
    cluster::shared().sql(&format!("UPDATE {schema}.primer_store SET version = 2; DROP TABLE {schema}.study CASCADE"));
    assert!(matches!(Store::open(&at(&other)), Err(Error::StoreContent { .. })));
}

#[test]
fn who_may_only_look_looks() {
    let (url, schema) = cluster::shared().schema();
    run(&Store::create(&at(&url), &spec()).unwrap(), 3);
    cluster::shared().sql(&format!(
        "CREATE ROLE looker LOGIN PASSWORD '{PASSWORD}'; GRANT USAGE ON SCHEMA {schema} TO looker; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO looker"
    ));
    let looker = url.replace("primer:", "looker:");
    let store = Store::open(&at(&looker)).unwrap();
    assert_eq!(store.status().unwrap().counts.finished(), 4);
    assert_eq!(store.log().unwrap().finished.len(), 4);
    let options = ClaimOptions { worker: WorkerId::new(), lease: Duration::from_secs(9), children: None };
    match store.claim(&options) {
        Err(Error::StoreServer { problem: Problem::Permission { reason }, .. }) => assert!(reason.contains("study")),
        other => panic!("{other:?}"),
    }
    // It still works: the refusal has left nothing open.
    assert_eq!(store.status().unwrap().counts.finished(), 4);
    let (empty, schema) = cluster::shared().schema();
    cluster::shared().sql(&format!("GRANT USAGE ON SCHEMA {schema} TO looker"));
    assert!(matches!(refused(&empty.replace("primer:", "looker:")), Problem::Permission { .. }));
}

/// A connection that the server ends is replaced without a word, also in the middle of a candidate.
#[test]
fn a_broken_connection_is_replaced() {
    let (url, _) = cluster::shared().schema();
    let store = Store::create(&at(&format!("{url}&application_name=broken")), &spec()).unwrap();
    let cut = || {
        let of_store = "FROM pg_stat_activity WHERE application_name = 'broken'";
        let count = |what: &str| cluster::shared().sql(&format!("SELECT count({what}) {of_store}"));
        assert_ne!(count("pg_terminate_backend(pid)"), "0\n");
        while count("pid") != "0\n" {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let options = ClaimOptions { worker: WorkerId::new(), lease: Duration::from_secs(9), children: None };
    cut();
    let Claim::Leased(seed) = store.claim(&options).unwrap() else { panic!("nothing to do") };
    cut();
    assert!(store.renew(&seed, Duration::from_secs(9), Cost::default()).unwrap());
    cut();
    assert!(store.finish(&seed, plain(2.0), Cost::default()).unwrap().is_some());
    cut();
    assert_eq!(store.status().unwrap().seed_fitness, Some(2.0));
}

/// The URL in a message is one to go on with, but for the password.
#[test]
fn messages_show_where_and_never_the_password() {
    let (url, schema) = cluster::shared().schema();
    let location: Location = url.parse().unwrap();
    let shown = location.to_string();
    assert!(shown.starts_with("postgres://primer@") && shown.ends_with(&schema), "{shown}");
    let error = Store::open(&location).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), format!("the search store {shown}: there is no study in it"));
}
