//! What a worker says about a candidate that it has leased. Every statement is fenced by the
//! attempt: who has lost the lease changes nothing and is told so.

use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::claim::{MAX_ATTEMPTS, milliseconds, reread};
use super::record::{Candidate, Cost, State, signed};
use super::{BEGIN, Fault, Store};
use crate::error::Result;

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Trained and measured: the validation loss in nats a token. Infinite or NaN is a result
    /// too, the worst.
    Fitness(f64),
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
            let changed = sqlx::query(
                "UPDATE candidate SET steps = ?, tokens = ?, seconds = ?,
                     lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?
                 WHERE child_no = ? AND attempt = ? AND state = 'leased'",
            )
            .bind(signed(cost.steps))
            .bind(signed(cost.tokens))
            .bind(cost.seconds)
            .bind(milliseconds(lease))
            .bind(signed(child_no))
            .bind(attempt)
            .execute(connection)
            .await?;
            Ok(changed.rows_affected() == 1)
        })
    }

    /// Puts a result into the log. The finished candidate, or none if the lease was lost; the
    /// cost is charged either way.
    ///
    /// # Errors
    ///
    /// As [`Store::status`].
    pub fn finish(&self, held: &Candidate, verdict: Verdict, cost: Cost) -> Result<Option<Candidate>> {
        let held = held.clone();
        self.call("finish", async move |connection| {
            let mut transaction = connection.begin_with(BEGIN).await?;
            let kept = holds(&mut transaction, &held).await?;
            let kind = if kept { "useful" } else { "wasted" };
            charge(&mut transaction, &held, kind, cost).await?;
            let mut finished = None;
            if kept {
                let (state, fitness, error) = match verdict {
                    Verdict::Fitness(fitness) => (State::Done, Some(fitness), None),
                    Verdict::Rejected(reason) => (State::Rejected, None, Some(reason)),
                };
                let end = End { state, fitness, error: error.as_deref(), twin: None, cost };
                log(&mut transaction, held.child_no, end).await?;
                finished = Some(reread(&mut transaction, held.child_no).await?);
            }
            transaction.commit().await?;
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
        self.call("record a failure in", async move |connection| {
            let mut transaction = connection.begin_with(BEGIN).await?;
            let kept = holds(&mut transaction, &held).await?;
            charge(&mut transaction, &held, "wasted", cost).await?;
            let mut now = None;
            if kept {
                let spent: u32 = sqlx::query("SELECT spent FROM candidate WHERE child_no = ?")
                    .bind(signed(held.child_no))
                    .fetch_one(&mut *transaction)
                    .await?
                    .try_get(0)?;
                if spent < MAX_ATTEMPTS {
                    sqlx::query(
                        "UPDATE candidate SET state = 'pending', lease_until = NULL, error = ?
                         WHERE child_no = ?",
                    )
                    .bind(&reason)
                    .bind(signed(held.child_no))
                    .execute(&mut *transaction)
                    .await?;
                } else {
                    give_up(&mut transaction, held.child_no, &reason, cost).await?;
                }
                now = Some(reread(&mut transaction, held.child_no).await?);
            }
            transaction.commit().await?;
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
        self.call("release", async move |connection| {
            let mut transaction = connection.begin_with(BEGIN).await?;
            let kept = holds(&mut transaction, &held).await?;
            charge(&mut transaction, &held, "wasted", cost).await?;
            if kept {
                sqlx::query(
                    "UPDATE candidate SET state = 'pending', lease_until = NULL,
                         spent = spent - 1 WHERE child_no = ?",
                )
                .bind(signed(held.child_no))
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(kept)
        })
    }
}

async fn holds(connection: &mut SqliteConnection, held: &Candidate) -> Result<bool, Fault> {
    let row = sqlx::query("SELECT 1 FROM candidate WHERE child_no = ? AND attempt = ? AND state = 'leased'")
        .bind(signed(held.child_no))
        .bind(held.attempt)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Enters an attempt into the ledger. One that was charged when its lease was lost, and reports
/// in later, replaces the estimate by what it really spent.
pub(super) async fn charge(
    connection: &mut SqliteConnection,
    held: &Candidate,
    kind: &'static str,
    cost: Cost,
) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
             steps = excluded.steps, tokens = excluded.tokens, seconds = excluded.seconds",
    )
    .bind(signed(held.child_no))
    .bind(held.attempt)
    .bind(&held.worker)
    .bind(kind)
    .bind(signed(cost.steps))
    .bind(signed(cost.tokens))
    .bind(cost.seconds)
    .execute(connection)
    .await?;
    Ok(())
}

/// Finishes a candidate as failed.
pub(super) async fn give_up(
    connection: &mut SqliteConnection,
    child_no: u64,
    reason: &str,
    cost: Cost,
) -> Result<(), Fault> {
    let end = End { state: State::Failed, fitness: None, error: Some(reason), twin: None, cost };
    log(connection, child_no, end).await
}

/// Finishes a new child with its twin's result, at no cost.
pub(super) async fn inherit(
    connection: &mut SqliteConnection,
    child: &Candidate,
    twin: &Candidate,
) -> Result<(), Fault> {
    charge(connection, child, "cached", Cost::default()).await?;
    let end = End {
        state: match twin.state {
            State::Rejected => State::Rejected,
            _ => State::Cached,
        },
        fitness: twin.fitness,
        error: twin.error.as_deref(),
        twin: Some(twin.child_no),
        cost: Cost::default(),
    };
    log(connection, child.child_no, end).await
}

/// Finishes a new child as rejected before it cost anything.
pub(super) async fn reject(connection: &mut SqliteConnection, child: &Candidate, reason: &str) -> Result<(), Fault> {
    charge(connection, child, "useful", Cost::default()).await?;
    let end = End { state: State::Rejected, fitness: None, error: Some(reason), twin: None, cost: Cost::default() };
    log(connection, child.child_no, end).await
}

/// How a candidate ends.
struct End<'a> {
    state: State,
    fitness: Option<f64>,
    error: Option<&'a str>,
    twin: Option<u64>,
    cost: Cost,
}

/// Appends the candidate to the log. The number comes from the study's row in the same
/// transaction, so the log has no gaps and its order is that of the commits.
async fn log(connection: &mut SqliteConnection, child_no: u64, end: End<'_>) -> Result<(), Fault> {
    let done_seq: i64 = sqlx::query("UPDATE study SET done_seq = done_seq + 1 WHERE id = 1 RETURNING done_seq")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    sqlx::query(
        "UPDATE candidate SET state = ?, fitness = ?, error = ?, twin = ?, steps = ?, tokens = ?,
             seconds = ?, done_seq = ?, lease_until = NULL,
             finished_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
         WHERE child_no = ?",
    )
    .bind(end.state.to_string())
    .bind(end.fitness.filter(|fitness| fitness.is_finite()))
    .bind(end.error)
    .bind(end.twin.map(signed))
    .bind(signed(end.cost.steps))
    .bind(signed(end.cost.tokens))
    .bind(end.cost.seconds)
    .bind(done_seq)
    .bind(signed(child_no))
    .execute(&mut *connection)
    .await?;
    Ok(())
}
