//! What `primer search report` shows beyond [`Search`]: plain data.

use crate::report::data::Search;
use serde::{Deserialize, Serialize};

/// A whole study, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// The command as it was typed.
    pub command: String,
    /// SHA-256 of the study's options.
    pub study_sha256: String,
    /// SHA-256 of its text.
    pub corpus_sha256: String,
    /// What was in force, as (name, value).
    pub settings: Vec<(String, String)>,
    /// Its log.
    pub search: Search,
    /// The hurdles, the end last.
    pub hurdles: Vec<Hurdle>,
    /// What all attempts have spent, by what became of them.
    pub spent: Vec<Spent>,
    /// Whether the budget is a predicted cost, which measured times must bear out.
    pub predicted: bool,
    /// The best candidates, best first.
    pub top: Vec<Top>,
    /// What one mutation of the seed brings about how often, and whether the search found it.
    pub odds: Vec<Odds>,
}

/// One mark at which candidates are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hurdle {
    /// Where it lies, in units of the study's first mark; the last one is the end.
    pub units: u64,
    /// Candidates measured there, the seed's runs not counted.
    pub reached: u64,
    /// Those that went on; at the end, none does.
    pub passed: u64,
    /// The bar that the next child would get, nats a token.
    pub bar: Option<f64>,
}

/// A part of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// `useful` or `wasted`.
    pub kind: String,
    /// Training tokens.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Predicted seconds of training.
    pub predicted_seconds: f64,
    /// Measured seconds of training.
    pub training_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
}

/// One of the best candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// Its number.
    pub id: u64,
    /// Its fitness, nats a token.
    pub loss: f64,
    /// Hurdles passed.
    pub passed: u32,
    /// Predicted seconds a step over the seed program's.
    pub predicted_step: f64,
    /// Measured over predicted seconds, over the same of the seed program. What disturbed the machine is in it.
    pub measured_over_predicted: Option<f64>,
    /// The mutation that made it.
    pub mutation: String,
}

/// How likely something is, and whether it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Odds {
    /// What.
    pub what: String,
    /// Children of the seed program by one effective mutation that have it.
    pub count: u64,
    /// Out of so many.
    pub draws: u64,
    /// Measured candidates that have it.
    pub found: u64,
    /// The first of them.
    pub first: Option<u64>,
    /// The best of them, with its loss.
    pub best: Option<(u64, f64)>,
}
