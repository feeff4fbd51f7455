//! The short search.

use super::Schedule;
use crate::cmd::search::work::{Live, in_threads};
use crate::cmd::search::{options, summary};
use crate::failure::Outcome;
use crate::folder;
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

/// The study's file in the folder of the quickstart.
pub const STORE: &str = "search.db";

/// Candidates that the search should have time for.
const WANTED: f64 = 60.0;

/// Searches from the Transformer program until the schedule says so, with a worker for each of a CPU's threads; `None`
/// if no time is left.
///
/// # Errors
/// A store that can't be written, a device that fails.
pub fn run(
    out: &Path,
    corpus: &Corpus,
    device: &Device,
    seed: u64,
    schedule: Schedule,
    stop: &Stop,
) -> Outcome<Option<Search>> {
    let time = schedule.search.saturating_duration_since(Instant::now());
    if time.is_zero() {
        return Ok(None);
    }
    let base = StudySpec::preset(Preset::Small, String::new(), corpus.sha256(), seed);
    let base = options::seeded(base, Preset::Small, None)?;
    // A candidate is too small to be worth more than one thread. Workers that share a device would wait for each other.
    let workers = if let Device::Cpu(cpu) = device { cpu.threads() } else { 1 };
    let of_a_worker = || if workers > 1 { Device::cpu_with_threads(1) } else { device.clone() };
    let a_step = step_seconds(&Evaluator::new(&base, corpus, &of_a_worker())?, &base)?;
    let steps = (time.as_secs_f64() * workers as f64 / WANTED / a_step).clamp(10.0, 310.0) as u64;
    let spec = StudySpec {
        population: 16,
        tournament: 4,
        limits: StudyLimits::default(),
        fitness: Fitness::steps(steps),
        ..base
    };
    // With --force this run's study replaces the one that was there.
    folder::remove_files(out, &[STORE, "search.db-wal", "search.db-shm"])?;
    let path = out.join(STORE);
    let store = Store::create(&path.as_path().into(), &spec)?;
    let live = Live::new(&store, Some(time), None)?;
    let work = |options: &RunOptions| -> Outcome {
        let evaluator = Evaluator::new(&spec, corpus, &of_a_worker())?;
        worker::run(
            &store,
            options,
            &stop.flag(),
            |candidate, report| evaluator.evaluate(candidate, report),
            |event| live.show(event),
        )?;
        Ok(())
    };
    // The seed program and a first child in any case: without them there is nothing to compare.
    work(&RunOptions { children: Some(1), ..RunOptions::default() })?;
    let left = schedule.search.saturating_duration_since(Instant::now());
    if !left.is_zero() && !stop.asked() {
        let rest = RunOptions { time: Some(left), ..RunOptions::default() };
        in_threads(workers, |_| work(&rest)).into_iter().collect::<Outcome<()>>()?;
    }
    let search = summary::of(&store)?;
    let best = search.best.as_ref().map_or("none".into(), |b| format!("{:.4} (candidate {})", b.loss, b.id));
    live.finish(&format!("{} programs, best loss {best}", search.candidates.len()));
    Ok(Some(search))
}

/// What a step of the study's seed program takes.
fn step_seconds(evaluator: &Evaluator, spec: &StudySpec) -> Outcome<f64> {
    let mut seed = evaluator.prepare(&spec.seed_dna.parse()?)?;
    seed.step()?;
    let began = Instant::now();
    // The tenth waits for the device.
    for _ in 0..10 {
        seed.step()?;
    }
    Ok(began.elapsed().as_secs_f64() / 10.0)
}
