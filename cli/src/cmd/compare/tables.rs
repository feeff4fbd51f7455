//! How many steps each model gets in each table, and what became of them.

use crate::args::Equal;
use crate::cmd::experiment::{Cost, Evaluation, Experiment, Job, Record};
use crate::report::comparison::data::{Row, Run, Table};
use primer_models::analysis::{Speedup, Speedups, Summary, differences, running_minimum, speedup};

/// A step's cost in what the models of a table are given the same amount of.
fn cost_of(cost: Cost, equal: Equal) -> f64 {
    match equal {
        Equal::Steps => 1.0,
        Equal::Time => cost.seconds,
        Equal::Flops => cost.flops,
    }
}

/// A table that is to be filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub equal: Equal,
    /// Steps of each model.
    pub steps: Vec<u64>,
}

/// The steps that cost each model what `base_steps` cost the first: N = N_base · cost_base / cost, at least one.
pub fn plan(equal: &[Equal], base_steps: u64, costs: &[Cost]) -> Vec<Planned> {
    let steps = |equal: Equal, cost: &Cost| match equal {
        Equal::Steps => base_steps,
        _ => ((base_steps as f64 * cost_of(costs[0], equal) / cost_of(*cost, equal)).round() as u64).max(1),
    };
    let table = |&equal: &Equal| Planned { equal, steps: costs.iter().map(|cost| steps(equal, cost)).collect() };
    equal.iter().map(table).collect()
}

/// The tables, as far as runs are finished, and these runs.
pub fn build(
    experiment: &Experiment,
    planned: &[Planned],
    costs: &[Cost],
    finished: &[(&Job, Record)],
) -> (Vec<Table>, Vec<Run>) {
    let arch = |arm: usize| experiment.plan.arms[arm].arch.clone();
    let filled = |table: &Planned, arm: usize| {
        let steps = table.steps[arm];
        let of = |(_, (job, _)): &(usize, &(&Job, Record))| job.arm == arm && job.steps() == steps;
        let runs: Vec<(usize, &Record)> =
            finished.iter().enumerate().filter(of).map(|(place, (_, record))| (place, record)).collect();
        let row = row(arch(arm), steps, costs[arm], table.equal, &runs);
        let records: Vec<&Record> = runs.into_iter().map(|(_, record)| record).collect();
        (row, records)
    };
    let tables = planned.iter().map(|table| {
        let rows: Vec<(Row, Vec<&Record>)> = (0..costs.len()).map(|arm| filled(table, arm)).collect();
        let base = rows.first().map_or(Vec::new(), |(_, records)| records.clone());
        let against = |(arm, (row, records)): (usize, (Row, Vec<&Record>))| match arm {
            0 => row,
            _ => compare(row, &records, cost_of(costs[arm], table.equal), &base, cost_of(costs[0], table.equal)),
        };
        let unit = match table.equal {
            Equal::Steps => "steps",
            Equal::Time => "calibrated seconds of training",
            Equal::Flops => "training FLOPs",
        };
        Table { equal: table.equal, unit: unit.into(), rows: rows.into_iter().enumerate().map(against).collect() }
    });
    let tables = tables.collect();
    let runs = finished.iter().map(|(job, record)| Run { arch: arch(job.arm), record: record.clone() });
    (tables, runs.collect())
}

fn row(arch: String, steps: u64, cost: Cost, equal: Equal, runs: &[(usize, &Record)]) -> Row {
    let records: Vec<&Record> = runs.iter().map(|&(_, record)| record).collect();
    let over = |of: &dyn Fn(&Record) -> Option<f64>| {
        Summary::of(&records.iter().map(|record| of(record).unwrap_or(f64::NAN)).collect::<Vec<f64>>())
    };
    let curves: Vec<Vec<(f64, f64)>> = records.iter().map(|r| r.curve(cost_of(cost, equal))).collect();
    Row {
        arch,
        steps,
        calibrated_seconds: steps as f64 * cost.seconds,
        flops: steps as f64 * cost.flops,
        runs: runs.iter().map(|&(place, _)| place).collect(),
        diverged: records.iter().filter(|r| r.diverged).count(),
        final_loss: over(&|record| record.final_loss),
        perplexity: over(&|record| record.final_loss.map(f64::exp)),
        bits_per_byte: over(&|record| record.final_bits_per_byte),
        difference: None,
        speedup: None,
        wall_seconds: Summary::of(&records.iter().map(|r| r.wall_seconds).collect::<Vec<f64>>()),
        mean_curve: mean(&records, cost_of(cost, equal)),
        curves,
    }
}

/// The mean over runs of the same steps, where all have a finite loss.
fn mean(records: &[&Record], a_step: f64) -> Vec<(f64, f64)> {
    let Some(first) = records.first() else { return Vec::new() };
    let at = |(i, point): (usize, &Evaluation)| {
        let losses = records.iter().map(|r| r.points.get(i).filter(|p| p.step == point.step)?.loss);
        let sum = losses.sum::<Option<f64>>()?;
        Some((point.step as f64 * a_step, sum / records.len() as f64))
    };
    first.points.iter().enumerate().filter_map(at).collect()
}

/// Adds to a row what it is against the baseline, seed by seed.
fn compare(row: Row, records: &[&Record], a_step: f64, base: &[&Record], base_a_step: f64) -> Row {
    let pairs: Vec<(&Record, &Record)> = records
        .iter()
        .filter_map(|record| Some((*record, *base.iter().find(|other| other.seed == record.seed)?)))
        .collect();
    let losses = |of: &dyn Fn(&(&Record, &Record)) -> Option<f64>| -> Vec<f64> {
        pairs.iter().map(|pair| of(pair).unwrap_or(f64::NAN)).collect()
    };
    let factor = |(record, base): &(&Record, &Record)| {
        let target = running_minimum(base.curve(base_a_step)).last().copied();
        match target.filter(|_| !base.diverged) {
            None => Speedup::NoData,
            Some((_, target)) => speedup(base.steps as f64 * base_a_step, target, &record.curve(a_step)),
        }
    };
    Row {
        difference: differences(&losses(&|pair| pair.0.final_loss), &losses(&|pair| pair.1.final_loss)),
        speedup: Some(Speedups::of(pairs.iter().map(factor).collect())),
        ..row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: [Cost; 2] = [Cost { seconds: 0.010, flops: 3e9 }, Cost { seconds: 0.0125, flops: 2.5e9 }];

    #[test]
    fn steps_follow_from_what_a_step_costs() {
        let planned = plan(&[Equal::Steps, Equal::Time, Equal::Flops], 1000, &COSTS);
        let steps: Vec<_> = planned.iter().map(|table| table.steps.clone()).collect();
        assert_eq!(steps, [[1000, 1000], [1000, 800], [1000, 1200]]);
        let slow = [COSTS[0], Cost { seconds: 1e3, flops: 1e20 }];
        assert!(plan(&[Equal::Time, Equal::Flops], 10, &slow).iter().all(|table| table.steps == [10, 1]));
    }

    fn record(seed: u64, losses: &[Option<f64>]) -> Record {
        let points = losses.iter().enumerate().map(|(i, &loss)| Evaluation {
            step: 10 * (i as u64 + 1),
            wall_seconds: i as f64,
            loss,
        });
        let final_loss = losses.last().copied().flatten();
        Record {
            folder: format!("runs/x-n{}-s{seed}", 10 * losses.len()),
            seed,
            steps: 10 * losses.len() as u64,
            learning_rate: 0.01,
            wall_seconds: 2.0,
            final_loss,
            final_bits_per_byte: final_loss.map(|loss| loss / 2.0),
            diverged: final_loss.is_none(),
            non_finite_readings: 0,
            points: points.collect(),
        }
    }

    fn rows(base: &[Record], arm: &[Record], equal: Equal) -> Row {
        let numbered: Vec<(usize, &Record)> = arm.iter().enumerate().collect();
        let row = row("primer".into(), arm[0].steps, COSTS[1], equal, &numbered);
        let (arm, base): (Vec<_>, Vec<_>) = (arm.iter().collect(), base.iter().collect());
        compare(row, &arm, cost_of(COSTS[1], equal), &base, cost_of(COSTS[0], equal))
    }

    #[test]
    fn a_row_is_compared_seed_by_seed() {
        let base = [record(0, &[Some(4.0), Some(3.0)]), record(1, &[Some(4.2), Some(3.2)])];
        // The order of the seeds does not matter, and seed 2 has no partner.
        let arm = [
            record(1, &[Some(3.2), Some(2.9)]),
            record(0, &[Some(3.4), Some(2.8)]),
            record(2, &[Some(9.0), Some(9.0)]),
        ];
        let row = rows(&base, &arm, Equal::Steps);
        assert!((row.difference.unwrap().mean - (-0.25)).abs() < 1e-12, "{row:?}");
        let speedup = row.speedup.unwrap();
        assert_eq!((speedup.seeds.len(), speedup.reached), (2, 2));
        assert!((row.bits_per_byte.unwrap().mean - row.final_loss.unwrap().mean / 2.0).abs() < 1e-12);
        assert_eq!((row.mean_curve.len(), row.curves.len(), row.mean_curve[0].0), (2, 3, 10.0));
        // At its first evaluation the arm of seed 1 stands where the baseline ended: 20 steps over 10, or 0.2 s over
        // 0.125 s.
        let in_time = rows(&base, &arm, Equal::Time).speedup.unwrap();
        let factor = |s: &Speedups| match s.seeds[0] {
            Speedup::Reached { factor, .. } => factor,
            other => panic!("{other:?}"),
        };
        assert!((factor(&speedup) - 2.0).abs() < 1e-12 && (factor(&in_time) - 1.6).abs() < 1e-12);
    }

    #[test]
    fn a_diverged_run_is_counted_and_never_averaged_away() {
        let base = [record(0, &[Some(4.0), Some(3.0)]), record(1, &[Some(4.0), Some(3.0)])];
        let arm = [record(0, &[Some(4.0), Some(2.0)]), record(1, &[Some(4.0), None])];
        let row = rows(&base, &arm, Equal::Steps);
        assert_eq!((row.diverged, row.final_loss, row.difference), (1, None, None));
        assert_eq!(row.mean_curve.len(), 1, "the mean ends where a run has no loss");
        assert_eq!(row.speedup.unwrap().reached, 1);
        // Against a baseline that diverged there is no factor.
        let factors = rows(&arm, &base, Equal::Steps).speedup.unwrap();
        assert_eq!(factors.seeds[1], Speedup::NoData);
    }
}
