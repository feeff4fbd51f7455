//! A worker's next candidate: one that waits, one whose worker is gone, or a new child.

use std::sync::Arc;
use std::time::Duration;

use primer_tensor::Device;

use super::finish;
use super::record::{self, Candidate, Kind, State, signed};
use super::sql::{Connection, sql};
use super::worker_id::{self, WorkerId};
use super::{Fault, Store, read};
use crate::error::{Error, Result};
use crate::evolve::{self, Forms, Member};
use crate::leak::leak_test;
use crate::study::{Strategy, StudySpec};

/// How long a worker may go without a sign of progress before another takes its candidate.
pub const LEASE: Duration = Duration::from_secs(120);

/// Attempts that may end badly before a candidate is given up, so that a program that kills its
/// worker doesn't kill every worker in turn.
pub const MAX_ATTEMPTS: u32 = 3;

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct ClaimOptions {
    /// Who asks. A worker holds one candidate at a time: what it holds already is handed out to it again, since
    /// the answer to an earlier call may have been lost.
    pub worker: WorkerId,
    /// Until when it is the worker's, without a renewal.
    pub lease: Duration,
    /// Children after which no new one is made, besides the study's own limit.
    pub children: Option<u64>,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// A candidate to evaluate, leased.
    Leased(Candidate),
    /// A new child that had a finished twin, or an old one past its last attempt: finished, no
    /// work.
    Settled(Candidate),
    /// Nothing yet: another worker evaluates the seed program.
    Wait,
    /// Nothing any more: the limit is reached.
    Over,
}

impl Store {
    /// Takes the next candidate.
    ///
    /// The limits are checked in the transaction that gives it out, so that of several workers
    /// none passes them and none waits for what won't come.
    ///
    /// # Errors
    ///
    /// [`Error::Seed`] if the seed program was rejected or given up: nothing can be bred from it.
    /// Otherwise as [`Store::status`].
    pub fn claim(&self, options: &ClaimOptions) -> Result<Claim> {
        let (spec, forms, options) = (Arc::clone(&self.spec), Arc::clone(&self.forms), options.clone());
        self.transact("claim", async move |connection| claim(connection, &spec, &forms, &options).await)
    }
}

async fn claim(
    connection: &mut Connection,
    spec: &StudySpec,
    forms: &Forms,
    options: &ClaimOptions,
) -> Result<Claim, Fault> {
    if spec.limits.cost.is_some() || spec.limits.seconds.is_some() {
        let spent = sql("SELECT coalesce(sum(predicted_seconds), 0.0), coalesce(sum(seconds), 0.0) FROM ledger")
            .fetch_one(connection)
            .await?;
        let (cost, seconds): (f64, f64) = (spent.get(0)?, spent.get(1)?);
        if spec.limits.cost.is_some_and(|limit| cost >= limit)
            || spec.limits.seconds.is_some_and(|limit| seconds >= limit)
        {
            return Ok(Claim::Over);
        }
    }
    let limits = [spec.limits.children, options.children];
    let most = limits.into_iter().flatten().min().unwrap_or(u64::MAX);
    if let Some(open) = open_candidate(connection, most, &options.worker).await? {
        let child_no = open.child_no;
        if open.worker.as_deref() == Some(options.worker.as_str()) && open.state == State::Leased {
            return prolong(connection, child_no, options).await.map(Claim::Leased);
        }
        if open.state == State::Leased {
            // The attempt that was lost: what it spent is known up to its last renewal.
            finish::charge(connection, &open, Kind::Wasted, open.cost).await?;
            if open.spent >= MAX_ATTEMPTS {
                let cost = open.cost;
                let reason = format!("its worker died in each of {MAX_ATTEMPTS} attempts");
                finish::give_up(connection, child_no, &reason, cost).await?;
                return Ok(Claim::Settled(reread(connection, child_no).await?));
            }
        }
        return lease(connection, child_no, options).await.map(Claim::Leased);
    }
    let study = sql("SELECT next_child, done_seq FROM study WHERE id = 1").fetch_one(connection).await?;
    let child_no = record::count(&study, 0)?;
    let Ok(watermark) = u64::try_from(study.get::<i64>(1)?) else {
        return Ok(Claim::Wait);
    };
    if child_no > most {
        return Ok(Claim::Over);
    }
    propose(connection, spec, forms, child_no, watermark).await?;
    let child = reread(connection, child_no).await?;
    // Without mutations every child is the seed's twin, and wants to be measured all the same.
    if spec.strategy != Strategy::None
        && let Some(twin) = finished_twin(connection, spec, &child).await?
    {
        finish::inherit(connection, &child, &twin).await?;
    }
    let child = reread(connection, child_no).await?;
    if child.state.is_finished() {
        return Ok(Claim::Settled(child));
    }
    lease(connection, child_no, options).await.map(Claim::Leased)
}

/// The first candidate that waits, or whose lease has ended or whose worker is dead, or who asks.
async fn open_candidate(connection: &mut Connection, most: u64, worker: &WorkerId) -> Result<Option<Candidate>, Fault> {
    let rows = sql("SELECT child_no, state, worker,
             lease_until < CAST(unixepoch('subsec') * 1000 AS INTEGER)
         FROM candidate WHERE state IN ('pending', 'leased') AND child_no <= ?
         ORDER BY child_no")
    .bind(signed(most))
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let leased = row.get::<&str>(1)? == "leased";
        if leased {
            let expired: bool = row.get(3)?;
            let open = |holder: &str| holder == worker.as_str() || worker_id::is_dead(holder);
            if !expired && !row.get::<Option<&str>>(2)?.is_some_and(open) {
                continue;
            }
        }
        return reread(connection, record::count(row, 0)?).await.map(Some);
    }
    Ok(None)
}

/// Gives the candidate to the worker under a new attempt.
async fn lease(connection: &mut Connection, child_no: u64, options: &ClaimOptions) -> Result<Candidate, Fault> {
    sql("UPDATE candidate SET state = 'leased', worker = ?, attempt = attempt + 1,
             spent = spent + 1, steps = 0, tokens = 0, flops = 0,
             predicted_seconds = 0, training_seconds = 0, seconds = 0,
             lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?
         WHERE child_no = ?")
    .bind(options.worker.as_str())
    .bind(milliseconds(options.lease))
    .bind(signed(child_no))
    .execute(connection)
    .await?;
    reread(connection, child_no).await
}

/// Gives the worker what it has, for as long as if it had just got it.
async fn prolong(connection: &mut Connection, child_no: u64, options: &ClaimOptions) -> Result<Candidate, Fault> {
    sql("UPDATE candidate SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ? WHERE child_no = ?")
        .bind(milliseconds(options.lease))
        .bind(signed(child_no))
        .execute(connection)
        .await?;
    reread(connection, child_no).await
}

/// Makes the next child and puts it in, pending, or rejected if it is too large to look at.
async fn propose(
    connection: &mut Connection,
    spec: &StudySpec,
    forms: &Forms,
    child_no: u64,
    watermark: u64,
) -> Result<(), Fault> {
    let seed = reread(connection, 0).await?;
    if matches!(seed.state, State::Rejected | State::Failed) {
        let reason = seed.error.unwrap_or_default();
        return Err(Error::Seed { reason }.into());
    }
    let (oldest, youngest) = evolve::population(spec, watermark).into_inner();
    let rows = sql("SELECT child_no, fitness FROM candidate
         WHERE done_seq BETWEEN ? AND ? AND child_no > 0 ORDER BY done_seq")
    .bind(signed(oldest))
    .bind(signed(youngest))
    .fetch_all(connection)
    .await?;
    let mut recent = Vec::with_capacity(rows.len());
    for row in &rows {
        recent.push(Member { child_no: record::count(row, 0)?, fitness: row.get(1)? });
    }
    let parent = evolve::select_parent(spec, child_no, seed.fitness, &recent);
    let program = reread(connection, parent).await?.program;
    let child = evolve::breed(spec, forms, child_no, &program)?;
    let bars = bars(connection, spec, watermark).await?;
    sql("INSERT INTO candidate
             (child_no, parent, mutation, program, canonical, watermark, bars, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, 'pending')")
    .bind(signed(child_no))
    .bind(signed(parent))
    .bind(&*child.mutation)
    .bind(&*child.program)
    .bind(child.canonical.as_deref().ok())
    .bind(signed(watermark))
    .bind(&*record::bars_text(&bars))
    .execute(connection)
    .await?;
    if let Err(rejection) = child.canonical {
        let child = reread(connection, child_no).await?;
        finish::reject(connection, &child, &rejection.to_string()).await?;
    }
    sql("UPDATE study SET next_child = next_child + 1 WHERE id = 1").execute(connection).await?;
    Ok(())
}

/// The bars of a child that sees the log up to `watermark`.
async fn bars(connection: &mut Connection, spec: &StudySpec, watermark: u64) -> Result<Vec<Option<f64>>, Fault> {
    let mut bars = Vec::new();
    for mark in 0..spec.fitness.hurdles {
        let rows = sql("SELECT loss FROM mark WHERE mark = ? AND done_seq <= ? AND loss IS NOT NULL
             ORDER BY done_seq DESC, run DESC LIMIT ?")
        .bind(mark)
        .bind(signed(watermark))
        .bind(spec.fitness.window)
        .fetch_all(connection)
        .await?;
        let losses: Vec<f64> = rows.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
        bars.push(evolve::bar(&losses));
    }
    Ok(bars)
}

/// The finished candidate whose result the child takes, if there is one.
async fn finished_twin(
    connection: &mut Connection,
    spec: &StudySpec,
    child: &Candidate,
) -> Result<Option<Candidate>, Fault> {
    let identity = child.canonical.as_deref();
    let fingerprint = identity.filter(|identity| evolve::is_probed(identity));
    let row = match fingerprint {
        // The first of that canonical form which was evaluated or rejected itself.
        None => {
            sql("SELECT child_no FROM candidate
                 WHERE canonical = ? AND state IN ('done', 'rejected') AND twin IS NULL
                 ORDER BY done_seq LIMIT 1")
            .bind(identity)
            .fetch_optional(connection)
            .await?
        }
        // The last of that fingerprint which was evaluated itself, unless its result was taken often enough. Reasons
        // for a rejection lie in a program's form.
        Some(fingerprint) => {
            sql("SELECT child_no FROM (
                     SELECT child_no, done_seq FROM candidate
                     WHERE canonical = ? AND state = 'done'
                     ORDER BY done_seq DESC LIMIT 1
                 ) AS last
                 WHERE (
                     SELECT count(*) FROM candidate c
                     WHERE c.canonical = ? AND c.state = 'cached' AND c.twin = last.child_no
                 ) < ?")
            .bind(fingerprint)
            .bind(fingerprint)
            .bind(spec.probe_hits)
            .fetch_optional(connection)
            .await?
        }
    };
    let Some(row) = row else { return Ok(None) };
    let twin = reread(connection, record::count(&row, 0)?).await?;
    // Of another form, it has to show that it doesn't leak before it has a fitness.
    if fingerprint.is_some() && twin.program != child.program {
        let (dna, device) = (child.dna()?, Device::cpu_with_threads(1));
        match leak_test(&dna, spec.model.unit.into(), &device) {
            // It is evaluated, and rejected with the reason.
            Err(Error::Rejected(_)) => return Ok(None),
            other => other?,
        }
    }
    Ok(Some(twin))
}

/// The candidate, which exists: its number was read in this transaction.
pub(super) async fn reread(connection: &mut Connection, child_no: u64) -> Result<Candidate, Fault> {
    read::candidate(connection, child_no)
        .await?
        .ok_or_else(|| Fault::Content(format!("candidate {child_no} is missing")))
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
