//! What a report is made of: plain data, written beside the page as `report.json`.

use primer_models::text::Part;
use primer_search::dna::Dna;
use serde::{Deserialize, Serialize};

/// A whole run, as it was. Everything that the page shows or plots is here or in [`Derived`].
///
/// [`Derived`]: super::derive::Derived
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it came to be.
    #[serde(flatten)]
    pub origin: Origin,
    /// The models trained; the first one is the baseline.
    pub arms: Vec<Arm>,
    /// The search, if one was run.
    pub search: Option<Search>,
}

/// How a report came to be: what every page begins and ends with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The page's heading.
    pub title: String,
    /// The command as it was typed.
    pub command: String,
    /// Why it ended before its time, if it did ("stopped by Ctrl-C or SIGTERM").
    pub stopped_early: Option<String>,
    /// Seconds from the start of the command to the report; of the last one, where it was taken up again.
    pub wall_seconds: f64,
    /// Where it ran.
    pub device: Device,
    /// What it read.
    pub corpus: Corpus,
    /// Everything else that was in force, as (name, value): size, batch, learning rate, seeds.
    pub settings: Vec<(String, String)>,
    /// Program and format versions, as (name, value).
    pub versions: Vec<(String, String)>,
}

impl Origin {
    /// The versions of this program.
    pub fn versions() -> Vec<(String, String)> {
        vec![("primer".into(), env!("CARGO_PKG_VERSION").into())]
    }
}

/// The device that computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name, as printed by `primer devices`.
    pub name: String,
    /// Why it was taken.
    pub why: String,
}

/// The text trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corpus {
    /// What it is called.
    pub name: String,
    /// SHA-256 of the whole text, in hexadecimal.
    pub sha256: String,
    /// Bytes trained on.
    pub train_bytes: u64,
    /// Bytes held out.
    pub validation_bytes: u64,
    /// Documents in all.
    pub documents: u64,
}

impl Corpus {
    /// What a report says of `corpus`.
    pub fn of(corpus: &primer_models::text::Corpus) -> Self {
        Self {
            name: corpus.note().map_or(corpus.name().to_owned(), |note| format!("{}: {note}", corpus.name())),
            sha256: corpus.sha256(),
            train_bytes: corpus.bytes(Part::Train),
            validation_bytes: corpus.bytes(Part::Valid),
            documents: corpus.documents(),
        }
    }
}

/// One model's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The architecture, as `--arch` takes it.
    pub arch: String,
    /// Trained parameters.
    pub parameters: u64,
    /// Optimizer steps made.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds of training compute, evaluation not counted.
    pub seconds: f64,
    /// Evaluations on the held-out text, in order of time.
    pub points: Vec<Point>,
    /// What it writes at the end.
    pub samples: Vec<Sample>,
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Optimizer steps before it.
    pub step: u64,
    /// Tokens trained on before it.
    pub tokens: u64,
    /// Seconds of training compute before it.
    pub seconds: f64,
    /// Mean loss on the held-out text, nats a token.
    pub validation_loss: f64,
}

/// One sampled text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What the model was given.
    pub prompt: String,
    /// What it wrote after it.
    pub text: String,
}

/// A search's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The rules in a few words ("population 16, tournament 4, each trained for 64 steps").
    pub rules: String,
    /// The unit of [`Candidate::cost`], in words ("seconds of training").
    pub cost_unit: String,
    /// The seed program's loss in its first run, nats per token: all candidates share that run's seed.
    pub seed_loss: Option<f64>,
    /// Its losses in all its runs, whose mean is its fitness.
    pub seed_runs: Vec<f64>,
    /// Every candidate in the order in which it was finished.
    pub candidates: Vec<Candidate>,
    /// How many candidates ended in which state, as (state, count).
    pub states: Vec<(String, u64)>,
    /// The best program found.
    pub best: Option<Best>,
}

/// One candidate program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its number in the study.
    pub id: i64,
    /// The state it ended in ("completed", "rejected", "failed", ...).
    pub state: String,
    /// Its fitness, nats a token; none if it was never measured.
    pub loss: Option<f64>,
    /// What the whole search had spent when this one was finished.
    pub cost: f64,
}

/// The best program found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its number in the study.
    pub id: i64,
    /// Its fitness, nats a token.
    pub loss: f64,
    /// The mutations that made it, from the seed on, as far as they changed what is computed and were not taken back.
    pub lineage: Vec<Ancestor>,
    /// The program, as text in JSON.
    pub program: Dna,
    /// The seed program.
    pub seed_program: Dna,
}

impl Best {
    /// Whether nothing better was found; in a search without mutations, whether nothing else was tried.
    pub fn is_seed_program(&self) -> bool {
        self.program == self.seed_program
    }

    /// Whether it is the seed program, trained with another seed.
    pub fn is_lucky_seed(&self) -> bool {
        self.is_seed_program() && self.id > 0
    }
}

/// One step of a lineage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its number in the study.
    pub id: i64,
    /// What was changed in its parent; empty for the seed.
    pub mutation: String,
    /// Its fitness, nats a token.
    pub loss: Option<f64>,
}
