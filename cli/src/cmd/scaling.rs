//! `primer scaling`: architectures over several sizes, loss against compute.

use crate::architecture::Architecture;
use crate::args::Scaling;
use crate::cmd::experiment::{self, Cost, Experiment, Job, Kind, Length, Record, distinct};
use crate::failure::{Failure, Outcome};
use crate::folder;
use crate::report::html::pretty;
use crate::report::scaling::{self, data};
use crate::terminal;
use primer_models::analysis::{Frontier, PowerLaw, SizeCurves, Summary, saving};
use primer_models::arch::Model;
use primer_models::optim::Decay;
use primer_models::{Arch, RunConfig};
use serde_json::json;

/// Trains every architecture at every size with every seed, and fits loss against compute.
///
/// # Errors
/// A setting, text, folder or device that can't be used.
pub fn run(args: &Scaling) -> Outcome {
    let experiment = Experiment::open(&args.experiment, "scaling", || plan(args))?;
    let arms = &experiment.plan.arms;
    let Some(times) = experiment.step_times(&by_size(arms))? else {
        return experiment.stopped_before_training(args.experiment.json);
    };
    let costs = experiment.costs(&times)?;
    let seconds: Vec<f64> = costs.iter().map(|cost| cost.seconds).collect();
    let mut jobs = Vec::new();
    for &seed in &experiment.plan.seeds {
        for (i, arm) in arms.iter().enumerate() {
            let steps = experiment.plan.length.steps(&arm.config, costs[i]);
            jobs.push(Job::new(i, arm, &format!("{}-{}", arm.arch, arm.size), seed, steps, ""));
        }
    }
    experiment.train(&jobs, &seconds)?;

    let finished = experiment.finished(&jobs)?;
    let report = report(&experiment, &costs, &finished)?;
    let page = scaling::write(&report, &experiment.out).map_err(|e| folder::no_report(&experiment.out, &e))?;
    if args.experiment.json {
        let summary = |arch: &data::Arch| {
            let saving = arch.saving.as_ref().map(|saving| saving.mean);
            json!({ "arch": arch.arch, "law": arch.law, "no_law": arch.no_law, "saving": saving })
        };
        return terminal::json(&json!({
            "out": experiment.out,
            "report": page,
            "stopped": experiment.stop.asked(),
            "runs": report.runs.len(),
            "archs": report.archs.iter().map(summary).collect::<Vec<_>>(),
        }));
    }
    closing(&report)?;
    terminal::line(&format!("\nreport: {}", page.display()))
}

fn plan(args: &Scaling) -> Outcome<(Kind, Vec<experiment::Arm>, Length)> {
    distinct(&args.archs, "--archs", Architecture::to_string)?;
    distinct(&args.sizes, "--sizes", |size| size.name())?;
    if let [only] = args.sizes.as_slice() {
        return Err(Failure::usage(format!("--sizes names {only} alone: an optimum over sizes takes at least two")));
    }
    // All are measured on the same windows of text, so that their losses can be compared.
    let of_sizes = |of: &dyn Fn(&RunConfig) -> usize| {
        args.sizes.iter().map(|&size| of(&RunConfig::new(Arch::Vanilla, size))).min().unwrap_or(1)
    };
    let (seq, batch) = (of_sizes(&|config| config.model.seq), of_sizes(&|config| config.train.batch));
    let arms = experiment::arms(&args.archs, &args.sizes, &args.experiment, |config| {
        config.model.seq = seq;
        config.train.batch = batch;
        // The paper's: constant for 10,000 steps, then 1/√step.
        config.schedule.decay = Decay::Rsqrt;
    })?;
    let schedule = &arms[0].config.schedule;
    if schedule.decay.spans_the_run() {
        return Err(Failure::usage(format!(
            "the schedule {} lets the learning rate fall towards the end of a run, so the losses on the way are not \
             those of shorter runs and make no curve of loss against compute",
            schedule.decay.name()
        ))
        .hint("Take `--set decay=rsqrt` (the paper's, and the default here) or `--set decay=constant`."));
    }
    let length = match args.flops {
        Some(flops) => Length::Flops(flops),
        None => Length::of(args.steps, args.tokens, args.time, &arms[0].config),
    };
    Ok((Kind::Scaling, arms, length))
}

/// The models of a size are timed in turns; those of all sizes at once might not fit into memory.
fn by_size(arms: &[experiment::Arm]) -> Vec<Vec<usize>> {
    let mut sizes: Vec<&str> = arms.iter().map(|arm| arm.size.as_str()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.into_iter().map(|size| (0..arms.len()).filter(|&arm| arms[arm].size == size).collect()).collect()
}

fn report(experiment: &Experiment, costs: &[Cost], finished: &[(&Job, Record)]) -> Outcome<data::Scaling> {
    let arms = &experiment.plan.arms;
    let mut names: Vec<&str> = Vec::new();
    for arm in arms {
        if !names.contains(&arm.arch.as_str()) {
            names.push(&arm.arch);
        }
    }
    let mut archs: Vec<data::Arch> = Vec::new();
    for name in names {
        let mut sizes = Vec::new();
        for (i, arm) in arms.iter().enumerate().filter(|(_, arm)| arm.arch == name) {
            sizes.push(size(experiment, i, arm, costs[i], finished)?);
        }
        let curves = sizes.iter().map(|s| SizeCurves { size: s.size.clone(), seeds: s.curves.clone() });
        let frontier = Frontier::new(&curves.collect::<Vec<_>>());
        let law = frontier.as_ref().map_err(Clone::clone).and_then(PowerLaw::fit);
        let points = frontier.map(|frontier| frontier.points()).unwrap_or_default();
        archs.push(data::Arch {
            arch: name.into(),
            saving: archs.first().and_then(|base| saving(&base.frontier, &points)),
            frontier: points,
            no_law: law.as_ref().err().cloned(),
            law: law.ok(),
            sizes,
        });
    }
    let run = |(job, record): &(&Job, Record)| data::Run {
        arch: arms[job.arm].arch.clone(),
        size: arms[job.arm].size.clone(),
        record: record.clone(),
    };
    Ok(data::Scaling {
        origin: experiment
            .origin(format!("Scaling of {}", archs.iter().map(|a| pretty(&a.arch)).collect::<Vec<_>>().join(", "))),
        tokenizer: experiment.plan.tokenizer.clone(),
        seeds: experiment.plan.seeds.clone(),
        archs,
        runs: finished.iter().map(run).collect(),
    })
}

fn size(
    experiment: &Experiment,
    place: usize,
    arm: &experiment::Arm,
    cost: Cost,
    finished: &[(&Job, Record)],
) -> Outcome<data::Size> {
    let steps = experiment.plan.length.steps(&arm.config, cost);
    let of = |(_, (job, _)): &(usize, &(&Job, Record))| job.arm == place;
    let (runs, records): (Vec<usize>, Vec<&Record>) =
        finished.iter().enumerate().filter(of).map(|(i, (_, record))| (i, record)).unzip();
    Ok(data::Size {
        size: arm.size.clone(),
        parameters: Model::build(&arm.config.model, 1)?.parameters() as u64,
        flops_per_step: cost.flops,
        flops_per_token: cost.flops / arm.config.tokens_per_step() as f64,
        seconds_per_step: cost.seconds,
        steps,
        flops: steps as f64 * cost.flops,
        runs,
        diverged: records.iter().filter(|record| record.diverged).count(),
        final_loss: Summary::of(&records.iter().map(|r| r.final_loss.unwrap_or(f64::NAN)).collect::<Vec<_>>()),
        curves: records.iter().map(|record| record.curve(cost.flops)).collect(),
    })
}

/// What was found, for readers who don't open the report.
fn closing(report: &data::Scaling) -> Outcome {
    for arch in &report.archs {
        let name = pretty(&arch.arch);
        match (&arch.law, &arch.no_law) {
            (Some(law), _) => {
                let interval = law.k_interval.map_or(String::new(), |[low, high]| format!(" ({low:.4} to {high:.4})"));
                let fit = format!("l = a·c^-k with k = {:.4}{interval}, R² {:.4}", law.k, law.r_squared);
                terminal::line(&format!("{name:<26} {fit}"))?;
            }
            (None, Some(why)) => terminal::line(&format!("{name:<26} no power law: {why}"))?,
            (None, None) => {}
        }
        if let Some(saving) = &arch.saving {
            terminal::line(&format!("{:<26} the first takes {:.2} times its compute at equal loss", "", saving.mean))?;
        }
    }
    Ok(())
}
