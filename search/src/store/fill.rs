//! What a new store is filled with.

use super::dump::Attempt;
use super::record::{Candidate, Cost, Mark, State, bars_text, cost_values, signed};
use super::sql::{Connection, Value, sql};
use super::{Fault, schema};
use crate::dna::Dna;
use crate::error::Result;
use crate::evolve::Forms;
use crate::lower;
use crate::mutate::Chain;
use crate::study::{StudySpec, sha256_hex};

/// Rows that one statement puts in, at some twenty values each: SQLite takes 32,766, Postgres 65,535.
const ROWS: usize = 1000;

/// A study that is put into an empty database.
pub(super) struct NewStudy {
    /// The text of its options.
    pub spec: String,
    /// Its hash.
    pub spec_sha256: String,
    /// Its candidates in order of their numbers, the seed program first.
    pub entries: Vec<Entry>,
}

/// A candidate with all that is known of it.
pub(super) struct Entry {
    pub candidate: Candidate,
    pub marks: Vec<Mark>,
    pub ledger: Vec<Attempt>,
}

impl NewStudy {
    /// A study whose seed program waits.
    pub(super) fn of(spec: &StudySpec) -> Result<NewStudy> {
        let text = spec.to_json()?;
        let seed: Dna = spec.seed_dna.parse()?;
        lower::plan(&seed, spec.sizes(), &spec.program_limits()?)?;
        let candidate = Candidate {
            child_no: 0,
            parent: None,
            mutation: serde_json::to_string(&Chain::default())?,
            program: spec.seed_dna.clone(),
            canonical: Some(Forms::of(spec)?.identity(&seed)??),
            watermark: 0,
            bars: Vec::new(),
            state: State::Pending,
            worker: None,
            attempt: 0,
            done_seq: None,
            twin: None,
            fitness: None,
            passed: 0,
            cost: Cost::default(),
            spent: 0,
            error: None,
            finished_ms: None,
        };
        Ok(NewStudy {
            spec_sha256: sha256_hex(&text),
            spec: text,
            entries: vec![Entry { candidate, marks: Vec::new(), ledger: Vec::new() }],
        })
    }

    /// Makes the tables and puts everything in.
    pub(super) async fn insert(&self, connection: &mut Connection) -> Result<(), Fault> {
        for statement in schema::CREATE {
            sql(statement).execute(connection).await?;
        }
        let finished = self.entries.iter().filter(|entry| entry.candidate.done_seq.is_some()).count();
        sql("INSERT INTO study VALUES (1, ?, ?, ?, ?)")
            .bind(&*self.spec)
            .bind(&*self.spec_sha256)
            .bind(signed(self.entries.len() as u64))
            .bind(signed(finished as u64) - 1)
            .execute(connection)
            .await?;
        let candidates = "candidate (child_no, parent, mutation, program, canonical, watermark, bars, state, attempt, \
             done_seq, twin, fitness, passed, error, finished_ms, \
             steps, tokens, flops, predicted_seconds, training_seconds, seconds, spent)";
        insert(connection, candidates, self.entries.iter().map(|entry| candidate(&entry.candidate))).await?;
        let marks = self.entries.iter().flat_map(|entry| entry.marks.iter().map(|m| mark(&entry.candidate, m)));
        insert(connection, "mark (child_no, run, mark, loss, done_seq)", marks).await?;
        let ledger = "ledger (child_no, attempt, kind, \
             steps, tokens, flops, predicted_seconds, training_seconds, seconds)";
        let attempts = self.entries.iter().flat_map(|entry| {
            let child_no = entry.candidate.child_no;
            entry.ledger.iter().map(move |a| {
                [signed(child_no).into(), a.attempt.into(), a.kind.name().into()]
                    .into_iter()
                    .chain(cost_values(a.cost))
                    .collect()
            })
        });
        insert(connection, ledger, attempts).await
    }
}

/// Puts rows into a table, given with its columns.
async fn insert(connection: &mut Connection, table: &str, rows: impl Iterator<Item = Vec<Value>>) -> Result<(), Fault> {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let part: Vec<Vec<Value>> = rows.by_ref().take(ROWS).collect();
        let places: Vec<String> = part.iter().map(|row| format!("({})", vec!["?"; row.len()].join(", "))).collect();
        let statement = sql(format!("INSERT INTO {table} VALUES {}", places.join(", ")));
        part.into_iter()
            .flatten()
            .fold(statement, |statement, value| statement.bind(value))
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn candidate(c: &Candidate) -> Vec<Value> {
    let row: [Value; 15] = [
        signed(c.child_no).into(),
        c.parent.map(signed).into(),
        (&*c.mutation).into(),
        (&*c.program).into(),
        c.canonical.as_deref().into(),
        signed(c.watermark).into(),
        (&*bars_text(&c.bars)).into(),
        (&*c.state.to_string()).into(),
        c.attempt.into(),
        c.done_seq.map(signed).into(),
        c.twin.map(signed).into(),
        c.fitness.into(),
        c.passed.into(),
        c.error.as_deref().into(),
        c.finished_ms.into(),
    ];
    row.into_iter().chain(cost_values(c.cost)).chain([c.spent.into()]).collect()
}

fn mark(candidate: &Candidate, mark: &Mark) -> Vec<Value> {
    let place = candidate.done_seq.map(signed);
    vec![signed(candidate.child_no).into(), mark.run.into(), mark.mark.into(), mark.loss.into(), place.into()]
}
