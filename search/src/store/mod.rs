//! The study's store: one SQLite file that several workers, threads and processes share.
//!
//! All calls block. The log of finished candidates is the whole state of a
//! search: a worker that is killed loses the candidate it had in hand, which another one takes
//! over, and nothing else.

mod claim;
mod database;
mod fault;
mod file;
mod finish;
mod read;
mod record;
mod schema;
mod sql;
mod worker_id;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

pub use claim::{Claim, ClaimOptions, LEASE, MAX_ATTEMPTS};
pub use finish::Verdict;
pub use record::{Best, Candidate, Cost, Counts, Finished, Log, Mark, State, Status};
pub use worker_id::WorkerId;

use database::Database;
use fault::Fault;
use sql::{Connection, sql};

use crate::canonical::canonical_hash;
use crate::dna::Dna;
use crate::error::{Error, Result};
use crate::mutate::Chain;
use crate::study::{StudySpec, sha256_hex};

/// How long a call waits for another writer.
const BUSY: Duration = Duration::from_secs(30);

/// An open store. Shared by reference between threads; each process opens its own.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    spec: Arc<StudySpec>,
    spec_sha256: String,
    database: Database,
}

impl Store {
    /// Makes a new study at `path` and puts its seed program in.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file exists or can't be made, [`Error::Option`], [`Error::Parse`] or
    /// [`Error::Rejected`] for a study or a seed program without meaning, [`Error::Store`].
    pub fn create(path: &Path, spec: &StudySpec) -> Result<Store> {
        let spec = normalized(spec)?;
        if !write_new(path, &spec)? {
            return Err(Error::Io { path: path.to_owned(), source: std::io::ErrorKind::AlreadyExists.into() });
        }
        Store::open(path)
    }

    /// Opens an existing study with the options it was made with.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no such file, [`Error::StoreVersion`] for another version's
    /// store, which stays as it is, [`Error::StoreContent`] for anything that is no store or a
    /// damaged one, [`Error::Store`] if the database fails.
    pub fn open(path: &Path) -> Result<Store> {
        file::inspect(path)?;
        let options = options(path);
        let database = Database::start(options).map_err(|fault| fault.at(path, "open"))?;
        let stored =
            database.call(async |connection| read::study(connection).await).map_err(|fault| fault.at(path, "open"))?;
        let content = |reason: String| Error::StoreContent { path: path.to_owned(), reason };
        if sha256_hex(&stored.spec) != stored.spec_sha256 {
            return Err(content("the study's options don't match their hash".into()));
        }
        let spec: StudySpec =
            serde_json::from_str(&stored.spec).map_err(|error| content(format!("the study's options: {error}")))?;
        spec.validate()?;
        Ok(Store { path: path.to_owned(), spec: Arc::new(spec), spec_sha256: stored.spec_sha256, database })
    }

    /// Makes the study if `path` is free, else opens it and insists on the same options.
    ///
    /// # Errors
    ///
    /// [`Error::StudyMismatch`] naming the first option that differs, and those of
    /// [`Store::create`] and [`Store::open`].
    pub fn open_or_create(path: &Path, spec: &StudySpec) -> Result<Store> {
        let spec = normalized(spec)?;
        // Of several processes that start together, one makes it and the others open it.
        if !path.exists() {
            write_new(path, &spec)?;
        }
        let store = Store::open(path)?;
        store.spec.check_same(&spec)?;
        Ok(store)
    }

    /// The study's options, as stored.
    pub fn spec(&self) -> &StudySpec {
        &self.spec
    }

    /// SHA-256 of the text of the study's options.
    pub fn spec_sha256(&self) -> &str {
        &self.spec_sha256
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads, or changes one row.
    fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        job: impl AsyncFn(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.database.call(job).map_err(|fault| fault.at(&self.path, action))
    }

    /// Reads and writes as one, after all others.
    fn transact<T: Send + 'static>(
        &self,
        action: &'static str,
        job: impl AsyncFn(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.database.transact(job).map_err(|fault| fault.at(&self.path, action))
    }
}

/// The study with its seed program in the printed form, so that comments don't make a difference.
fn normalized(spec: &StudySpec) -> Result<StudySpec> {
    spec.validate()?;
    let seed: Dna = spec.seed_dna.parse()?;
    Ok(StudySpec { seed_dna: seed.to_string(), ..spec.clone() })
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
fn write_new(path: &Path, spec: &StudySpec) -> Result<bool> {
    let unfinished = file::unfinished(path);
    // The system says why a file can't be made better than the database does.
    std::fs::File::create_new(&unfinished).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let made = fill(&unfinished, spec).map_err(|fault| fault.at(path, "create"));
    match made {
        Ok(()) => file::publish(&unfinished, path),
        Err(error) => {
            // What is left of it is nobody's; the first error is the one to tell.
            let _ = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

fn fill(unfinished: &Path, spec: &StudySpec) -> Result<(), Fault> {
    let text = spec.to_json()?;
    let sha256 = sha256_hex(&text);
    let seed: Dna = spec.seed_dna.parse()?;
    let canonical = canonical_hash(&seed).map_err(Error::from)?.to_string();
    let program = spec.seed_dna.clone();
    let mutation = serde_json::to_string(&Chain::default())?;
    let database = Database::start(options(unfinished).journal_mode(SqliteJournalMode::Wal))?;
    database.transact(async move |connection| {
        for statement in schema::CREATE {
            sql(statement).execute(connection).await?;
        }
        sql("INSERT INTO study VALUES (1, ?, ?, 1, -1)").bind(&*text).bind(&*sha256).execute(connection).await?;
        sql("INSERT INTO candidate (child_no, mutation, program, canonical, watermark, bars, state)
             VALUES (0, ?, ?, ?, 0, '', 'pending')")
        .bind(&*mutation)
        .bind(&*program)
        .bind(&*canonical)
        .execute(connection)
        .await?;
        Ok(())
    })
}
