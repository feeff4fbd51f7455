//! What follows from the data: the speedup factor, the slowdown of a step, the best so far.

use super::data::{Arm, Point, Report, Search};
use serde::{Deserialize, Serialize};

/// Everything that is computed for the page, written into `report.json` with the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    /// Each arm against the first one.
    pub comparisons: Vec<Comparison>,
    /// Best fitness so far against cost: a point at every improvement.
    pub best_so_far: Vec<(f64, f64)>,
}

/// One arm against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The arm compared.
    pub arch: String,
    /// The baseline's best loss on the held-out text, the target.
    pub target_loss: Option<f64>,
    /// In seconds of training: the paper's speedup factor, which includes the cost of a step.
    pub time: Speedup,
    /// In tokens: the same, had both steps cost the same.
    pub tokens: Speedup,
    /// Seconds a step over the baseline's seconds a step; above 1 is slower.
    pub step_slowdown: Option<f64>,
}

/// A speedup factor, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Speedup {
    /// The target was reached.
    Reached {
        /// The baseline's whole budget over what this arm needed.
        factor: f64,
        /// What this arm needed (seconds or tokens).
        at: f64,
        /// The target was already reached at the first evaluation: the true factor is larger.
        at_least: bool,
    },
    /// The target was never reached; nothing is extrapolated.
    NotReached,
    /// One of the two has no evaluation to compare.
    NoData,
}

/// The running minimum of a curve of (cost, loss), non-finite losses and zero costs left out.
pub fn running_minimum(points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut best = f64::INFINITY;
    points
        .into_iter()
        .filter(|&(cost, loss)| cost > 0.0 && cost.is_finite() && loss.is_finite())
        .map(|(cost, loss)| {
            best = best.min(loss);
            (cost, best)
        })
        .collect()
}

/// The paper's speedup factor (section 4 and Table 4): the baseline's whole budget over the cost at
/// which `curve` reaches `target`, interpolated linearly in the logarithm of the cost between
/// evaluations of the running minimum.
pub fn speedup(budget: f64, target: f64, curve: &[(f64, f64)]) -> Speedup {
    let curve = running_minimum(curve.iter().copied());
    let Some(after) = curve.iter().position(|&(_, loss)| loss <= target) else {
        return if curve.is_empty() { Speedup::NoData } else { Speedup::NotReached };
    };
    let (cost, loss) = curve[after];
    let (at, at_least) = match after.checked_sub(1).map(|before| curve[before]) {
        None => (cost, loss < target),
        Some((cost0, loss0)) => {
            let share = (loss0 - target) / (loss0 - loss);
            (cost0 * (cost / cost0).powf(share), false)
        }
    };
    Speedup::Reached { factor: budget / at, at, at_least }
}

fn compare(base: &Arm, arm: &Arm) -> Comparison {
    let seconds = |p: &Point| (p.seconds, p.validation_loss);
    let tokens = |p: &Point| (p.tokens as f64, p.validation_loss);
    let target = running_minimum(base.points.iter().map(seconds)).last().copied();
    let by = |of: &dyn Fn(&Point) -> (f64, f64)| {
        let budget = running_minimum(base.points.iter().map(of)).last().copied();
        match budget {
            None => Speedup::NoData,
            Some((budget, target)) => speedup(budget, target, &arm.points.iter().map(of).collect::<Vec<_>>()),
        }
    };
    let a_step = |arm: &Arm| (arm.steps > 0 && arm.seconds > 0.0).then(|| arm.seconds / arm.steps as f64);
    Comparison {
        arch: arm.arch.clone(),
        target_loss: target.map(|(_, loss)| loss),
        time: by(&seconds),
        tokens: by(&tokens),
        step_slowdown: a_step(arm).zip(a_step(base)).map(|(a, b)| a / b),
    }
}

fn best_so_far(search: &Search) -> Vec<(f64, f64)> {
    let mut best = f64::INFINITY;
    search
        .candidates
        .iter()
        .filter_map(|c| c.loss.map(|loss| (c.cost, loss)))
        .filter(|&(_, loss)| {
            let better = loss < best;
            best = best.min(loss);
            better
        })
        .collect()
}

/// Computes everything that the page shows beyond the data.
pub fn derive(report: &Report) -> Derived {
    let comparisons = match report.arms.split_first() {
        Some((base, others)) => others.iter().map(|arm| compare(base, arm)).collect(),
        None => Vec::new(),
    };
    Derived { comparisons, best_so_far: report.search.as_ref().map(best_so_far).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(s: Speedup) -> f64 {
        match s {
            Speedup::Reached { factor, .. } => factor,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_curve_that_is_the_same_one_twice_as_early_has_factor_two() {
        let curve: Vec<_> = (1..=5).map(|i| (f64::from(i), 4.0 - 0.5 * f64::from(i))).collect();
        assert_eq!(factor(speedup(10.0, 1.5, &curve)), 2.0);
    }

    #[test]
    fn between_evaluations_the_cost_is_interpolated_in_its_logarithm() {
        // Half of the way in loss is the geometric mean in cost: sqrt(1 · 100) = 10.
        let s = speedup(100.0, 2.0, &[(1.0, 3.0), (100.0, 1.0)]);
        assert!((factor(s) - 10.0).abs() < 1e-12, "{s:?}");
    }

    #[test]
    fn a_noisy_rise_does_not_count() {
        let noisy = [(1.0, 3.0), (2.0, 1.0), (3.0, 2.5), (4.0, 0.5)];
        let s = speedup(8.0, 0.75, &noisy);
        // From (2, 1.0) by running minimum (3, 1.0) to (4, 0.5): half way between 3 and 4.
        assert!((factor(s) - 8.0 / (12f64).sqrt()).abs() < 1e-12, "{s:?}");
    }

    #[test]
    fn a_target_that_is_never_reached_is_said_and_not_extrapolated() {
        assert_eq!(speedup(9.0, 0.1, &[(1.0, 3.0), (2.0, 1.0)]), Speedup::NotReached);
        assert_eq!(speedup(9.0, 0.1, &[]), Speedup::NoData);
        assert_eq!(speedup(9.0, 0.1, &[(0.0, 0.0), (1.0, f64::NAN)]), Speedup::NoData);
    }

    #[test]
    fn a_target_reached_before_the_first_evaluation_gives_a_lower_bound() {
        assert_eq!(speedup(9.0, 2.0, &[(3.0, 1.0)]), Speedup::Reached { factor: 3.0, at: 3.0, at_least: true });
    }
}
