//! `primer search report`: a study as a page.

use super::{describe, open, summary};
use crate::args::SearchReport;
use crate::failure::Outcome;
use crate::folder::{self, Existing};
use crate::report::search::data::{Hurdle, Odds, Spent, Study, Top};
use crate::report::search::write;
use crate::terminal;
use crate::typed::typed;
use primer_search::evolve::Windows;
use primer_search::motifs::{self, Motif};
use primer_search::store::{Candidate, Cost, State, Store};
use primer_search::study::{Budget, StudySpec};
use serde_json::json;

/// The best programs that the page lists.
const TOP: u32 = 20;
/// Mutations of the seed from which the odds are counted.
const DRAWS: u64 = 20_000;

/// Reads the study and writes the report.
///
/// # Errors
/// A store that can't be read, a folder that can't be written.
pub fn run(args: &SearchReport) -> Outcome {
    let store = open(&args.store.store)?;
    let out = folder::prepare(args.out.as_deref(), "search-report", Existing::of(false, args.force))?;
    let page = write(&study(&store)?, &out).map_err(|e| folder::no_report(&out, &e))?;
    if args.json {
        return terminal::json(&json!({ "out": out, "report": page, "study": store.spec_sha256() }));
    }
    terminal::line(&format!("report: {}", page.display()))
}

fn study(store: &Store) -> Outcome<Study> {
    let (spec, status) = (store.spec(), store.status()?);
    let spent = |kind: &str, cost: Cost| Spent {
        kind: kind.into(),
        tokens: cost.tokens,
        flops: cost.flops,
        predicted_seconds: cost.predicted_seconds,
        training_seconds: cost.training_seconds,
        seconds: cost.seconds,
    };
    let (model, roofline) = (spec.model, &spec.roofline);
    let predicted = spec.fitness.budget == Budget::Cost;
    let mut settings = vec![
        ("store", store.location().to_string()),
        (
            "model",
            format!(
                "{} layers, {} heads, unit {}, {} tokens a sequence, {} sequences a batch, vocabulary {}",
                model.layers, model.heads, model.unit, model.seq, model.batch, model.vocab
            ),
        ),
        (
            "training",
            format!(
                "{}, learning rate {}, {} after {} steps of warm-up",
                spec.training.optimizer.name(),
                spec.learning_rate,
                spec.training.decay.name(),
                spec.training.warmup
            ),
        ),
        ("tokens", tokens(spec)),
        ("budget", summary::budget(spec.fitness.budget).into()),
        ("t, the first mark", first_mark(spec)),
        ("window of a bar", format!("{} losses", spec.fitness.window)),
        ("runs of the seed program", spec.fitness.seed_runs.to_string()),
        ("seed of the study", spec.seed.to_string()),
        ("random draws", format!("version {}", spec.rng_version)),
        ("primer", env!("CARGO_PKG_VERSION").into()),
    ];
    if predicted {
        let figures = format!(
            "{:.1} GFLOP/s, {:.1} GB/s, {:.2} µs a launch",
            roofline.flops_per_second / 1e9,
            roofline.bytes_per_second / 1e9,
            roofline.seconds_per_launch * 1e6
        );
        settings.push(("roofline", figures));
    }
    Ok(Study {
        command: typed(),
        study_sha256: store.spec_sha256().to_owned(),
        corpus_sha256: spec.corpus.clone(),
        settings: settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        search: summary::of(store)?,
        hurdles: hurdles(store)?,
        spent: vec![spent("useful", status.useful), spent("wasted", status.wasted)],
        predicted,
        top: top(store)?,
        odds: odds(store)?,
    })
}

fn hurdles(store: &Store) -> Outcome<Vec<Hurdle>> {
    let fitness = store.spec().fitness;
    let marks = store.all_marks()?;
    let log = store.log()?;
    let mut windows = Windows::default();
    marks.iter().for_each(|(place, mark)| windows.add(*place, mark));
    let bars = windows.bars(&fitness, u64::MAX);
    let hurdle = |(mark, units): (u32, u64)| {
        let measured = |least: u32| {
            let finished = log.finished.iter().skip(1);
            finished.filter(|f| f.state == State::Done && f.passed >= least).count() as u64
        };
        Hurdle {
            units,
            // A candidate that passed all before it was measured here, unless it diverged on the way.
            reached: marks.iter().filter(|(place, m)| *place > 0 && m.mark == mark).count() as u64,
            passed: if mark == fitness.hurdles { 0 } else { measured(mark + 1) },
            // At the end there is none.
            bar: bars.get(mark as usize).copied().flatten(),
        }
    };
    Ok((0..).zip(fitness.marks()).map(hurdle).collect())
}

fn top(store: &Store) -> Outcome<Vec<Top>> {
    let seed = store.candidate(0)?;
    let a_step = |cost: &Cost| (cost.steps > 0).then(|| cost.predicted_seconds / cost.steps as f64);
    let seed_cost = seed.map(|seed| seed.cost).unwrap_or_default();
    let row = |candidate: &Candidate| -> Outcome<Top> {
        let predicted_step = a_step(&candidate.cost).zip(a_step(&seed_cost)).map(|(own, seeds)| own / seeds);
        Ok(Top {
            id: candidate.child_no,
            loss: candidate.fitness.unwrap_or(f64::NAN),
            passed: candidate.passed,
            predicted_step: predicted_step.unwrap_or(f64::NAN),
            measured_over_predicted: candidate.cost.measured_over_predicted(&seed_cost),
            mutation: describe::origin(candidate)?,
        })
    };
    store.top(TOP)?.iter().map(row).collect()
}

fn odds(store: &Store) -> Outcome<Vec<Odds>> {
    let rates = motifs::rates(&store.spec().seed_dna.parse()?, DRAWS)?;
    let mut odds: Vec<(Motif, Odds)> = rates
        .into_iter()
        .map(|(motif, count)| {
            let what = motif.name().to_owned();
            (motif, Odds { what, count, draws: DRAWS, found: 0, first: None, best: None })
        })
        .collect();
    let mut next = 0;
    loop {
        let page = store.candidates(next)?;
        let Some(last) = page.last() else { break };
        next = last.child_no + 1;
        for candidate in page.iter().filter(|candidate| candidate.state == State::Done) {
            let has = motifs::motifs(&candidate.dna()?);
            for (_, odds) in odds.iter_mut().filter(|(motif, _)| has.contains(motif)) {
                odds.found += 1;
                odds.first.get_or_insert(candidate.child_no);
                if let Some(loss) = candidate.fitness
                    && odds.best.is_none_or(|(_, best)| loss < best)
                {
                    odds.best = Some((candidate.child_no, loss));
                }
            }
        }
    }
    Ok(odds.into_iter().map(|(_, odds)| odds).collect())
}

fn tokens(spec: &StudySpec) -> String {
    match &spec.tokenizer_sha256 {
        Some(sha256) => format!("{} (sha256 {sha256:.12})", spec.tokenizer),
        None => spec.tokenizer.to_string(),
    }
}

fn first_mark(spec: &StudySpec) -> String {
    match spec.fitness.budget {
        Budget::Seconds => format!("{:.1} seconds", spec.fitness.unit),
        _ => format!("{} steps of the seed program", spec.fitness.unit),
    }
}
