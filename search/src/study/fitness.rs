//! What a candidate may spend, and where it may be stopped.

use serde::{Deserialize, Serialize};

/// What a candidate may spend, and the halving hurdles on the way (paper A.3).
///
/// With t the unit and h hurdles, a candidate is measured at the marks t, 3t, 7t, … (2ʰ − 1)t and at the end, (2ʰ⁺¹ −
/// 1)t. A loss above the bar of a mark ends it there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitness {
    /// What all candidates may spend alike.
    pub budget: Budget,
    /// t, in steps of the seed program; in seconds of training where those are the budget.
    pub unit: f64,
    /// How many hurdles (paper: 4).
    pub hurdles: u32,
    /// A mark's bar is the lower median of the last so many finite losses there.
    pub window: u32,
    /// Times that the seed program is trained, each time with another seed; its fitness is the mean.
    pub seed_runs: u32,
}

/// What is held equal between candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Predicted seconds of training ([`Roofline`](crate::roofline::Roofline)): the number of steps follows from the program alone.
    Cost,
    /// Training tokens, thus steps.
    Tokens,
    /// Floating-point operations of training.
    Flops,
    /// Measured seconds of training, the paper's rule; on the CPU those of the training thread. The fitness then
    /// depends on the machine, and can't be replayed.
    Seconds,
}

impl Budget {
    /// Every budget with its name.
    pub const ALL: [(&'static str, Budget); 4] =
        [("cost", Budget::Cost), ("tokens", Budget::Tokens), ("flops", Budget::Flops), ("seconds", Budget::Seconds)];
}

impl Fitness {
    /// Training for `steps` steps and no hurdles: what a quick look takes.
    pub fn steps(steps: u64) -> Fitness {
        Fitness { budget: Budget::Tokens, unit: steps as f64, hurdles: 0, window: 1, seed_runs: 1 }
    }

    /// The marks in units, the end last.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = u64> {
        (1..self.hurdles + 2).map(|k| (1u64 << k) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{Preset, StudySpec};

    /// Paper A.3: of 25,200 seconds the marks at 812.9, 2438.7, 5690.3 and 12193.5.
    #[test]
    fn marks_halve_the_candidates_at_equal_cost() {
        let paper = StudySpec::preset(Preset::Paper, "p".to_owned(), "00".to_owned(), 1).fitness;
        assert_eq!(paper.marks().collect::<Vec<_>>(), [1, 3, 7, 15, 31]);
        let seconds: Vec<f64> = paper.marks().map(|units| units as f64 * paper.unit).collect();
        for (mark, wanted) in seconds.iter().zip([812.9, 2438.7, 5690.3, 12193.5, 25200.0]) {
            assert!((mark - wanted).abs() < 0.1, "{seconds:?}");
        }
        assert_eq!(Fitness::steps(12).marks().collect::<Vec<_>>(), [1]);
    }
}
