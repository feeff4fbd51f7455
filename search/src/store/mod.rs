//! The study's store: one SQLite file that several workers, threads and processes share.
//!
//! All calls block. The database runs on one thread of its own with its own small runtime, so
//! nothing asynchronous shows outside. The log of finished candidates is the whole state of a
//! search: a worker that is killed loses the candidate it had in hand, which another one takes
//! over, and nothing else.

mod claim;
mod file;
mod finish;
mod read;
mod record;
mod schema;
mod worker_id;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};

pub use claim::{Claim, ClaimOptions, LEASE, MAX_ATTEMPTS};
pub use finish::Verdict;
pub use record::{Best, Candidate, Cost, Counts, Finished, Log, Mark, State, Status};
pub use worker_id::WorkerId;

use crate::canonical::canonical_hash;
use crate::dna::Dna;
use crate::error::{Error, Result};
use crate::mutate::Chain;
use crate::study::{StudySpec, sha256_hex};

/// How long a call waits for another writer.
const BUSY: Duration = Duration::from_secs(30);

/// Starts a transaction that may write. A plain BEGIN that reads first and writes later fails at
/// once, whatever the time-out, if another writer came between.
const BEGIN: &str = "BEGIN IMMEDIATE";

type Job = Box<dyn FnOnce(&Runtime, &mut SqliteConnection) + Send>;

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

    /// Runs `job` on the database's thread.
    fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        job: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.database.call(job).map_err(|fault| fault.at(&self.path, action))
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
    database.call(async move |connection| {
        let mut transaction = connection.begin_with(BEGIN).await?;
        for statement in schema::CREATE {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
        sqlx::query("INSERT INTO study VALUES (1, ?, ?, 1, -1)")
            .bind(text)
            .bind(sha256)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO candidate (child_no, mutation, program, canonical, watermark, bars, state)
             VALUES (0, ?, ?, ?, 0, '', 'pending')",
        )
        .bind(mutation)
        .bind(program)
        .bind(canonical)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    })
}

/// The thread that owns the connection. Dropped, it finishes its work and closes the file.
#[derive(Debug)]
struct Database {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Database {
    fn start(options: SqliteConnectOptions) -> Result<Database, Fault> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("primer-store".to_owned())
            .spawn(move || match connect(&options) {
                Ok((runtime, mut connection)) => {
                    // The opener waits for this; if it has gone, the queue is closed as well.
                    let _ = ready.send(Ok(()));
                    while let Ok(job) = queue.recv() {
                        job(&runtime, &mut connection);
                    }
                    if let Err(error) = runtime.block_on(connection.close()) {
                        tracing::warn!(%error, "closing the search store");
                    }
                }
                Err(fault) => {
                    let _ = ready.send(Err(fault));
                }
            })
            .map_err(|error| Fault::Sql(sqlx::Error::Io(error)))?;
        let database = Database { jobs: Some(jobs), thread: Some(thread) };
        opened.recv().map_err(|_| Error::Thread("store"))??;
        Ok(database)
    }

    fn call<T: Send + 'static>(
        &self,
        job: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move |runtime, connection| {
            // A caller that has gone doesn't need the answer.
            let _ = reply.send(runtime.block_on(job(connection)));
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(Error::Thread("store"))?;
        answer.recv().map_err(|_| Error::Thread("store"))?
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the store's thread panicked");
        }
    }
}

fn connect(options: &SqliteConnectOptions) -> Result<(Runtime, SqliteConnection), Fault> {
    let runtime = Builder::new_current_thread().build().map_err(sqlx::Error::Io)?;
    let connection = runtime.block_on(options.connect())?;
    Ok((runtime, connection))
}

/// A failure on the database's thread, which knows neither the file nor what the call was for.
#[derive(Debug)]
enum Fault {
    Sql(sqlx::Error),
    Content(String),
    Other(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Fault {
        Fault::Other(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

impl Fault {
    fn at(self, path: &Path, action: &'static str) -> Error {
        let path = path.to_owned();
        match self {
            Fault::Sql(source) if is_damage(&source) => {
                Error::StoreContent { path, reason: format!("it is damaged ({source})") }
            }
            Fault::Sql(source) => Error::Store { path, action, source },
            Fault::Content(reason) => Error::StoreContent { path, reason },
            Fault::Other(error) => error,
        }
    }
}

/// Whether the file is at fault: SQLITE_CORRUPT and SQLITE_NOTADB with their extended codes, a
/// table or column that is not there, a value of another type.
fn is_damage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<u32>().ok());
            code.is_some_and(|code| matches!(code & 0xff, 11 | 26)) || error.message().starts_with("no such ")
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}
