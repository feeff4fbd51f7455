//! What follows from the data: the speedup factor, the slowdown of a step, the best so far.

use super::data::{Arm, Point, Report, Search};
use primer_models::analysis::{Speedup, running_minimum, speedup};
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

/// What follows from a search alone.
pub fn of_search(search: &Search) -> Derived {
    Derived { comparisons: Vec::new(), best_so_far: best_so_far(search) }
}

/// Computes everything that the page shows beyond the data.
pub fn derive(report: &Report) -> Derived {
    let comparisons = match report.arms.split_first() {
        Some((base, others)) => others.iter().map(|arm| compare(base, arm)).collect(),
        None => Vec::new(),
    };
    Derived { comparisons, best_so_far: report.search.as_ref().map(best_so_far).unwrap_or_default() }
}
