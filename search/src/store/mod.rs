//! The study's store, which several workers share: threads and processes in an SQLite file, machines on a
//! Postgres server.
//!
//! All calls block. The log of finished candidates is the whole state of a
//! search: a worker that is killed loses the candidate it had in hand, which another one takes
//! over, and nothing else.

mod claim;
mod database;
mod dump;
mod fault;
mod file;
mod fill;
mod finish;
mod location;
mod postgres;
mod read;
mod record;
mod schema;
mod sql;
mod sqlite;
mod worker_id;

use std::sync::Arc;

use primer_models::text::TokenizerSpec;

pub use claim::{Claim, ClaimOptions, LEASE, MAX_ATTEMPTS};
pub use dump::Dump;
pub use finish::Verdict;
pub use location::{Location, ServerUrl};
pub use record::{Best, Candidate, Cost, Counts, Finished, Log, Mark, State, Status};
pub use worker_id::WorkerId;

use database::{Database, Target};
use fault::Fault;
use fill::{Entry, NewStudy};
use sql::{Connection, sql};

use crate::dna::Dna;
use crate::error::{Error, Result, ServerProblem};
use crate::evolve::Forms;
use crate::study::{StudySpec, sha256_hex};

/// An open store. Shared by reference between threads; each process opens its own.
#[derive(Debug)]
pub struct Store {
    location: Location,
    spec: Arc<StudySpec>,
    spec_sha256: String,
    forms: Arc<Forms>,
    database: Database,
}

impl Store {
    /// Makes a new study and puts its seed program in.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file exists or can't be made, [`Error::StoreServer`] if the server holds a study or
    /// refuses to make one, [`Error::Option`] (also for byte pairs before [`StudySpec::learn_tokens`]), [`Error::Parse`] or [`Error::Rejected`] for a study or a seed
    /// program without meaning, [`Error::Store`].
    pub fn create(location: &Location, spec: &StudySpec) -> Result<Store> {
        made(location, NewStudy::of(&normalized(spec)?)?)
    }

    /// Opens an existing study with the options it was made with.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no such file, [`Error::StoreServer`] if the server can't be reached or has no
    /// such study, [`Error::StoreVersion`] for another version's store, which stays as it is,
    /// [`Error::StoreContent`] for anything that is no store or a damaged one, [`Error::Store`] if the database
    /// fails.
    pub fn open(location: &Location) -> Result<Store> {
        let at = |fault: Fault| fault.at(location, "open");
        let database = match location {
            Location::Sqlite(path) => {
                file::inspect(path)?;
                Database::start(sqlite::target(path)).map_err(at)?
            }
            Location::Postgres(url) => {
                let database = Database::start(Target::Postgres(url.clone())).map_err(at)?;
                database.call(async |connection| postgres::inspect(connection).await).map_err(at)?;
                database
            }
        };
        let stored = database.call(async |connection| read::study(connection).await).map_err(at)?;
        let content = |reason: String| Error::StoreContent { location: location.clone(), reason };
        if sha256_hex(&stored.spec) != stored.spec_sha256 {
            return Err(content("the study's options don't match their hash".into()));
        }
        let spec: StudySpec =
            serde_json::from_str(&stored.spec).map_err(|error| content(format!("the study's options: {error}")))?;
        spec.validate()?;
        let forms = Arc::new(Forms::of(&spec)?);
        let (location, spec_sha256) = (location.clone(), stored.spec_sha256);
        Ok(Store { location, spec: Arc::new(spec), spec_sha256, forms, database })
    }

    /// Whether something is there to be opened: a file, or a study on a server.
    ///
    /// # Errors
    ///
    /// [`Error::StoreServer`] if the server can't be asked.
    pub fn exists(location: &Location) -> Result<bool> {
        match location {
            Location::Sqlite(path) => Ok(path.exists()),
            Location::Postgres(url) => Database::start(Target::Postgres(url.clone()))
                .and_then(|database| database.call(async |connection| postgres::is_there(connection).await))
                .map_err(|fault| fault.at(location, "open")),
        }
    }

    /// Makes the study if the place is free, else opens it and insists on the same options.
    ///
    /// # Errors
    ///
    /// [`Error::StudyMismatch`] naming the first option that differs, and those of
    /// [`Store::create`] and [`Store::open`].
    pub fn open_or_create(location: &Location, spec: &StudySpec) -> Result<Store> {
        let spec = normalized(spec)?;
        // Of several processes that start together, one makes it and the others open it.
        if !Store::exists(location)? {
            create(location, NewStudy::of(&spec)?)?;
        }
        let store = Store::open(location)?;
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

    /// How its programs are told apart.
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    /// Where it lies.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Reads, or changes one row.
    fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        job: impl AsyncFn(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.database.call(job).map_err(|fault| fault.at(&self.location, action))
    }

    /// Reads and writes as one, after all others.
    fn transact<T: Send + 'static>(
        &self,
        action: &'static str,
        job: impl AsyncFn(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.database.transact(job).map_err(|fault| fault.at(&self.location, action))
    }
}

/// The study with its seed program in the printed form, so that comments don't make a difference.
fn normalized(spec: &StudySpec) -> Result<StudySpec> {
    spec.validate()?;
    if matches!(spec.tokenizer, TokenizerSpec::Bpe(_)) && spec.tokenizer_sha256.is_none() {
        let (given, reason) = (spec.tokenizer.to_string(), "it has not been learned from the corpus".to_owned());
        return Err(Error::Option { key: "tokenizer", given, reason });
    }
    let seed: Dna = spec.seed_dna.parse()?;
    Ok(StudySpec { seed_dna: seed.to_string(), ..spec.clone() })
}

/// Makes a study; `false` if the place is taken.
fn create(location: &Location, study: NewStudy) -> Result<bool> {
    match location {
        Location::Sqlite(path) => sqlite::create(path, study),
        Location::Postgres(url) => postgres::create(url, study).map_err(|fault| fault.at(location, "create")),
    }
}

/// Makes a study where none is, and opens it.
fn made(location: &Location, study: NewStudy) -> Result<Store> {
    if create(location, study)? {
        return Store::open(location);
    }
    Err(match location {
        Location::Sqlite(path) => Error::Io { path: path.clone(), source: std::io::ErrorKind::AlreadyExists.into() },
        Location::Postgres(_) => Error::StoreServer { location: location.clone(), problem: ServerProblem::Study },
    })
}
