//! The learning rate over the steps: a linear rise, then a decay.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The shape after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Half a cosine wave.
    Cosine,
    /// A straight line.
    Linear,
    /// None.
    Constant,
    /// Full for `hold` steps, then with the reciprocal of the root of the step: with a peak of 0.01 and 10,000 steps
    /// the paper's 1/√max(step, 10⁴) (spec §5.1).
    Rsqrt,
}

impl Decay {
    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Constant => "constant",
            Self::Rsqrt => "rsqrt",
        }
    }

    /// Whether the rate falls towards the end of a run, so that losses on the way are higher than those of a shorter
    /// run.
    pub fn spans_the_run(self) -> bool {
        matches!(self, Self::Cosine | Self::Linear)
    }
}

/// Warm-up and decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// The shape after it.
    pub decay: Decay,
    /// The last step's rate as a fraction of the peak, for a cosine and a line.
    pub final_fraction: f64,
    /// Steps before the rate falls, for the reciprocal root.
    pub hold: u64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { warmup: 50, decay: Decay::Cosine, final_fraction: 0.1, hold: 10_000 }
    }
}

impl ScheduleConfig {
    /// The factor of the peak rate for step `step` (counted from 0) of `total`: it rises over `warmup` steps to 1, then
    /// falls to `final_fraction` at the last step and stays there. Where the decay doesn't span the run, nothing depends
    /// on `total`, so that the losses on the way are those of shorter runs.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        // A short run still has most of its steps behind the warm-up.
        let longest = if self.decay.spans_the_run() { total / 5 } else { u64::MAX };
        let warmup = self.warmup.min(longest);
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup + 1).max(1);
        let progress = ((step - warmup) as f64 / span as f64).min(1.0);
        let shape = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Decay::Linear => 1.0 - progress,
            Decay::Constant => return 1.0,
            Decay::Rsqrt => {
                let hold = self.hold.max(1) as f64;
                return (hold / (step as f64).max(hold)).sqrt();
            }
        };
        self.final_fraction + (1.0 - self.final_fraction) * shape
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadValue`] naming the key.
    pub fn validate(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.final_fraction) {
            return Ok(());
        }
        Err(Error::BadValue {
            key: "schedule.final_fraction".into(),
            value: self.final_fraction.to_string(),
            reason: "it must lie between 0 and 1".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_the_final_fraction() {
        for decay in [Decay::Cosine, Decay::Linear] {
            let schedule = ScheduleConfig { warmup: 10, decay, ..ScheduleConfig::default() };
            assert!((schedule.factor(0, 100) - 0.1).abs() < 1e-12);
            assert_eq!(schedule.factor(9, 100), 1.0);
            assert_eq!(schedule.factor(10, 100), 1.0);
            assert!((schedule.factor(99, 100) - 0.1).abs() < 1e-12);
            assert!((schedule.factor(500, 100) - 0.1).abs() < 1e-12);
            assert!((10..99).all(|s| schedule.factor(s + 1, 100) < schedule.factor(s, 100)));
        }
    }

    #[test]
    fn the_reciprocal_root_is_the_paper_s() {
        let schedule = ScheduleConfig { warmup: 0, decay: Decay::Rsqrt, ..ScheduleConfig::default() };
        for step in [0, 1, 9_999, 10_000, 40_000, 1_000_000] {
            let expected = 1.0 / (step.max(10_000) as f64).sqrt();
            assert!((0.01 * schedule.factor(step, 100) - expected).abs() < 1e-12, "{step}");
        }
    }

    /// A run on the way is a shorter run's end.
    #[test]
    fn what_does_not_span_the_run_does_not_depend_on_its_length() {
        for decay in [Decay::Constant, Decay::Rsqrt] {
            let schedule = ScheduleConfig { warmup: 50, decay, ..ScheduleConfig::default() };
            for step in [0, 3, 20, 49, 50, 20_000] {
                assert_eq!(schedule.factor(step, 16), schedule.factor(step, 1_000_000), "{step}");
            }
        }
    }

    #[test]
    fn short_totals_stay_finite() {
        for total in 0..4 {
            for step in 0..6 {
                let factor = ScheduleConfig::default().factor(step, total);
                assert!((0.0..=1.0).contains(&factor), "{step} of {total}: {factor}");
            }
        }
    }
}
