//! Stores in a file.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::database::{Database, Target};
use super::{Fault, schema};
use super::{NewStudy, file};
use crate::error::{Error, Result};

/// How long a call waits for another writer.
const BUSY: Duration = Duration::from_secs(30);

/// Opens the file, which is a store: see [`file::inspect`].
pub(super) fn target(path: &Path) -> Target {
    Target::Sqlite(Box::new(options(path)))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .synchronous(SqliteSynchronous::Normal)
        .thread_name(|_| "primer-sqlite".to_owned())
        .disable_statement_logging()
}

/// Writes a whole new store and then gives it its name: a store is there complete or not at all.
/// `false` if the name is taken.
pub(super) fn create(path: &Path, study: NewStudy) -> Result<bool> {
    let unfinished = file::unfinished(path);
    // The system says why a file can't be made better than the database does.
    std::fs::File::create_new(&unfinished).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let made = fill(&unfinished, study).map_err(|fault| fault.at(&path.into(), "create"));
    match made {
        Ok(()) => file::publish(&unfinished, path),
        Err(error) => {
            // What is left of it is nobody's; the first error is the one to tell.
            let _ = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

fn fill(unfinished: &Path, study: NewStudy) -> Result<(), Fault> {
    let options = options(unfinished).journal_mode(SqliteJournalMode::Wal);
    let database = Database::start(Target::Sqlite(Box::new(options)))?;
    database.transact(async move |connection| {
        for statement in schema::MARK_FILE {
            super::sql(statement).execute(connection).await?;
        }
        study.insert(connection).await
    })
}
