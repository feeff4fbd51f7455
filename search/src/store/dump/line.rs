//! A candidate's line: what became of it, and what that cost.

use serde::{Deserialize, Serialize};

use crate::evolve::Child;
use crate::store::Entry;
use crate::store::record::{Candidate, Cost, Kind, Mark, State};
use crate::study::{Fitness, sha256_hex};

/// Attempts that no candidate comes near.
const MOST_ATTEMPTS: u32 = 1 << 30;

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) child_no: u64,
    pub(super) watermark: u64,
    /// The first 16 digits of the SHA-256 of the program's text.
    pub(super) program_sha256: String,
    /// `pending` where it has no result yet.
    pub(super) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) done_seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) twin: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fitness: Option<f64>,
    #[serde(default)]
    pub(super) passed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) finished_ms: Option<i64>,
    /// Run, mark and loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) marks: Vec<(u32, u32, Option<f64>)>,
    /// The last attempt.
    #[serde(default)]
    pub(super) attempt: u32,
    /// Attempts that were not given back.
    #[serde(default)]
    pub(super) spent: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ledger: Vec<Attempt>,
}

/// What an attempt has spent, if it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::store) struct Attempt {
    /// Its number.
    pub attempt: u32,
    /// What it came to.
    pub kind: Kind,
    /// What it spent.
    #[serde(flatten)]
    pub cost: Cost,
}

impl Line {
    pub(super) fn of(candidate: Candidate, ledger: Vec<Attempt>) -> Line {
        let Candidate { child_no, watermark, state, done_seq, twin, fitness, passed, attempt, spent, .. } = candidate;
        Line {
            child_no,
            watermark,
            program_sha256: digest(&candidate.program),
            state,
            done_seq,
            twin,
            fitness,
            passed,
            error: candidate.error,
            finished_ms: candidate.finished_ms,
            marks: Vec::new(),
            attempt,
            spent,
            // Nothing is lost with what cost nothing.
            ledger: ledger.into_iter().filter(|attempt| attempt.cost != Cost::default()).collect(),
        }
    }

    /// One without a result, whatever it has got since. What its worker has spent by its last sign of life is spent.
    pub(super) fn unfinished(candidate: Candidate, mut ledger: Vec<Attempt>) -> Line {
        ledger.retain(|attempt| attempt.kind == Kind::Wasted);
        if candidate.state == State::Leased {
            ledger.push(Attempt { attempt: candidate.attempt, kind: Kind::Wasted, cost: candidate.cost });
        }
        let error = candidate.error.clone().filter(|_| !candidate.state.is_finished());
        Line::of(
            Candidate {
                state: State::Pending,
                done_seq: None,
                twin: None,
                fitness: None,
                passed: 0,
                error,
                finished_ms: None,
                ..candidate
            },
            ledger,
        )
    }

    /// Whether it is what a line can be.
    pub(super) fn check(&self, fitness: &Fitness) -> Result<(), String> {
        let ascending = |mut numbers: Vec<(u32, u32)>| {
            let all = numbers.len();
            numbers.dedup();
            numbers.len() == all && numbers.is_sorted()
        };
        let is_finished = self.done_seq.is_some();
        if is_finished != self.state.is_finished() || self.state == State::Leased {
            return Err(format!("its state can't be {}", self.state));
        }
        let has_result = self.fitness.is_some() || self.twin.is_some() || self.passed > 0 || !self.marks.is_empty();
        if is_finished != self.finished_ms.is_some() || !is_finished && has_result {
            return Err("it has a result and is not finished, or the other way round".to_owned());
        }
        if self.twin.is_some_and(|twin| twin >= self.child_no) {
            return Err("its twin is younger than itself".to_owned());
        }
        if self.child_no == 0 && self.watermark > 0 {
            return Err("nothing comes before the seed program".to_owned());
        }
        let runs = if self.child_no == 0 { fitness.seed_runs } else { 1 };
        let known = self.marks.iter().all(|&(run, mark, _)| run < runs && mark <= fitness.hurdles);
        if !known || !ascending(self.marks.iter().map(|&(run, mark, _)| (run, mark)).collect()) {
            return Err("its marks are not those of the study, each once and in order".to_owned());
        }
        let possible = self.ledger.iter().all(|attempt| attempt.attempt <= self.attempt && attempt.is_possible());
        if !possible
            || self.attempt.max(self.spent) > MOST_ATTEMPTS
            || !ascending(self.ledger.iter().map(|attempt| (attempt.attempt, 0)).collect())
        {
            return Err("its attempts are not possible ones, each once and in order".to_owned());
        }
        Ok(())
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks.iter().map(|&(run, mark, loss)| Mark { run, mark, loss }).collect()
    }

    pub(super) fn entry(&self, parent: Option<u64>, child: Child, bars: Vec<Option<f64>>) -> Entry {
        let mut ledger = self.ledger.clone();
        let last = ledger.iter().find(|attempt| attempt.attempt == self.attempt).map(|attempt| attempt.cost);
        if last.is_none() && self.done_seq.is_some() {
            // It has a line there all the same.
            let kind = match (self.twin, self.state) {
                (Some(_), _) => Kind::Cached,
                (None, State::Failed) => Kind::Wasted,
                (None, _) => Kind::Useful,
            };
            ledger.push(Attempt { attempt: self.attempt, kind, cost: Cost::default() });
        }
        Entry {
            candidate: Candidate {
                child_no: self.child_no,
                parent,
                mutation: child.mutation,
                program: child.program,
                canonical: child.canonical.ok(),
                watermark: self.watermark,
                bars,
                state: self.state,
                worker: None,
                attempt: self.attempt,
                done_seq: self.done_seq,
                twin: self.twin,
                fitness: self.fitness,
                passed: self.passed,
                cost: last.unwrap_or_default(),
                spent: self.spent,
                error: self.error.clone(),
                finished_ms: self.finished_ms,
            },
            marks: self.marks(),
            ledger,
        }
    }
}

impl Attempt {
    /// Whether its numbers leave room for sums.
    fn is_possible(&self) -> bool {
        let Cost { steps, tokens, flops, predicted_seconds, training_seconds, seconds } = self.cost;
        let counts = [steps, tokens].iter().all(|&count| count < 1 << 53);
        counts && [flops, predicted_seconds, training_seconds, seconds].iter().all(|part| (0.0..1e18).contains(part))
    }
}

/// The first 16 digits of the SHA-256 of a program's text.
pub(super) fn digest(program: &str) -> String {
    let mut digest = sha256_hex(program);
    digest.truncate(16);
    digest
}
