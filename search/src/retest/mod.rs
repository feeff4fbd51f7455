//! Whether what a search has found holds: with new seeds, on text that the search never read, at other sizes, beside
//! hand-written models and the best of a control.
//!
//! 1. **Shortlist.** The best distinct programs by fitness, and every other one that reached the end close to the best
//!    ([`shortlist`]). A fitness is one run with one seed, and the best of thousands is partly luck.
//! 2. **Select.** Each is trained again as in the search, with new seeds, and measured on held-out windows that the
//!    search never measured ([`Evaluator::select`](crate::Evaluator::select)). The best means are the finalists. A
//!    program whose step takes much more or less than was predicted is out: its budget was not what the study promised.
//! 3. **Test.** Finalists, the seed program, the best of each control and hand-written models are trained by the
//!    ordinary trainer on another text, at the same predicted cost, each with the best of the same learning rates, with
//!    the same seeds ([`Setting::config`]). Half of what is held out of that text chooses the learning rates, the other
//!    half is the test.
//! 4. **Ablation.** The forebears of the finalist that was best in the second stage are measured alike: what each edit
//!    brought ([`edits`]). Were it the best of the test, its test would flatter it.

mod setting;
mod shortlist;

use serde::{Deserialize, Serialize};

use crate::study::Budget;

pub use setting::{Contestant, Setting, steps};
pub use shortlist::{Edit, edits, shortlist};

/// Measured over predicted cost of a step, the seed program's being 1, between which the budget is taken to be fair.
pub const FAIR: std::ops::RangeInclusive<f64> = 0.8..=1.25;

/// Whether a program may be a finalist by what its steps cost. Only a budget of predicted cost depends on the
/// prediction.
pub fn is_fair(budget: Budget, measured_over_predicted: Option<f64>) -> bool {
    budget != Budget::Cost || measured_over_predicted.is_some_and(|ratio| FAIR.contains(&ratio))
}

/// How much is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Programs of the shortlist by fitness alone.
    pub top: u32,
    /// Nats a token from the best fitness within which every program that reached the end is on the shortlist.
    pub margin: f64,
    /// Seeds with which the shortlist is trained again.
    pub select_seeds: u32,
    /// Programs that are tested.
    pub finalists: u32,
    /// Seeds of the test, the same for all.
    pub seeds: u32,
    /// Peak learning rates of which each contestant takes its best.
    pub learning_rates: Vec<f64>,
    /// What is tested.
    pub settings: Vec<Setting>,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            top: 20,
            margin: 0.03,
            select_seeds: 2,
            finalists: 5,
            seeds: 5,
            learning_rates: vec![1.5e-3, 3e-3, 6e-3],
            settings: Setting::ALL.to_vec(),
        }
    }
}

/// One training run of a retest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Task {
    /// As in the search, measured on other windows.
    Select {
        /// The study's number, that of the search itself 0.
        study: usize,
        /// The candidate.
        child: u64,
        /// Seed of the start and the order of the text.
        seed: u64,
    },
    /// On the test text, measured on the first half of what is held out of it: which learning rate is a contestant's
    /// best.
    Tune {
        /// What is tested.
        setting: Setting,
        /// The contestant's name.
        name: String,
        /// Peak learning rate.
        learning_rate: f64,
        /// Seed of the start and the order of the text.
        seed: u64,
    },
    /// On the test text, measured on the second half.
    Test {
        /// What is tested.
        setting: Setting,
        /// The contestant's name.
        name: String,
        /// Peak learning rate.
        learning_rate: f64,
        /// Seed of the start and the order of the text.
        seed: u64,
    },
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was run.
    #[serde(flatten)]
    pub task: Task,
    /// Held-out loss in nats a token; none where it isn't finite.
    pub loss: Option<f64>,
    /// Steps done.
    pub steps: u64,
    /// Seconds by the clock.
    pub seconds: f64,
}
