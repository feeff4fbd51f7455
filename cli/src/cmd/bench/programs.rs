//! Programs of the search, timed.

use super::{bench_text, median};
use crate::cmd::search::options;
use crate::failure::Outcome;
use primer_models::text::Corpus;
use primer_models::{Arch, RunConfig, Size, Trainer};
use primer_search::dna::{Dna, seeds};
use primer_search::evaluate::Evaluator;
use primer_search::leak::leak_test;
use primer_search::study::{Preset, StudySpec};
use primer_tensor::Device;
use serde::Serialize;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Turns of 0.2 seconds in which a program and its twin are timed.
const TURNS: usize = 7;
/// Times that each way to a first step is gone; the median counts.
const WAYS: usize = 9;

/// The way from a program's text to the loss of its first step.
#[derive(Debug, Serialize)]
pub struct FirstStep {
    name: &'static str,
    leak_test_ms: f64,
    /// The plan, its compilation and the starting values.
    prepare_ms: f64,
    step_ms: f64,
    /// All of it.
    ms: f64,
}

impl fmt::Display for FirstStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FirstStep { name, leak_test_ms, prepare_ms, step_ms, ms } = self;
        write!(
            f,
            "first step of dna:{name:<22} {ms:>6.1} ms: leak test {leak_test_ms:.1}, plan and starting values {prepare_ms:.1}, the step {step_ms:.1}"
        )
    }
}

/// A step of the Transformer, as a program or written by hand.
#[derive(Debug, Serialize)]
pub struct Twin {
    name: &'static str,
    ms: f64,
    tokens_per_second: f64,
    launches: usize,
}

impl fmt::Display for Twin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Twin { name, ms, tokens_per_second, launches } = self;
        write!(f, "twin {name:<18} {ms:>8.2} ms  {tokens_per_second:>7.0} tokens/s  {launches} launches")
    }
}

/// A small search that starts from the program of that name.
fn study(corpus: &Corpus, name: &str) -> Outcome<StudySpec> {
    let spec = StudySpec::preset(Preset::Small, String::new(), corpus.sha256(), 0);
    options::seeded(spec, Preset::Small, Some(name))
}

/// The time from a program's text until its first step is done and its loss read, as a small search's worker goes: the
/// leak test, then the plan, its compilation and the starting values, then the step. Milliseconds, medians.
///
/// # Errors
/// A device that fails.
pub fn first_steps(device: &Device) -> Outcome<Vec<FirstStep>> {
    let corpus = bench_text(RunConfig::new(Arch::Vanilla, Size::Nano).model.seq)?;
    let mut all = Vec::new();
    for (name, _) in seeds::PROGRAMS {
        let spec = study(&corpus, name)?;
        let evaluator = Evaluator::new(&spec, &corpus, device)?;
        let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..WAYS {
            let start = Instant::now();
            let dna: Dna = spec.seed_dna.parse()?;
            leak_test(&dna, spec.model.unit.into(), &Device::cpu_with_threads(1))?;
            let tested = start.elapsed();
            let mut program = evaluator.prepare(&dna)?;
            let prepared = start.elapsed();
            // The first step reads its loss.
            program.step()?;
            let done = start.elapsed();
            for (times, time) in times.iter_mut().zip([tested, prepared - tested, done - prepared, done]) {
                times.push(1e3 * time.as_secs_f64());
            }
        }
        let [leak_test_ms, prepare_ms, step_ms, ms] = times.each_mut().map(|times| median(times));
        all.push(FirstStep { name, leak_test_ms, prepare_ms, step_ms, ms });
    }
    Ok(all)
}

/// Steps of the Transformer as a program and as the hand-written model with the same conventions, at the small search's
/// size: the medians of many turns.
///
/// # Errors
/// A device that fails.
pub fn twins(device: &Device) -> Outcome<Vec<Twin>> {
    let mut config = RunConfig::new(Arch::Vanilla, Size::Nano);
    config.model = config.model.with_dna_conventions();
    let corpus = bench_text(config.model.seq)?;
    let mut by_hand = Trainer::new(&config, &corpus, device)?;
    let spec = study(&corpus, "transformer")?;
    let evaluator = Evaluator::new(&spec, &corpus, device)?;
    let mut program = evaluator.prepare(&spec.seed_dna.parse()?)?;

    let stop = AtomicBool::new(false);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        let slice = by_hand.run_slice(Duration::from_millis(200), &stop, &mut |_| {})?;
        times[0].push(slice.seconds / slice.steps as f64);
        // Ten steps, of which one reads the loss: the device is waited for.
        let (start, mut steps) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_millis(200) {
            for _ in 0..10 {
                program.step()?;
            }
            steps += 10;
        }
        times[1].push(start.elapsed().as_secs_f64() / f64::from(steps));
    }
    let reports = [by_hand.step_executable().report().copied(), program.executable().report().copied()];
    let tokens = by_hand.tokens_per_step() as f64;
    let rows = ["vanilla", "dna:transformer"].into_iter().zip(times).zip(reports);
    Ok(rows
        .map(|((name, mut times), report)| {
            let time = median(&mut times);
            let launches = report.unwrap_or_default().launches;
            Twin { name, ms: time * 1e3, tokens_per_second: tokens / time, launches }
        })
        .collect())
}
