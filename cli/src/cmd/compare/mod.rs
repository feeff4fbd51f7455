//! `primer compare`: several architectures at one size, given the same amount of steps, time or FLOPs.

mod tables;
mod tuning;

use crate::architecture::Architecture;
use crate::args::{Compare, Equal};
use crate::cmd::experiment::{self, Cost, Experiment, Job, Kind, Length, distinct};
use crate::failure::{Failure, Outcome};
use crate::folder;
use crate::report::comparison::{self, data::Comparison};
use crate::report::html::pretty;
use crate::report::spread::{speedups, with_sd};
use crate::terminal;
use primer_models::Size;
use primer_models::arch::Model;
use primer_models::train::StepTime;
use serde_json::json;

/// Times the models' steps, tunes them if asked, trains what the tables need, and writes the report.
///
/// # Errors
/// A setting, text, folder or device that can't be used.
pub fn run(args: &Compare) -> Outcome {
    let experiment = Experiment::open(&args.experiment, "compare", || plan(args))?;
    let Kind::Compare { equal, learning_rates } = &experiment.plan.kind else {
        return Err(Failure::new("this experiment is no comparison"));
    };
    let groups = [(0..experiment.plan.arms.len()).collect()];
    let Some(times) = experiment.step_times(&groups)? else {
        return experiment.stopped_before_training(args.experiment.json);
    };
    let costs = experiment.costs(&times)?;
    let seconds: Vec<f64> = costs.iter().map(|cost| cost.seconds).collect();
    let base_steps = experiment.plan.length.steps(&experiment.plan.arms[0].config, costs[0]);

    let tuned = tuning::run(&experiment, learning_rates, base_steps, &seconds)?;
    let planned = tables::plan(equal, base_steps, &costs);
    let jobs = match &tuned {
        Some(tuned) => jobs(&experiment, &planned, tuned),
        // Stopped before the rates were known.
        None => Vec::new(),
    };
    experiment.train(&jobs, &seconds)?;

    let finished = experiment.finished(&jobs)?;
    let (tables, runs) = tables::build(&experiment, &planned, &costs, &finished);
    let comparison = Comparison {
        origin: experiment.origin(format!("Comparison of {} architectures", experiment.plan.arms.len())),
        tokenizer: experiment.plan.tokenizer.clone(),
        seeds: experiment.plan.seeds.clone(),
        decaying: experiment.plan.arms.iter().any(|arm| arm.config.schedule.decay.spans_the_run()),
        arms: arms(&experiment, &costs, times, learning_rates, tuned.as_deref(), base_steps)?,
        tables,
        runs,
    };
    let page = comparison::write(&comparison, &experiment.out).map_err(|e| folder::no_report(&experiment.out, &e))?;
    if args.experiment.json {
        return terminal::json(&json!({
            "out": experiment.out,
            "report": page,
            "stopped": experiment.stop.asked(),
            "runs": comparison.runs.len(),
            "tables": comparison.tables.iter().map(summary).collect::<Vec<_>>(),
        }));
    }
    closing(&comparison)?;
    terminal::line(&format!("\nreport: {}", page.display()))
}

fn plan(args: &Compare) -> Outcome<(Kind, Vec<experiment::Arm>, Length)> {
    if let [only] = args.archs.as_slice() {
        return Err(Failure::usage(format!("--archs names {only} alone: a comparison takes at least two")));
    }
    distinct(&args.archs, "--archs", Architecture::to_string)?;
    distinct(&args.equal, "--equal", |equal| format!("{equal:?}").to_lowercase())?;
    distinct(&args.learning_rates, "--learning-rates", f64::to_string)?;
    let size = args.size.unwrap_or(Size::Nano);
    let arms = experiment::arms(&args.archs, &[size], &args.experiment, |_| {})?;
    let length = Length::of(args.steps, args.tokens, args.time, &arms[0].config);
    let kind = Kind::Compare { equal: args.equal.clone(), learning_rates: args.learning_rates.clone() };
    Ok((kind, arms, length))
}

/// What the tables need, seed by seed, so that what is finished when it is stopped can be compared.
fn jobs(experiment: &Experiment, planned: &[tables::Planned], rates: &[f64]) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for &seed in &experiment.plan.seeds {
        for (arm, what) in experiment.plan.arms.iter().enumerate() {
            for table in planned {
                let mut job = Job::new(arm, what, &what.arch, seed, table.steps[arm], "");
                job.config.optimizer.learning_rate = rates[arm];
                if !jobs.contains(&job) {
                    jobs.push(job);
                }
            }
        }
    }
    jobs
}

fn arms(
    experiment: &Experiment,
    costs: &[Cost],
    times: Vec<StepTime>,
    rates: &[f64],
    tuned: Option<&[f64]>,
    base_steps: u64,
) -> Outcome<Vec<comparison::data::Arm>> {
    let mut arms = Vec::new();
    for (i, (arm, step_time)) in experiment.plan.arms.iter().zip(times).enumerate() {
        let tokens = arm.config.tokens_per_step() as f64;
        let learning_rate = tuned.map(|rates| rates[i]);
        arms.push(comparison::data::Arm {
            arch: arm.arch.clone(),
            parameters: Model::build(&arm.config.model, 1)?.parameters() as u64,
            flops_per_step: costs[i].flops,
            flops_per_token: costs[i].flops / tokens,
            steps_per_second: 1.0 / costs[i].seconds,
            tokens_per_second: tokens / costs[i].seconds,
            relative_speed: costs[0].seconds / costs[i].seconds,
            slowdown: costs[i].seconds / costs[0].seconds,
            step_time,
            learning_rate,
            tuning: tuning::losses(experiment, i, rates, base_steps)?,
            rate_at_edge: learning_rate.is_some_and(|rate| tuning::at_edge(rates, rate)),
        });
    }
    Ok(arms)
}

fn summary(table: &comparison::data::Table) -> serde_json::Value {
    let row = |row: &comparison::data::Row| {
        json!({
            "arch": row.arch,
            "steps": row.steps,
            "runs": row.runs.len(),
            "diverged": row.diverged,
            "final_loss": row.final_loss,
            "difference": row.difference,
            "speedup": row.speedup,
        })
    };
    json!({ "equal": table.equal, "rows": table.rows.iter().map(row).collect::<Vec<_>>() })
}

/// What was found, for readers who don't open the report.
fn closing(comparison: &Comparison) -> Outcome {
    for table in &comparison.tables {
        let what = match table.equal {
            Equal::Steps => "equal steps",
            Equal::Time => "equal calibrated time",
            Equal::Flops => "equal FLOPs",
        };
        terminal::line(&format!("\n{what}: held-out loss, nats a token; speedup in {}", table.unit))?;
        for row in &table.rows {
            let factor = row.speedup.as_ref().map_or("1".into(), speedups);
            terminal::line(&format!(
                "  {:<26} {:>8} steps   {:<18} {factor}",
                pretty(&row.arch),
                row.steps,
                with_sd(row.final_loss.as_ref(), 4)
            ))?;
        }
    }
    Ok(())
}
