//! What `primer scaling` measured, as its `report.json` holds it.

use crate::cmd::experiment::Record;
use crate::report::data::Origin;
use primer_models::analysis::{FrontierPoint, NoFrontier, PowerLaw, Saving, Summary};
use serde::{Deserialize, Serialize};

/// A whole sweep. Everything that the page shows or plots is here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// How it came to be.
    #[serde(flatten)]
    pub origin: Origin,
    /// What tells the tokenizer apart.
    pub tokenizer: String,
    /// The seeds asked for.
    pub seeds: Vec<u64>,
    /// The architectures; the first one is the baseline.
    pub archs: Vec<Arch>,
    /// Every finished run.
    pub runs: Vec<Run>,
}

/// One architecture over its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arch {
    /// The architecture, as `--archs` takes it.
    pub arch: String,
    /// Its sizes, in the order given.
    pub sizes: Vec<Size>,
    /// The lowest loss over sizes by training FLOPs; empty where there is none.
    pub frontier: Vec<FrontierPoint>,
    /// The power law on it.
    pub law: Option<PowerLaw>,
    /// Why there is no frontier or no law.
    pub no_law: Option<NoFrontier>,
    /// How much less compute it needs than the baseline for the same loss; none for the baseline, and where no loss is
    /// common.
    pub saving: Option<Saving>,
}

/// One size of an architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Its name.
    pub size: String,
    /// Trained parameters.
    pub parameters: u64,
    /// Floating-point operations of a training step.
    pub flops_per_step: f64,
    /// The same for each token.
    pub flops_per_token: f64,
    /// The calibrated seconds of a step.
    pub seconds_per_step: f64,
    /// Steps of each run.
    pub steps: u64,
    /// Those steps' floating-point operations.
    pub flops: f64,
    /// Its finished runs, as places in [`Scaling::runs`].
    pub runs: Vec<usize>,
    /// How many of these diverged.
    pub diverged: usize,
    /// Final loss on held-out text, nats a token; none where a run has none that is finite.
    pub final_loss: Option<Summary>,
    /// A curve a run of (training FLOPs, loss), finite losses alone.
    pub curves: Vec<Vec<(f64, f64)>>,
}

/// One finished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The architecture.
    pub arch: String,
    /// The size.
    pub size: String,
    /// What was measured.
    #[serde(flatten)]
    pub record: Record,
}
