//! What the store hands out: candidates, counts, totals.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::sql::{Row, Statement, Value};
use crate::dna::Dna;
use crate::error::Result;
use crate::mutate::Chain;

/// Where a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a worker.
    Pending,
    /// A worker has it, until its lease ends.
    Leased,
    /// Evaluated.
    Done,
    /// Took the result of a twin: a finished candidate of the same canonical form, or with the same fingerprint.
    Cached,
    /// Can't be trained; the reason is kept.
    Rejected,
    /// Given up after too many attempts; the last reason is kept.
    Failed,
}

impl State {
    /// Every state with its name in the store.
    pub const ALL: [(State, &'static str); 6] = [
        (State::Pending, "pending"),
        (State::Leased, "leased"),
        (State::Done, "done"),
        (State::Cached, "cached"),
        (State::Rejected, "rejected"),
        (State::Failed, "failed"),
    ];

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<State> {
        let found = State::ALL.into_iter().find(|&(_, known)| known == name);
        found.map(|(state, _)| state)
    }

    /// Whether the candidate is in the log of finished ones.
    pub fn is_finished(self) -> bool {
        !matches!(self, State::Pending | State::Leased)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = State::ALL[*self as usize];
        f.pad(name)
    }
}

/// What an evaluation has spent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Training steps.
    pub steps: u64,
    /// Training tokens.
    pub tokens: u64,
    /// Floating-point operations of the training steps. The sum of a large study is beyond 64-bit integers.
    pub flops: f64,
    /// What the study's [`Roofline`](crate::roofline::Roofline) predicts for the training steps.
    pub predicted_seconds: f64,
    /// What the training steps took: on a CPU of their thread's processor time, which others at work on the machine
    /// hardly lengthen, on a GPU by the clock.
    pub training_seconds: f64,
    /// Seconds in all: preparation and evaluation too.
    pub seconds: f64,
}

impl Cost {
    /// Measured over predicted seconds of training, where those of the seed program are 1: how true the prediction is for
    /// a program. None where nothing was trained, or nothing predicted.
    pub fn measured_over_predicted(&self, seed: &Cost) -> Option<f64> {
        let ratio =
            |cost: &Cost| (cost.predicted_seconds > 0.0).then(|| cost.training_seconds / cost.predicted_seconds);
        Some(ratio(self)? / ratio(seed)?).filter(|ratio| ratio.is_finite())
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |a, b| Cost {
            steps: a.steps + b.steps,
            tokens: a.tokens + b.tokens,
            flops: a.flops + b.flops,
            predicted_seconds: a.predicted_seconds + b.predicted_seconds,
            training_seconds: a.training_seconds + b.training_seconds,
            seconds: a.seconds + b.seconds,
        })
    }
}

/// What an attempt came to, as the ledger has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A result.
    Useful,
    /// None.
    Wasted,
    /// A twin's result, at no cost.
    Cached,
}

impl Kind {
    const ALL: [(Kind, &'static str); 3] =
        [(Kind::Useful, "useful"), (Kind::Wasted, "wasted"), (Kind::Cached, "cached")];

    /// Its name in the store.
    pub(super) fn name(self) -> &'static str {
        Kind::ALL[self as usize].1
    }

    /// Reads it from a column.
    pub(super) fn read(row: &Row, at: usize) -> Result<Kind, Fault> {
        let name: &str = row.get(at)?;
        let found = Kind::ALL.into_iter().find(|&(_, known)| known == name);
        found.map(|(kind, _)| kind).ok_or_else(|| Fault::Content(format!("an attempt is {name:?}")))
    }
}

/// The loss at one mark of one training run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The run, from 0; only the seed program has several.
    pub run: u32,
    /// Which of [`Fitness::marks`](crate::study::Fitness::marks), from 0; the last one is the end.
    pub mark: u32,
    /// Validation loss in nats a token; none if not finite.
    pub loss: Option<f64>,
}

/// A program of the study and all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// 0 is the seed program; children count from 1 without gaps.
    pub child_no: u64,
    /// The candidate it was made from; none for the seed program.
    pub parent: Option<u64>,
    /// JSON of the mutations that made it; see [`Candidate::mutations`].
    #[serde(skip)]
    pub mutation: String,
    /// The program's text; see [`Candidate::dna`].
    pub program: String,
    /// What twins have in common: the hash of the canonical form, or the fingerprint of a probe; none if the program is
    /// too large to have one.
    pub canonical: Option<String>,
    /// Finished children that its selection saw.
    pub watermark: u64,
    /// For each hurdle, the loss above which it ends there: fixed when the child is made; none where nothing was
    /// measured yet.
    pub bars: Vec<Option<f64>>,
    /// Where it stands.
    pub state: State,
    /// Who has it, or had it last.
    pub worker: Option<String>,
    /// Grows with every lease; whoever holds an older one has lost it.
    pub attempt: u32,
    /// Place in the log of finished candidates, in the order of their commits; the seed's is 0.
    pub done_seq: Option<u64>,
    /// The candidate whose result it took.
    pub twin: Option<u64>,
    /// Validation loss in nats a token, less is better; none if not finished or not finite.
    pub fitness: Option<f64>,
    /// Hurdles that it passed.
    pub passed: u32,
    /// What the last attempt spent.
    pub cost: Cost,
    /// Attempts that were not given back: of so many, [`MAX_ATTEMPTS`](super::MAX_ATTEMPTS) is the most.
    pub spent: u32,
    /// Why it was rejected or failed, or what went wrong in the last attempt.
    pub error: Option<String>,
    /// When it was finished, in milliseconds of Unix time. Decides nothing.
    pub finished_ms: Option<i64>,
}

impl Candidate {
    /// The mutations that made it from its parent.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Json`] if the record was changed from outside.
    pub fn mutations(&self) -> Result<Chain> {
        Ok(serde_json::from_str(&self.mutation)?)
    }

    /// The program.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Parse`] if the text was changed from outside.
    pub fn dna(&self) -> Result<Dna> {
        self.program.parse()
    }
}

/// Candidates by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Waiting.
    pub pending: u64,
    /// Being evaluated.
    pub leased: u64,
    /// Evaluated.
    pub done: u64,
    /// Took a twin's result.
    pub cached: u64,
    /// Can't be trained.
    pub rejected: u64,
    /// Given up.
    pub failed: u64,
}

impl Counts {
    pub(super) fn slot(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending => &mut self.pending,
            State::Leased => &mut self.leased,
            State::Done => &mut self.done,
            State::Cached => &mut self.cached,
            State::Rejected => &mut self.rejected,
            State::Failed => &mut self.failed,
        }
    }

    /// Candidates in the log, the seed program included.
    pub fn finished(&self) -> u64 {
        self.done + self.cached + self.rejected + self.failed
    }

    /// All candidates, the seed program included.
    pub fn total(&self) -> u64 {
        self.finished() + self.pending + self.leased
    }
}

/// The best candidate so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its number; the earliest finished one where several are equal.
    pub child_no: u64,
    /// Its validation loss in nats a token.
    pub fitness: f64,
}

/// How far a study is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Candidates by state.
    pub counts: Counts,
    /// The best so far.
    pub best: Option<Best>,
    /// The seed program's fitness.
    pub seed_fitness: Option<f64>,
    /// Spent on attempts that gave a result.
    pub useful: Cost,
    /// Spent on attempts that gave none: killed, stopped, failed, too late.
    pub wasted: Cost,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finished {
    /// The candidate.
    pub child_no: u64,
    /// Its place in the log; the seed program's is 0.
    pub done_seq: u64,
    /// How it ended.
    pub state: State,
    /// The candidate whose result it took.
    pub twin: Option<u64>,
    /// Validation loss in nats a token; none if not finite.
    pub fitness: Option<f64>,
    /// What its twins have in common with it.
    pub canonical: Option<String>,
    /// Hurdles that it passed.
    pub passed: u32,
    /// What its last attempt spent.
    pub cost: Cost,
    /// When, in milliseconds of Unix time.
    pub finished_ms: i64,
}

/// The finished candidates in the order of their commits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    /// Candidates made until then, finished or not, the seed program included.
    pub candidates: u64,
    /// The finished ones.
    pub finished: Vec<Finished>,
}

/// Columns in the order that [`candidate`] reads them.
pub(super) const COLUMNS: &str = "child_no, parent, mutation, program, canonical, watermark, bars, \
     state, worker, attempt, done_seq, twin, fitness, passed, error, finished_ms, \
     steps, tokens, flops, predicted_seconds, training_seconds, seconds, spent";

/// Reads a row of [`COLUMNS`].
pub(super) fn candidate(row: &Row) -> Result<Candidate, Fault> {
    let state: &str = row.get(7)?;
    Ok(Candidate {
        child_no: count(row, 0)?,
        parent: count_or_null(row, 1)?,
        mutation: row.get(2)?,
        program: row.get(3)?,
        canonical: row.get(4)?,
        watermark: count(row, 5)?,
        bars: bars_from(row.get(6)?)?,
        state: State::from_name(state).ok_or_else(|| unknown_state(state))?,
        worker: row.get(8)?,
        attempt: small_count(row, 9)?,
        done_seq: count_or_null(row, 10)?,
        twin: count_or_null(row, 11)?,
        fitness: row.get(12)?,
        passed: small_count(row, 13)?,
        error: row.get(14)?,
        finished_ms: row.get(15)?,
        cost: cost(row, 16)?,
        spent: small_count(row, 22)?,
    })
}

/// Bars as they are stored: shortest decimal texts, which give the same bits back.
pub(super) fn bars_text(bars: &[Option<f64>]) -> String {
    let texts: Vec<String> = bars.iter().map(|bar| bar.map_or("none".into(), |bar| format!("{bar:?}"))).collect();
    texts.join(" ")
}

fn bars_from(text: &str) -> Result<Vec<Option<f64>>, Fault> {
    let bar = |word: &str| match word {
        "none" => Ok(None),
        word => word.parse().map(Some).map_err(|_| Fault::Content(format!("a bar is {word:?}"))),
    };
    text.split_whitespace().map(bar).collect()
}

/// Reads the row of [`super::Store::log`], which is empty but for the study where nothing is
/// finished.
pub(super) fn finished(row: &Row) -> Result<Option<Finished>, Fault> {
    let Some(child_no) = count_or_null(row, 1)? else {
        return Ok(None);
    };
    let state: &str = row.get(3)?;
    Ok(Some(Finished {
        child_no,
        done_seq: count(row, 2)?,
        state: State::from_name(state).ok_or_else(|| unknown_state(state))?,
        twin: count_or_null(row, 4)?,
        fitness: row.get(5)?,
        canonical: row.get(6)?,
        passed: small_count(row, 7)?,
        finished_ms: row.get(8)?,
        cost: cost(row, 9)?,
    }))
}

/// Reads run, mark and loss from three columns.
pub(super) fn mark(row: &Row, at: usize) -> Result<Mark, Fault> {
    Ok(Mark { run: small_count(row, at)?, mark: small_count(row, at + 1)?, loss: row.get(at + 2)? })
}

pub(super) fn unknown_state(name: &str) -> Fault {
    Fault::Content(format!("a candidate's state is {name:?}"))
}

/// Gives a statement the [`cost_values`].
pub(super) fn bind_cost(statement: Statement, cost: Cost) -> Statement {
    cost_values(cost).into_iter().fold(statement, Statement::bind)
}

/// Steps, tokens, flops, predicted seconds, training seconds and seconds.
pub(super) fn cost_values(cost: Cost) -> [Value; 6] {
    [
        signed(cost.steps).into(),
        signed(cost.tokens).into(),
        signed(cost.flops as u64).into(),
        cost.predicted_seconds.into(),
        cost.training_seconds.into(),
        cost.seconds.into(),
    ]
}

/// Reads what [`bind_cost`] writes.
pub(super) fn cost(row: &Row, at: usize) -> Result<Cost, Fault> {
    cost_with(row, at, count(row, at + 2)? as f64)
}

/// The same where the third column is read otherwise.
pub(super) fn cost_with(row: &Row, at: usize, flops: f64) -> Result<Cost, Fault> {
    Ok(Cost {
        steps: count(row, at)?,
        tokens: count(row, at + 1)?,
        flops,
        predicted_seconds: row.get(at + 3)?,
        training_seconds: row.get(at + 4)?,
        seconds: row.get(at + 5)?,
    })
}

/// Reads a number that is never negative.
pub(super) fn count(row: &Row, at: usize) -> Result<u64, Fault> {
    u64::try_from(row.get::<i64>(at)?).map_err(|_| negative("a count"))
}

pub(super) fn small_count(row: &Row, at: usize) -> Result<u32, Fault> {
    u32::try_from(count(row, at)?).map_err(|_| negative("a count"))
}

fn count_or_null(row: &Row, at: usize) -> Result<Option<u64>, Fault> {
    row.get::<Option<i64>>(at)?.map(|value| u64::try_from(value).map_err(|_| negative("a reference"))).transpose()
}

fn negative(what: &str) -> Fault {
    Fault::Content(format!("{what} is out of range"))
}

/// The database's integers are signed. Saturates, which no count of steps or tokens reaches.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
