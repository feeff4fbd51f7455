//! The speedup factor (section 4 of the paper).

use serde::{Deserialize, Serialize};

use super::Summary;

/// A speedup factor, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Speedup {
    /// The target was reached.
    Reached {
        /// The baseline's whole budget over what was needed.
        factor: f64,
        /// What was needed, in the unit of the budget.
        at: f64,
        /// The target was already reached at the first evaluation: the true factor is larger.
        at_least: bool,
    },
    /// The target was never reached; nothing is extrapolated.
    NotReached,
    /// There is no evaluation to compare.
    NoData,
}

/// The running minimum of a curve of (cost, loss); points with a loss that isn't finite or a cost of zero are left out.
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

/// The paper's speedup factor: the baseline's whole `budget` over the cost at which `curve` reaches `target`, the
/// baseline's final loss, interpolated linearly in the logarithm of the cost between evaluations of the running
/// minimum. Any cost will do that budget and curve share: seconds, steps, FLOPs.
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

/// Speedup factors over seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speedups {
    /// One a seed, each against the baseline of the same seed.
    pub seeds: Vec<Speedup>,
    /// How many reached the target.
    pub reached: usize,
    /// Over those that did; where not all did, it is the mean of the better ones.
    pub factor: Option<Summary>,
    /// Some factor is a lower bound only.
    pub at_least: bool,
}

impl Speedups {
    /// Gathers the factors of all seeds.
    pub fn of(seeds: Vec<Speedup>) -> Self {
        let reached: Vec<(f64, bool)> = seeds
            .iter()
            .filter_map(|s| match s {
                Speedup::Reached { factor, at_least, .. } => Some((*factor, *at_least)),
                Speedup::NotReached | Speedup::NoData => None,
            })
            .collect();
        let factors: Vec<f64> = reached.iter().map(|&(factor, _)| factor).collect();
        Self {
            reached: factors.len(),
            factor: Summary::of(&factors),
            at_least: reached.iter().any(|&(_, at_least)| at_least),
            seeds,
        }
    }
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

    #[test]
    fn seeds_that_did_not_reach_the_target_are_counted_and_not_averaged() {
        let at = |factor| Speedup::Reached { factor, at: 1.0, at_least: false };
        let all = Speedups::of(vec![at(1.0), Speedup::NotReached, at(2.0), Speedup::NoData]);
        assert_eq!((all.reached, all.seeds.len(), all.at_least), (2, 4, false));
        assert_eq!(all.factor.unwrap().mean, 1.5);
        assert_eq!(Speedups::of(vec![Speedup::NotReached]).factor, None);
        assert!(Speedups::of(vec![Speedup::Reached { factor: 3.0, at: 1.0, at_least: true }]).at_least);
    }
}
