//! What `primer compare` measured, as its `report.json` holds it.

use crate::args::Equal;
use crate::cmd::experiment::Record;
use crate::report::data::Origin;
use primer_models::analysis::{Speedups, Summary};
use primer_models::train::StepTime;
use serde::{Deserialize, Serialize};

/// A whole comparison. Everything that the page shows or plots is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// How it came to be.
    #[serde(flatten)]
    pub origin: Origin,
    /// What tells the tokenizer apart.
    pub tokenizer: String,
    /// The seeds asked for.
    pub seeds: Vec<u64>,
    /// Whether the learning rate decays over a run, so that losses on its way are higher than those of a shorter run.
    pub decaying: bool,
    /// The models; the first one is the baseline.
    pub arms: Vec<Arm>,
    /// One for each thing that they were given the same amount of.
    pub tables: Vec<Table>,
    /// Every finished run of these tables, each once, though it may stand in several.
    pub runs: Vec<Run>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// The architecture, as `--archs` takes it.
    pub arch: String,
    /// Trained parameters.
    pub parameters: u64,
    /// Floating-point operations of a training step.
    pub flops_per_step: f64,
    /// The same for each token.
    pub flops_per_token: f64,
    /// The calibrated time of a step.
    pub step_time: StepTime,
    /// 1 over its median.
    pub steps_per_second: f64,
    /// Tokens a second at the median.
    pub tokens_per_second: f64,
    /// Tokens a second over the baseline's.
    pub relative_speed: f64,
    /// Seconds a step over the baseline's: above 1 is slower.
    pub slowdown: f64,
    /// The peak learning rate in the comparison; none where it was stopped before all had been tried.
    pub learning_rate: Option<f64>,
    /// The rates tried on the tuning seed; empty without `--learning-rates`.
    pub tuning: Vec<Tuned>,
    /// The best rate was the lowest or the highest one tried, so a better one may lie beyond.
    pub rate_at_edge: bool,
}

/// One learning rate tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The final loss on held-out text; none where it isn't finite or the run not finished.
    pub final_loss: Option<f64>,
}

/// The models, given the same amount of something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Of what.
    pub equal: Equal,
    /// The amount's unit, in words.
    pub unit: String,
    /// One a model, the baseline first.
    pub rows: Vec<Row>,
}

/// One model in a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The architecture.
    pub arch: String,
    /// Steps of each run.
    pub steps: u64,
    /// Those steps by the calibrated time of one.
    pub calibrated_seconds: f64,
    /// Those steps' floating-point operations.
    pub flops: f64,
    /// Its finished runs, as places in [`Comparison::runs`].
    pub runs: Vec<usize>,
    /// How many of these diverged.
    pub diverged: usize,
    /// Final loss on held-out text, nats a token; none where a run has none that is finite.
    pub final_loss: Option<Summary>,
    /// e to the final loss.
    pub perplexity: Option<Summary>,
    /// The final loss in bits a byte of text.
    pub bits_per_byte: Option<Summary>,
    /// Final loss less the baseline's, paired by seed; none for the baseline.
    pub difference: Option<Summary>,
    /// Factors in the table's unit, one a seed that both have; none for the baseline.
    pub speedup: Option<Speedups>,
    /// Seconds of training by the clock.
    pub wall_seconds: Option<Summary>,
    /// A curve a run of (amount of the table's unit, loss), finite losses alone.
    pub curves: Vec<Vec<(f64, f64)>>,
    /// Their mean, where all have a finite loss.
    pub mean_curve: Vec<(f64, f64)>,
}

/// One finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The architecture.
    pub arch: String,
    /// What was measured.
    #[serde(flatten)]
    pub record: Record,
}
