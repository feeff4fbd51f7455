//! The short search.

use super::Schedule;
use super::duel::Trained;
use crate::cmd::search::work::Live;
use crate::cmd::search::{options, summary};
use crate::failure::Outcome;
use crate::report::data::Search;
use crate::stop::Stop;
use primer_models::text::Corpus;
use primer_search::evaluate::Evaluator;
use primer_search::store::Store;
use primer_search::study::{Fitness, Preset, StudyLimits, StudySpec};
use primer_search::worker::{self, RunOptions};
use primer_tensor::Device;
use std::path::Path;
use std::time::Instant;

/// Candidates that the search should have time for.
const WANTED: f64 = 60.0;

/// Searches from the Transformer program until the schedule says so; `None` if no time is left.
///
/// # Errors
/// A store that can't be written, a device that fails.
pub fn run(
    out: &Path,
    corpus: &Corpus,
    device: &Device,
    seed: u64,
    trained: &[Trained],
    schedule: Schedule,
    stop: &Stop,
) -> Outcome<Option<Search>> {
    let time = schedule.search.saturating_duration_since(Instant::now());
    if time.is_zero() {
        return Ok(None);
    }
    let a_step =
        trained.first().filter(|arm| arm.data.steps > 0).map_or(0.02, |arm| arm.data.seconds / arm.data.steps as f64);
    let steps = (time.as_secs_f64() / WANTED / a_step).clamp(10.0, 310.0) as u64;
    let base = StudySpec::preset(Preset::Small, String::new(), corpus.sha256(), seed);
    let base = options::seeded(base, Preset::Small, None)?;
    let spec = StudySpec {
        population: 16,
        tournament: 4,
        limits: StudyLimits::default(),
        fitness: Fitness::steps(steps),
        ..base
    };
    let path = out.join("search.db");
    if path.exists() {
        // --force was given: this run's study replaces the one that was there.
        for part in ["search.db", "search.db-wal", "search.db-shm"] {
            let _ = std::fs::remove_file(out.join(part));
        }
    }
    let store = Store::create(&path.as_path().into(), &spec)?;
    let live = Live::new(&store, Some(time), None)?;
    let evaluator = Evaluator::new(&spec, corpus, device)?;
    // The seed program and a first child in any case: without them there is nothing to compare.
    let first = RunOptions { children: Some(1), ..RunOptions::default() };
    let rest = |time| RunOptions { time: Some(time), ..RunOptions::default() };
    let work = |options: &RunOptions| {
        worker::run(
            &store,
            options,
            &stop.flag(),
            |candidate, report| evaluator.evaluate(candidate, report),
            |event| live.show(event),
        )
    };
    work(&first)?;
    let left = schedule.search.saturating_duration_since(Instant::now());
    if !left.is_zero() && !stop.asked() {
        work(&rest(left))?;
    }
    let search = summary::of(&store)?;
    let best = search.best.as_ref().map_or("none".into(), |b| format!("{:.4} (candidate {})", b.loss, b.id));
    live.finish(&format!("{} programs, best loss {best}", search.candidates.len()));
    Ok(Some(search))
}
