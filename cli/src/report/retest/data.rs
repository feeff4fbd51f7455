//! What the report of a retest shows: plain data.

use crate::report::data::Origin;
use primer_models::analysis::Summary;
use primer_search::retest::Measurement;
use primer_search::study::Budget;
use serde::{Deserialize, Serialize};

/// A whole retest, as far as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retest {
    /// How it came to be; the corpus is the test's text.
    #[serde(flatten)]
    pub origin: Origin,
    /// Seconds of all runs together, those of earlier commands too.
    pub run_seconds: f64,
    /// What all of a test may spend alike.
    pub equal: Budget,
    /// The search, then its controls.
    pub studies: Vec<Study>,
    /// The programs that were trained again, best first.
    pub shortlist: Vec<Shortlisted>,
    /// The tests, the finalists of each in the order of their losses with new seeds.
    pub tables: Vec<Table>,
    /// What each edit of the best finalist brought.
    pub ablation: Option<Ablation>,
    /// Every run.
    pub measurements: Vec<Measurement>,
}

/// One search: each arm of the comparison of searches has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// Its file or address.
    pub store: String,
    /// SHA-256 of its options.
    pub study_sha256: String,
    /// SHA-256 of its text.
    pub corpus_sha256: String,
    /// How its children were made.
    pub strategy: String,
    /// Its seed.
    pub seed: u64,
    /// Finished candidates.
    pub candidates: u64,
    /// Predicted seconds of training, useful or not.
    pub predicted_seconds: f64,
    /// Loss of the seed program in it, nats a token.
    pub seed_fitness: Option<f64>,
    /// The best loss in it.
    pub best_fitness: Option<f64>,
}

/// A program that was trained again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shortlisted {
    /// The number of its study.
    pub study: usize,
    /// Its number there.
    pub child: u64,
    /// Its loss in the search, nats a token.
    pub fitness: f64,
    /// Hurdles that it passed.
    pub passed: u32,
    /// Measured over predicted cost of a step, the seed program's 1.
    pub measured_over_predicted: Option<f64>,
    /// Its loss with new seeds on the select windows; none where it isn't finite or not yet measured.
    pub select: Option<Summary>,
    /// Whether it is tested.
    pub finalist: bool,
    /// What made it, in words.
    pub mutation: String,
}

/// One setting of the test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub setting: String,
    /// What it is, in words.
    pub what: String,
    /// The contestants, the seed program first.
    pub rows: Vec<Row>,
    /// The search's finalists beside the best of each control.
    pub versus: Vec<Versus>,
}

/// The search's finalists beside the best of a control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versus {
    /// The control's contestant.
    pub control: String,
    /// A line for each finalist, in the order of the rows.
    pub pairs: Vec<Pair>,
}

/// One finalist beside another contestant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The finalist.
    pub name: String,
    /// Its loss less the other's of the same seed.
    pub difference: Option<Summary>,
    /// The paired t-test's probability of such a difference by chance.
    pub p: Option<f64>,
    /// The same, adjusted for all finalists (Holm).
    pub p_holm: Option<f64>,
}

/// What one contestant reached.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Whether it is a finalist of the search, which share an error rate.
    pub finalist: bool,
    /// Scalars in its parameters.
    pub parameters: u64,
    /// Width of its model.
    pub d_model: usize,
    /// Steps of a run.
    pub steps: u64,
    /// The median of its runs' times by the clock, trained and measured. Other work on the machine is in it.
    pub seconds: Option<f64>,
    /// Losses on the first half of the held-out text with each learning rate, on a seed that the test doesn't use.
    pub tuning: Vec<(f64, Option<f64>)>,
    /// The rate taken; none before all are tried.
    pub learning_rate: Option<f64>,
    /// Its losses on the second half by seed, nats a token.
    pub losses: Vec<(u64, Option<f64>)>,
    /// Their mean; none where one isn't finite.
    pub loss: Option<Summary>,
    /// Less the seed program's of the same seed.
    pub difference: Option<Summary>,
    /// The paired t-test's probability of such a difference by chance.
    pub p: Option<f64>,
    /// The same, adjusted for all finalists (Holm); none for others.
    pub p_holm: Option<f64>,
    /// An earlier contestant that is the same computation in this test, though not in the search.
    #[serde(default)]
    pub same_as: Option<String>,
    /// Why it is not in this test.
    pub left_out: Option<String>,
}

/// The way from the seed program to a finalist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    /// The finalist's name.
    pub name: String,
    /// The peak learning rate of all runs.
    pub learning_rate: f64,
    /// The programs on the way, the seed program first.
    pub steps: Vec<AblationStep>,
}

/// A program on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AblationStep {
    /// Its number in the study.
    pub child: u64,
    /// What made it of the one before, in words.
    pub edit: String,
    /// What that changed in the text, by instructions.
    pub diff: String,
    /// Its loss in the test.
    pub loss: Option<Summary>,
    /// Less that of the one before, of the same seeds.
    pub difference: Option<Summary>,
    /// Why it was not run.
    pub left_out: Option<String>,
}
