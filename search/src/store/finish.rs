//! What a worker says about a candidate that it has leased. Every statement is fenced by the
//! attempt: who has lost the lease changes nothing and is told so.

use std::time::Duration;

use super::claim::{MAX_ATTEMPTS, milliseconds, reread};
use super::record::{Candidate, Cost, Kind, Mark, State, bind_cost, signed};
use super::sql::{Connection, sql};
use super::{Fault, Store};
use crate::error::Result;

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Trained and measured.
    Fitness {
        /// Validation loss in nats a token where it stopped. Infinite or NaN is a result too, the worst.
        loss: f64,
        /// Hurdles passed.
        passed: u32,
        /// The losses at the marks that it reached.
        marks: Vec<Mark>,
    },
    /// The program can't be trained under the study's limits, for the reason given.
    Rejected(String),
}

impl Store {
    /// Prolongs the lease and notes what the attempt has spent. `false`: the lease is lost.
    ///
    /// # Errors
    ///
    /// As [`Store::status`].
    pub fn renew(&self, held: &Candidate, lease: Duration, cost: Cost) -> Result<bool> {
        let (child_no, attempt) = (held.child_no, held.attempt);
        self.call("renew", async move |connection| {
            let changed = sql("UPDATE candidate SET steps = ?, tokens = ?, flops = ?, predicted_seconds = ?,
                     training_seconds = ?, seconds = ?,
                     lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?
                 WHERE child_no = ? AND attempt = ? AND state = 'leased'");
            let changed = bind_cost(changed, cost)
                .bind(milliseconds(lease))
                .bind(signed(child_no))
                .bind(attempt)
                .execute(connection)
                .await?;
            Ok(changed == 1)
        })
    }

    /// Puts a result into the log. The finished candidate, or none if the lease was lost; the
    /// cost is charged either way. A second call for the same attempt changes nothing and gives what the first
    /// one put in, since the first one's answer may have been lost.
    ///
    /// # Errors
    ///
    /// As [`Store::status`].
    pub fn finish(&self, held: &Candidate, verdict: Verdict, cost: Cost) -> Result<Option<Candidate>> {
        let held = held.clone();
        self.transact("finish", async move |connection| {
            let now = reread(connection, held.child_no).await?;
            let by_this_attempt = (now.attempt, &now.worker) == (held.attempt, &held.worker);
            if by_this_attempt && matches!(now.state, State::Done | State::Rejected) {
                return Ok(Some(now));
            }
            let kept = holds(connection, &held).await?;
            let kind = if kept { Kind::Useful } else { Kind::Wasted };
            charge(connection, &held, kind, cost).await?;
            let mut finished = None;
            if kept {
                let child_no = held.child_no;
                match &verdict {
                    Verdict::Fitness { loss, passed, marks } => {
                        let end = End { fitness: Some(*loss), passed: *passed, cost, ..End::of(State::Done) };
                        let done_seq = log(connection, child_no, end).await?;
                        insert_marks(connection, child_no, done_seq, marks).await?;
                    }
                    Verdict::Rejected(reason) => {
                        let end = End { error: Some(reason), cost, ..End::of(State::Rejected) };
                        log(connection, child_no, end).await?;
                    }
                }
                finished = Some(reread(connection, held.child_no).await?);
            }
            Ok(finished)
        })
    }

    /// Says that the attempt went wrong, through no result of the program's. The candidate waits
    /// for another attempt or, after [`MAX_ATTEMPTS`], is finished as failed. As it is now, or
    /// none if the lease was lost.
    ///
    /// # Errors
    ///
    /// As [`Store::status`].
    pub fn fail(&self, held: &Candidate, reason: &str, cost: Cost) -> Result<Option<Candidate>> {
        let (held, reason) = (held.clone(), reason.to_owned());
        self.transact("record a failure in", async move |connection| {
            let kept = holds(connection, &held).await?;
            charge(connection, &held, Kind::Wasted, cost).await?;
            let mut now = None;
            if kept {
                if reread(connection, held.child_no).await?.spent < MAX_ATTEMPTS {
                    sql("UPDATE candidate SET state = 'pending', lease_until = NULL, error = ?
                         WHERE child_no = ?")
                    .bind(&*reason)
                    .bind(signed(held.child_no))
                    .execute(connection)
                    .await?;
                } else {
                    give_up(connection, held.child_no, &reason, cost).await?;
                }
                now = Some(reread(connection, held.child_no).await?);
            }
            Ok(now)
        })
    }

    /// Puts the candidate back for anyone to take, at no attempt spent. `false`: the lease was
    /// lost before.
    ///
    /// # Errors
    ///
    /// As [`Store::status`].
    pub fn release(&self, held: &Candidate, cost: Cost) -> Result<bool> {
        let held = held.clone();
        self.transact("release", async move |connection| {
            let kept = holds(connection, &held).await?;
            charge(connection, &held, Kind::Wasted, cost).await?;
            if kept {
                sql("UPDATE candidate SET state = 'pending', lease_until = NULL,
                         spent = spent - 1 WHERE child_no = ?")
                .bind(signed(held.child_no))
                .execute(connection)
                .await?;
            }
            Ok(kept)
        })
    }
}

async fn holds(connection: &mut Connection, held: &Candidate) -> Result<bool, Fault> {
    let row = sql("SELECT 1 FROM candidate WHERE child_no = ? AND attempt = ? AND state = 'leased'")
        .bind(signed(held.child_no))
        .bind(held.attempt)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Enters an attempt into the ledger. One that was charged when its lease was lost, and reports
/// in later, replaces the estimate by what it really spent.
pub(super) async fn charge(connection: &mut Connection, held: &Candidate, kind: Kind, cost: Cost) -> Result<(), Fault> {
    let statement = sql("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (child_no, attempt) DO UPDATE SET
             steps = excluded.steps, tokens = excluded.tokens, flops = excluded.flops,
             predicted_seconds = excluded.predicted_seconds,
             training_seconds = excluded.training_seconds, seconds = excluded.seconds")
    .bind(signed(held.child_no))
    .bind(held.attempt)
    .bind(held.worker.as_deref())
    .bind(kind.name());
    bind_cost(statement, cost).execute(connection).await?;
    Ok(())
}

/// Finishes a candidate as failed.
pub(super) async fn give_up(connection: &mut Connection, child_no: u64, reason: &str, cost: Cost) -> Result<(), Fault> {
    log(connection, child_no, End { error: Some(reason), cost, ..End::of(State::Failed) }).await?;
    Ok(())
}

/// Finishes a new child with its twin's result, at no cost.
pub(super) async fn inherit(connection: &mut Connection, child: &Candidate, twin: &Candidate) -> Result<(), Fault> {
    charge(connection, child, Kind::Cached, Cost::default()).await?;
    let state = match twin.state {
        State::Rejected => State::Rejected,
        _ => State::Cached,
    };
    let end = End {
        fitness: twin.fitness,
        passed: twin.passed,
        error: twin.error.as_deref(),
        twin: Some(twin.child_no),
        ..End::of(state)
    };
    log(connection, child.child_no, end).await?;
    Ok(())
}

/// Finishes a new child as rejected before it cost anything.
pub(super) async fn reject(connection: &mut Connection, child: &Candidate, reason: &str) -> Result<(), Fault> {
    charge(connection, child, Kind::Useful, Cost::default()).await?;
    log(connection, child.child_no, End { error: Some(reason), ..End::of(State::Rejected) }).await?;
    Ok(())
}

/// How a candidate ends.
struct End<'a> {
    state: State,
    fitness: Option<f64>,
    passed: u32,
    error: Option<&'a str>,
    twin: Option<u64>,
    cost: Cost,
}

impl End<'_> {
    fn of(state: State) -> Self {
        End { state, fitness: None, passed: 0, error: None, twin: None, cost: Cost::default() }
    }
}

/// Appends the candidate to the log. The number, which is returned, comes from the study's row in the
/// same transaction, so the log has no gaps and its order is that of the commits.
async fn log(connection: &mut Connection, child_no: u64, end: End<'_>) -> Result<i64, Fault> {
    let done_seq: i64 = sql("UPDATE study SET done_seq = done_seq + 1 WHERE id = 1 RETURNING done_seq")
        .fetch_one(connection)
        .await?
        .get(0)?;
    let statement = sql("UPDATE candidate SET state = ?, fitness = ?, passed = ?, error = ?, twin = ?, done_seq = ?,
             steps = ?, tokens = ?, flops = ?, predicted_seconds = ?, training_seconds = ?, seconds = ?,
             lease_until = NULL, finished_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
         WHERE child_no = ?")
    .bind(&*end.state.to_string())
    .bind(end.fitness.filter(|fitness| fitness.is_finite()))
    .bind(end.passed)
    .bind(end.error)
    .bind(end.twin.map(signed))
    .bind(done_seq);
    bind_cost(statement, end.cost).bind(signed(child_no)).execute(connection).await?;
    Ok(done_seq)
}

async fn insert_marks(connection: &mut Connection, child_no: u64, done_seq: i64, marks: &[Mark]) -> Result<(), Fault> {
    for mark in marks {
        sql("INSERT INTO mark (child_no, run, mark, loss, done_seq) VALUES (?, ?, ?, ?, ?)")
            .bind(signed(child_no))
            .bind(mark.run)
            .bind(mark.mark)
            .bind(mark.loss.filter(|loss| loss.is_finite()))
            .bind(done_seq)
            .execute(connection)
            .await?;
    }
    Ok(())
}
