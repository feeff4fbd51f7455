//! Whole training steps, timed.

use super::profile::{self, Row};
use super::{median, step_without_text};
use crate::architecture::Architecture;
use crate::failure::Outcome;
use primer_models::train::step_program;
use primer_models::{Arch, Precision, RunConfig, Size};
use primer_tensor::Device;
use serde::Serialize;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Blocks of steps; the median counts.
const BLOCKS: usize = 5;

/// Length of a block, at least one step.
const BLOCK: Duration = Duration::from_millis(500);

/// The sizes timed unless one is asked for: that of a search, and the reference.
pub const SIZES: [Size; 2] = [Size::Nano, Size::Mini];

/// The architectures timed unless one is asked for: the baseline, and the simplest of the paper's.
pub const ARCHES: [Architecture; 2] = [Architecture::Written(Arch::Vanilla), Architecture::Written(Arch::PrimerEz)];

/// A training step.
#[derive(Debug, Serialize)]
pub struct Step {
    arch: String,
    size: String,
    precision: Precision,
    parameters: usize,
    /// Of one step.
    ms: f64,
    tokens_per_second: f64,
    /// In matrix products alone.
    matmul_gflops: f64,
    all_gflops: f64,
    share_of_roof: Option<f64>,
    launches: usize,
    /// What it holds at once by its plan.
    peak_bytes: u64,
    /// From the configuration to a step that could run.
    planning_ms: f64,
    /// From the configuration to the first loss.
    first_step_ms: f64,
    /// What each kernel takes, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<Row>>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step of {:<15} {:>8.2} ms  {:>7.0} tokens/s  {:>6.1} GFLOP/s in products ({:.0}% of the roof)  {} launches  planned in {:.0} ms, first step after {:.1} s",
            match self.precision {
                Precision::F32 => format!("{} {}", self.arch, self.size),
                Precision::F16 => format!("{} {} f16", self.arch, self.size),
            },
            self.ms,
            self.tokens_per_second,
            self.matmul_gflops,
            100.0 * self.share_of_roof.unwrap_or(f64::NAN),
            self.launches,
            self.planning_ms,
            self.first_step_ms / 1e3,
        )
    }
}

/// What is trained: `size` with its 256 byte tokens, `mini` with a vocabulary of 1,024, so that the embedding and the
/// loss weigh as they do in a real model.
pub fn config(arch: &Architecture, size: Size) -> Outcome<RunConfig> {
    arch.run(size, (size == Size::Mini).then_some(1024))
}

/// The same in words.
///
/// # Errors
/// None for a hand-written architecture.
pub fn describe(size: Size) -> Outcome<String> {
    let config = config(&ARCHES[0], size)?;
    let m = &config.model;
    Ok(format!(
        "{size}: d {}, {} layers, {} heads, ff {}, sequence {}, batch {}, vocabulary {}.",
        m.d_model, m.layers, m.heads, m.d_ff, m.seq, config.train.batch, m.vocab
    ))
}

/// Times forward, loss, gradient, clipping and AdamW of `arch` at `size`: what the plan says of the step, the
/// milliseconds until the step was planned and until the first loss was read, and the median of [`BLOCKS`] blocks;
/// with `profile` also what each kernel takes.
///
/// # Errors
/// A configuration that can't be built on the device, or a device that fails.
pub fn training_step(
    device: &Device,
    arch: &Architecture,
    size: Size,
    precision: Precision,
    roof: Option<f64>,
    profile: bool,
) -> Outcome<Step> {
    let mut config = config(arch, size)?;
    config.train.precision = precision;
    let start = Instant::now();
    precision.on(device)?.compile(&step_program(&config)?)?;
    let planning = start.elapsed().as_secs_f64();
    let mut trainer = step_without_text(&config, device)?;
    let stop = AtomicBool::new(false);
    trainer.run_slice(Duration::ZERO, &stop, &mut |_| {})?;
    let first_step = start.elapsed().as_secs_f64();

    trainer.run_slice(BLOCK, &stop, &mut |_| {})?;
    let mut times = Vec::with_capacity(BLOCKS);
    for _ in 0..BLOCKS {
        let slice = trainer.run_slice(BLOCK, &stop, &mut |_| {})?;
        times.push(slice.seconds / slice.steps as f64);
    }
    let time = median(&mut times);
    let profile = profile.then(|| profile::of(&mut trainer)).transpose()?;
    let report = trainer.step_executable().report().copied().unwrap_or_default();
    let products = report.matmul_flops as f64 / time / 1e9;
    Ok(Step {
        arch: config.model.label(),
        size: size.name(),
        precision,
        parameters: trainer.model().parameters(),
        ms: time * 1e3,
        tokens_per_second: trainer.tokens_per_step() as f64 / time,
        matmul_gflops: products,
        all_gflops: report.flops as f64 / time / 1e9,
        share_of_roof: roof.map(|roof| products / roof),
        launches: report.launches,
        peak_bytes: report.peak_bytes(),
        planning_ms: planning * 1e3,
        first_step_ms: first_step * 1e3,
        profile,
    })
}

/// The most memory in bytes that this process has ever held in RAM, where the system tells it in a file.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
