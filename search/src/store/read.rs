//! Questions to the store. None of them waits for a worker.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::record::{self, Best, COLUMNS, Candidate, Cost, Counts, Log, State, Status, signed};
use super::{Fault, Store};
use crate::error::Result;

/// The study's row.
pub(super) struct Study {
    pub spec: String,
    pub spec_sha256: String,
}

pub(super) async fn study(connection: &mut SqliteConnection) -> Result<Study, Fault> {
    let row = sqlx::query("SELECT spec, spec_sha256 FROM study WHERE id = 1").fetch_one(connection).await?;
    Ok(Study { spec: row.try_get(0)?, spec_sha256: row.try_get(1)? })
}

/// One candidate by its number.
pub(super) async fn candidate(connection: &mut SqliteConnection, child_no: u64) -> Result<Option<Candidate>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM candidate WHERE child_no = ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(signed(child_no)).fetch_optional(connection).await?;
    row.as_ref().map(record::candidate).transpose()
}

async fn standing(connection: &mut SqliteConnection) -> Result<(Counts, Option<Best>), Fault> {
    let mut counts = Counts::default();
    let rows = sqlx::query("SELECT state, count(*) FROM candidate GROUP BY state").fetch_all(&mut *connection).await?;
    for row in &rows {
        let name: &str = row.try_get(0)?;
        let state = State::from_name(name).ok_or_else(|| record::unknown_state(name))?;
        *counts.slot(state) = record::count(row, 1)?;
    }
    let best = sqlx::query(
        "SELECT child_no, fitness FROM candidate WHERE fitness IS NOT NULL
         ORDER BY fitness, done_seq LIMIT 1",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let best = match best {
        Some(row) => Some(Best { child_no: record::count(&row, 0)?, fitness: row.try_get(1)? }),
        None => None,
    };
    Ok((counts, best))
}

async fn status(connection: &mut SqliteConnection) -> Result<Status, Fault> {
    let (counts, best) = standing(connection).await?;
    let seed = sqlx::query("SELECT fitness FROM candidate WHERE child_no = 0").fetch_one(&mut *connection).await?;
    let mut status =
        Status { counts, best, seed_fitness: seed.try_get(0)?, useful: Cost::default(), wasted: Cost::default() };
    let rows = sqlx::query("SELECT kind, sum(steps), sum(tokens), sum(seconds) FROM ledger GROUP BY kind")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        match row.try_get(0)? {
            "useful" => status.useful = record::cost(row, 1)?,
            "wasted" => status.wasted = record::cost(row, 1)?,
            _ => {}
        }
    }
    Ok(status)
}

impl Store {
    /// How far the study is.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Store`], [`crate::Error::StoreContent`], as of every call here.
    pub fn status(&self) -> Result<Status> {
        self.call("status", async |connection| status(connection).await)
    }

    /// All candidates by state, and the best: what changes with every finished one.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn standing(&self) -> Result<(Counts, Option<Best>)> {
        self.call("status", async |connection| standing(connection).await)
    }

    /// The log of finished candidates, as of one moment.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn log(&self) -> Result<Log> {
        self.call("read", async |connection| {
            // One statement sees one state of the store.
            let rows = sqlx::query(
                "SELECT next_child, child_no, c.done_seq, state, twin, fitness, canonical, steps,
                     tokens, seconds, finished_ms
                 FROM study LEFT JOIN candidate c ON c.done_seq IS NOT NULL
                 ORDER BY c.done_seq",
            )
            .fetch_all(connection)
            .await?;
            let mut log = Log { candidates: 1, finished: Vec::with_capacity(rows.len()) };
            for row in &rows {
                log.candidates = record::count(row, 0)?;
                if let Some(finished) = record::finished(row)? {
                    log.finished.push(finished);
                }
            }
            Ok(log)
        })
    }

    /// One candidate; none if there is no such number.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn candidate(&self, child_no: u64) -> Result<Option<Candidate>> {
        self.call("read", async move |connection| candidate(connection, child_no).await)
    }

    /// The evaluated candidates with the least loss, best first, twins left out.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn top(&self, count: u32) -> Result<Vec<Candidate>> {
        self.list("state = 'done' AND fitness IS NOT NULL ORDER BY fitness, done_seq LIMIT ?", count.into())
    }

    /// The candidates in order of their numbers, at most 256 from `first` on.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn candidates(&self, first: u64) -> Result<Vec<Candidate>> {
        self.list("child_no >= ? ORDER BY child_no LIMIT 256", signed(first))
    }

    /// A candidate and its forebears up to the seed program, youngest first; empty if there is no
    /// such number.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn lineage(&self, child_no: u64) -> Result<Vec<Candidate>> {
        // A parent's number is always smaller, so the order of numbers is that of the line.
        self.list(
            "child_no IN (
                 WITH RECURSIVE line (number) AS (
                     SELECT ?
                     UNION
                     SELECT parent FROM candidate JOIN line ON child_no = number
                     WHERE parent IS NOT NULL
                 )
                 SELECT number FROM line
             ) ORDER BY child_no DESC",
            signed(child_no),
        )
    }

    /// Candidates by a condition with one number in it.
    fn list(&self, condition: &'static str, number: i64) -> Result<Vec<Candidate>> {
        self.call("read", async move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM candidate WHERE {condition}");
            let rows = sqlx::query(AssertSqlSafe(sql)).bind(number).fetch_all(connection).await?;
            rows.iter().map(record::candidate).collect()
        })
    }
}
