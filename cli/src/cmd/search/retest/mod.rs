//! `primer search retest`: whether what a search has found holds.

mod ablation;
mod contest;
mod plan;
mod runs;
mod tables;

use crate::args::SearchRetest;
use crate::failure::Outcome;
use crate::folder;
use crate::report::data::{Corpus, Device, Origin};
use crate::report::retest::{self, data};
use crate::report::spread::{interval, with_sd};
use crate::terminal;
use contest::{Field, contestants, shortlist};
use plan::{Retest, SELECT_SEED, TEST_SEED};
use primer_search::Evaluator;
use primer_search::dna::Dna;
use primer_search::retest::Task;
use primer_search::study::Budget;
use runs::{Bench, Entry};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// The seed program's name.
const SEED: &str = "seed program";

/// Does the whole protocol as far as the user lets it, and writes the report.
///
/// # Errors
/// A store, text, folder or device that can't be used.
pub fn run(args: &SearchRetest) -> Outcome {
    let began = Instant::now();
    let retest = Retest::open(args)?;
    let costs = measure_costs(&retest)?;
    let mut report = data::Retest {
        origin: Origin {
            title: "Retest of a search".into(),
            command: retest.plan.typed.clone(),
            stopped_early: None,
            wall_seconds: 0.0,
            device: Device { name: retest.chosen.device.to_string(), why: retest.chosen.why.clone() },
            corpus: Corpus::of(&retest.test),
            settings: settings(&retest),
            versions: Origin::versions(),
        },
        run_seconds: 0.0,
        equal: match retest.stores[0].spec().fitness.budget {
            // A test must give the same again.
            Budget::Seconds => Budget::Cost,
            equal => equal,
        },
        studies: studies(&retest)?,
        shortlist: Vec::new(),
        tables: Vec::new(),
        ablation: None,
        measurements: Vec::new(),
    };
    let whole = work(&retest, &costs, &mut report)?;
    report.origin.stopped_early = if whole { None } else { retest.stop.why() };
    report.measurements = retest.all();
    report.run_seconds = report.measurements.iter().map(|m| m.seconds).sum();
    report.origin.wall_seconds = began.elapsed().as_secs_f64();
    let page = retest::write(&report, &retest.out).map_err(|e| folder::no_report(&retest.out, &e))?;
    if args.json {
        return terminal::json(&json!({
            "out": retest.out,
            "report": page,
            "stopped": !whole,
            "runs": report.measurements.len(),
            "shortlist": report.shortlist,
            "tables": report.tables,
            "ablation": report.ablation,
        }));
    }
    closing(&report)?;
    terminal::line(&format!("\nreport: {}", page.display()))
}

/// The stages one after the other; whether all is done.
fn work(retest: &Retest, costs: &[Option<f64>], report: &mut data::Retest) -> Outcome<bool> {
    let protocol = &retest.plan.protocol;
    let plan = &retest.plan;
    let again =
        |&(study, child): &(usize, u64)| plan.select_seeds().map(move |seed| Task::Select { study, child, seed });
    let tasks: Vec<Task> = plan.shortlist.iter().flat_map(again).collect();
    let selected = retest.run("select", &tasks, &Bench { entries: &[], corpus: &retest.test })?;
    report.shortlist = shortlist(retest, costs, selected)?;
    if !selected {
        return Ok(false);
    }
    let contestants = contestants(retest, &report.shortlist)?;
    for &setting in &protocol.settings {
        let text = retest.tokens(setting)?;
        let field = Field::new(retest, setting, &contestants, &text)?;
        let bench = Bench { entries: &field.entries, corpus: &text };
        let tune = |entry: &Entry, learning_rate: f64| {
            let (name, seed) = (entry.name.clone(), plan.tuning_seed());
            Task::Tune { setting, name, learning_rate, seed }
        };
        let all = field.entries.iter().flat_map(|entry| protocol.learning_rates.iter().map(|&rate| tune(entry, rate)));
        let tuned = retest.run(setting.name(), &all.collect::<Vec<Task>>(), &bench)?;
        let rates = tables::best_rates(retest, &field.entries);
        let mut whole = tuned;
        if tuned {
            let runs = plan
                .test_seeds()
                .flat_map(|seed| field.entries.iter().map(move |entry| (entry, seed)))
                .filter_map(|(entry, seed)| {
                    let (name, learning_rate) = (entry.name.clone(), *rates.get(&entry.name)?);
                    Some(Task::Test { setting, name, learning_rate, seed })
                });
            whole = retest.run(setting.name(), &runs.collect::<Vec<Task>>(), &bench)?;
        }
        report.tables.push(tables::build(retest, setting, &field, &rates, &report.shortlist)?);
        if !whole {
            return Ok(false);
        }
    }
    ablation::ablate(retest, report)
}

/// What steps of the shortlist's programs take over what was predicted, the seed program's 1; none where the study's
/// budget isn't predicted.
fn measure_costs(retest: &Retest) -> Outcome<Vec<Option<f64>>> {
    retest.costs(|| {
        terminal::note("timing the steps of the programs, in turns ...");
        let device = match &retest.chosen.device {
            primer_tensor::Device::Cpu(_) => primer_tensor::Device::cpu_with_threads(1),
            other => other.clone(),
        };
        let mut costs = Vec::new();
        for (study, store) in retest.stores.iter().enumerate() {
            let of_study = retest.plan.shortlist.iter().filter(|(s, _)| *s == study);
            let programs =
                of_study.map(|&(study, child)| retest.program(study, child)).collect::<Outcome<Vec<Dna>>>()?;
            if store.spec().fitness.budget != Budget::Cost {
                costs.resize(costs.len() + programs.len(), None);
                continue;
            }
            let evaluator = Evaluator::new(store.spec(), &retest.corpus, &device)?;
            costs.extend(evaluator.measured_over_predicted(&programs)?.into_iter().map(Some));
        }
        Ok(costs)
    })
}

fn studies(retest: &Retest) -> Outcome<Vec<data::Study>> {
    let of = |store: &primer_search::store::Store| -> Outcome<data::Study> {
        let (spec, status) = (store.spec(), store.status()?);
        Ok(data::Study {
            store: store.location().to_string(),
            study_sha256: store.spec_sha256().to_owned(),
            corpus_sha256: spec.corpus.clone(),
            strategy: serde_json::to_value(spec.strategy)
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned))
                .unwrap_or_default(),
            seed: spec.seed,
            candidates: status.counts.finished(),
            predicted_seconds: status.useful.predicted_seconds + status.wasted.predicted_seconds,
            seed_fitness: status.seed_fitness,
            best_fitness: status.best.map(|best| best.fitness),
        })
    };
    retest.stores.iter().map(of).collect()
}

fn settings(retest: &Retest) -> Vec<(String, String)> {
    let protocol = &retest.plan.protocol;
    let rates: Vec<String> = protocol.learning_rates.iter().map(f64::to_string).collect();
    [
        ("programs trained again", format!("the best {}, and all within {} nats", protocol.top, protocol.margin)),
        ("seeds of that", format!("{} from {SELECT_SEED} on", protocol.select_seeds)),
        ("seeds of the test", format!("{} from {TEST_SEED} on", protocol.seeds)),
        ("learning rates", format!("{}, tried on the seed {}", rates.join(", "), retest.plan.tuning_seed())),
        ("runs at a time", retest.workers.to_string()),
        ("computed on", retest.devices.join("; then ")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// What was found, for readers who don't open the report.
fn closing(report: &data::Retest) -> Outcome {
    for table in &report.tables {
        terminal::line(&format!("\n{}: held-out loss, nats a token; less the seed program's", table.what))?;
        for row in &table.rows {
            let p = row.p_holm.or(row.p).map_or(String::new(), |p| format!("  p {p:.3}"));
            terminal::line(&format!(
                "  {:<26} {:>8} steps   {:<18} {:<20} {}{p}",
                row.name,
                row.steps,
                with_sd(row.loss.as_ref(), 4),
                with_sd(row.difference.as_ref(), 4),
                interval(row.difference.as_ref(), 4),
            ))?;
        }
    }
    Ok(())
}

/// The best learning rate of each contestant by name.
type Rates = BTreeMap<String, f64>;
