//! Questions to the store. None of them waits for a worker.

use std::collections::BTreeSet;

use super::dump::Attempt;
use super::record::{self, Best, COLUMNS, Candidate, Cost, Counts, Kind, Log, Mark, State, Status, signed};
use super::sql::{Connection, sql};
use super::{Fault, Store};
use crate::error::Result;

/// All candidates by state.
const COUNTS: &str = "SELECT state, count(*) FROM candidate GROUP BY state";

/// The best candidate.
const BEST: &str =
    "SELECT child_no, fitness FROM candidate WHERE fitness IS NOT NULL ORDER BY fitness, done_seq LIMIT 1";

/// The best ones, without those that took a twin's result. A condition on the state would have SQLite sort them all.
const RANKING: &str = "fitness IS NOT NULL AND twin IS NULL ORDER BY fitness, done_seq LIMIT 64 OFFSET ?";

/// What attempts of one kind have spent. Grouped by kind, SQLite would sort the whole ledger first.
const SPENT: &str = "SELECT coalesce(CAST(sum(steps) AS INTEGER), 0), coalesce(CAST(sum(tokens) AS INTEGER), 0),
         coalesce(sum(CAST(flops AS REAL)), 0.0), coalesce(sum(predicted_seconds), 0.0),
         coalesce(sum(training_seconds), 0.0), coalesce(sum(seconds), 0.0)
     FROM ledger WHERE kind = ?";

/// The study's row.
pub(super) struct Study {
    pub spec: String,
    pub spec_sha256: String,
}

pub(super) async fn study(connection: &mut Connection) -> Result<Study, Fault> {
    let row = sql("SELECT spec, spec_sha256 FROM study WHERE id = 1").fetch_one(connection).await?;
    Ok(Study { spec: row.get(0)?, spec_sha256: row.get(1)? })
}

/// One candidate by its number.
pub(super) async fn candidate(connection: &mut Connection, child_no: u64) -> Result<Option<Candidate>, Fault> {
    let text = format!("SELECT {COLUMNS} FROM candidate WHERE child_no = ?");
    let row = sql(text).bind(signed(child_no)).fetch_optional(connection).await?;
    row.as_ref().map(record::candidate).transpose()
}

async fn standing(connection: &mut Connection) -> Result<(Counts, Option<Best>), Fault> {
    let mut counts = Counts::default();
    let rows = sql(COUNTS).fetch_all(connection).await?;
    for row in &rows {
        let name: &str = row.get(0)?;
        let state = State::from_name(name).ok_or_else(|| record::unknown_state(name))?;
        *counts.slot(state) = record::count(row, 1)?;
    }
    let best = sql(BEST).fetch_optional(connection).await?;
    let best = match best {
        Some(row) => Some(Best { child_no: record::count(&row, 0)?, fitness: row.get(1)? }),
        None => None,
    };
    Ok((counts, best))
}

async fn status(connection: &mut Connection) -> Result<Status, Fault> {
    let (counts, best) = standing(connection).await?;
    let seed = sql("SELECT fitness FROM candidate WHERE child_no = 0").fetch_one(connection).await?;
    let useful = spent(connection, Kind::Useful).await?;
    let wasted = spent(connection, Kind::Wasted).await?;
    Ok(Status { counts, best, seed_fitness: seed.get(0)?, useful, wasted })
}

async fn spent(connection: &mut Connection, kind: Kind) -> Result<Cost, Fault> {
    let row = sql(SPENT).bind(kind.name()).fetch_one(connection).await?;
    // A sum is no integer.
    record::cost_with(&row, 0, row.get(2)?)
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
            let rows =
                sql("SELECT next_child, child_no, c.done_seq, state, twin, fitness, canonical, passed, finished_ms,
                     steps, tokens, flops, predicted_seconds, training_seconds, seconds
                 FROM study LEFT JOIN candidate c ON c.done_seq IS NOT NULL
                 ORDER BY c.done_seq")
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

    /// The losses that a finished candidate had at its marks, run by run.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn marks(&self, child_no: u64) -> Result<Vec<Mark>> {
        self.call("read", async move |connection| {
            let text = "SELECT run, mark, loss FROM mark WHERE child_no = ? ORDER BY run, mark";
            let rows = sql(text).bind(signed(child_no)).fetch_all(connection).await?;
            rows.iter().map(|row| record::mark(row, 0)).collect()
        })
    }

    /// All marks of all finished candidates with the candidates' places in the log, in the order of the log.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn all_marks(&self) -> Result<Vec<(u64, Mark)>> {
        self.call("read", async |connection| {
            let text = "SELECT done_seq, run, mark, loss FROM mark ORDER BY done_seq, run, mark";
            let rows = sql(text).fetch_all(connection).await?;
            rows.iter().map(|row| Ok((record::count(row, 0)?, record::mark(row, 1)?))).collect()
        })
    }

    /// What each attempt has spent, with its candidate's number.
    pub(super) fn ledger(&self) -> Result<Vec<(u64, Attempt)>> {
        self.call("read", async |connection| {
            let text = "SELECT child_no, attempt, kind, steps, tokens, flops, predicted_seconds, training_seconds,
                     seconds
                 FROM ledger ORDER BY child_no, attempt";
            let rows = sql(text).fetch_all(connection).await?;
            let read = |row| {
                let attempt = record::small_count(row, 1)?;
                Ok((
                    record::count(row, 0)?,
                    Attempt { attempt, kind: Kind::read(row, 2)?, cost: record::cost(row, 3)? },
                ))
            };
            rows.iter().map(read).collect()
        })
    }

    /// The text of the study's options.
    pub(super) fn stored_spec(&self) -> Result<String> {
        self.call("read", async |connection| Ok(study(connection).await?.spec))
    }

    /// One candidate; none if there is no such number.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn candidate(&self, child_no: u64) -> Result<Option<Candidate>> {
        self.call("read", async move |connection| candidate(connection, child_no).await)
    }

    /// The evaluated candidates with a finite loss, best first, twins left out. They are read as far as they are asked
    /// for, and what others finish meanwhile may be missed or come twice.
    ///
    /// # Errors
    ///
    /// Of each candidate: see [`Store::status`].
    pub fn ranking(&self) -> impl Iterator<Item = Result<Candidate>> {
        let (mut read, mut page) = (0, Vec::new().into_iter());
        std::iter::from_fn(move || {
            page.next().map(Ok).or_else(|| match self.list(RANKING, read) {
                Ok(next) => {
                    read += next.len() as i64;
                    page = next.into_iter();
                    page.next().map(Ok)
                }
                Err(error) => Some(Err(error)),
            })
        })
    }

    /// The first `count` of the [`Store::ranking`], of those that are the same computation only the best: two workers
    /// may have measured one at the same time, a probe's fingerprint expires, and a study's own canonical form may tell
    /// apart what its sizes make equal.
    ///
    /// # Errors
    ///
    /// See [`Store::status`].
    pub fn top(&self, count: u32) -> Result<Vec<Candidate>> {
        let (mut texts, mut seen, mut found) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for candidate in self.ranking() {
            if found.len() >= count as usize {
                break;
            }
            let candidate = candidate?;
            if texts.insert(candidate.program.clone()) && seen.insert(self.forms().computation(&candidate.dna()?)?) {
                found.push(candidate);
            }
        }
        Ok(found)
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
            let text = format!("SELECT {COLUMNS} FROM candidate WHERE {condition}");
            let rows = sql(text).bind(number).fetch_all(connection).await?;
            rows.iter().map(record::candidate).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dna::seeds;
    use crate::store::Location;
    use crate::study::{Preset, StudySpec};

    /// What is asked again and again reads an index in its order, and never sorts a whole table.
    #[test]
    fn no_question_sorts_the_study() {
        let folder = tempfile::tempdir().unwrap();
        let seed = seeds::transformer().unwrap().to_string();
        let spec = StudySpec::preset(Preset::Small, seed, String::new(), 1);
        let store = Store::create(&Location::Sqlite(folder.path().join("study.db")), &spec).unwrap();
        let plan = |statement: String| {
            let lines = store.call("plan", async move |connection| {
                let rows = sql(format!("EXPLAIN QUERY PLAN {statement}")).fetch_all(connection).await?;
                rows.iter().map(|row| row.get::<String>(3)).collect::<Result<Vec<_>, _>>()
            });
            lines.unwrap().join("\n")
        };
        let ranking = format!("SELECT {COLUMNS} FROM candidate WHERE {RANKING}").replace('?', "10");
        let spent = SPENT.replace('?', "'useful'");
        for (statement, index) in [
            (COUNTS, "COVERING INDEX candidate_state"),
            (BEST, "candidate_fitness"),
            (&ranking, "candidate_fitness"),
            (&spent, "ledger"),
        ] {
            let plan = plan(statement.to_owned());
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        }
    }
}
