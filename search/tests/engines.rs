//! The same tests on both engines.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use primer_search::store::{Location, Store};
use primer_search::study::StudySpec;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

#[cfg(unix)]
use crate::cluster;
use crate::synthetic::{run, spec};

/// Where stores are made.
#[derive(Debug)]
pub enum Engine {
    Sqlite(tempfile::TempDir),
    #[cfg(unix)]
    Postgres,
}

/// Runs a test on every engine.
pub fn each(test: impl Fn(&Engine)) {
    test(&Engine::Sqlite(tempfile::tempdir().unwrap()));
    #[cfg(unix)]
    test(&Engine::Postgres);
}

impl Engine {
    /// The URL of a place with nothing in it.
    pub fn place(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        match self {
            Engine::Sqlite(folder) => {
                let name = format!("{}.db", COUNT.fetch_add(1, Ordering::Relaxed));
                format!("sqlite:{}", folder.path().join(name).display())
            }
            #[cfg(unix)]
            Engine::Postgres => cluster::shared().schema().0,
        }
    }

    /// A new study.
    pub fn study(&self, spec: &StudySpec) -> Store {
        Store::create(&at(&self.place()), spec).unwrap()
    }

    /// A study in which one worker made `children` children undisturbed.
    pub fn undisturbed(&self, children: u64) -> Store {
        let store = self.study(&spec());
        run(&store, children);
        store
    }
}

/// The location that a URL means.
pub fn at(url: &str) -> Location {
    url.parse().unwrap()
}

/// Changes a store behind its back.
pub fn tamper(url: &str, statement: &str) {
    match at(url) {
        Location::Sqlite(path) => tamper_file(path, statement),
        #[cfg(unix)]
        Location::Postgres(_) => {
            let (_, schema) = url.rsplit_once('=').unwrap();
            cluster::shared().sql(&format!("SET search_path = {schema}; {statement}"));
        }
        #[cfg(not(unix))]
        Location::Postgres(_) => unreachable!("there is none here"),
    }
}

fn tamper_file(path: PathBuf, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.unwrap();
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}
