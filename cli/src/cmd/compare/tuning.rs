//! Equal tuning for every model: each is trained with each learning rate, on a seed that the comparison does not use.

use crate::cmd::experiment::{Experiment, Job};
use crate::failure::Outcome;
use crate::report::comparison::data::Tuned;

/// The peak learning rate of each model: its configuration's without `rates`, else the one with the lowest final loss
/// in a run of `steps` steps. None where it was stopped before all was tried.
///
/// # Errors
/// A device or folder that fails.
pub fn run(experiment: &Experiment, rates: &[f64], steps: u64, seconds: &[f64]) -> Outcome<Option<Vec<f64>>> {
    let arms = &experiment.plan.arms;
    if rates.is_empty() {
        return Ok(Some(arms.iter().map(|arm| arm.config.optimizer.learning_rate).collect()));
    }
    let all: Vec<Job> = (0..arms.len()).flat_map(|arm| jobs(experiment, arm, rates, steps)).collect();
    experiment.train(&all, seconds)?;
    let mut best = Vec::new();
    for arm in 0..arms.len() {
        let mut finished = Vec::new();
        for job in jobs(experiment, arm, rates, steps) {
            let Some(record) = experiment.record(&job)? else { return Ok(None) };
            finished.push((job.config.optimizer.learning_rate, record.final_loss.unwrap_or(f64::INFINITY)));
        }
        best.extend(finished.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(rate, _)| rate));
    }
    Ok(Some(best))
}

/// A run for each rate, on the seed after those of the comparison.
fn jobs(experiment: &Experiment, arm: usize, rates: &[f64], steps: u64) -> Vec<Job> {
    let what = &experiment.plan.arms[arm];
    let seed = experiment.plan.seeds.iter().max().map_or(0, |last| last + 1);
    let job = |&rate: &f64| {
        let mut job = Job::new(arm, what, &what.arch, seed, steps, &format!("-lr{rate}"));
        job.config.optimizer.learning_rate = rate;
        job
    };
    rates.iter().map(job).collect()
}

/// What a model's runs have given so far.
///
/// # Errors
/// A folder that can't be read.
pub fn losses(experiment: &Experiment, arm: usize, rates: &[f64], steps: u64) -> Outcome<Vec<Tuned>> {
    let tuned = |job: Job| {
        let final_loss = experiment.record(&job)?.and_then(|record| record.final_loss);
        Ok(Tuned { learning_rate: job.config.optimizer.learning_rate, final_loss })
    };
    jobs(experiment, arm, rates, steps).into_iter().map(tuned).collect()
}

/// Whether nothing was tried on one side of `rate`.
pub fn at_edge(rates: &[f64], rate: f64) -> bool {
    !rates.is_empty() && (rates.iter().all(|&other| other >= rate) || rates.iter().all(|&other| other <= rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_in_the_middle_is_not_at_the_edge() {
        let rates = [0.006, 0.001, 0.003];
        assert!(at_edge(&rates, 0.001) && at_edge(&rates, 0.006) && !at_edge(&rates, 0.003));
        assert!(at_edge(&[0.1], 0.1) && !at_edge(&[], 0.1));
    }
}
