//! `primer bench`

mod kernels;
mod profile;
mod programs;
mod steps;
mod tune;

use crate::args::Bench;
use crate::cmd::device::{self, matmul_roof};
use crate::failure::{Failure, Outcome};
use crate::terminal;
use kernels::Kernel;
use primer_models::RunConfig;
use primer_models::text::Corpus;
use primer_models::train::Trainer;
use primer_tensor::{Device, Program, State};
use programs::{FirstStep, Twin};
use serde::Serialize;
use steps::Step;

/// A trainer on a text that only serves to have one; its numbers mean nothing, its cost does.
///
/// # Errors
/// A configuration that can't be built on the device.
pub fn step_without_text(config: &RunConfig, device: &Device) -> Outcome<Trainer> {
    Ok(Trainer::new(config, &bench_text(config.model.seq)?, device)?)
}

/// A text of some dozens of sequences.
fn bench_text(seq: usize) -> Outcome<Corpus> {
    let line = "let sum: u64 = values.iter().map(|v| v * v).sum();\n";
    let text = line.repeat(20 * (seq + 1) / line.len() + 40);
    Ok(Corpus::from_text("bench", text.as_bytes())?)
}

/// Times kernels and whole training steps.
///
/// # Errors
/// A device that isn't there or fails.
pub fn run(args: &Bench) -> Outcome {
    let chosen = device::open(&args.compute)?;
    let device = &chosen.device;
    terminal::note(&format!("device: {device} ({})", chosen.why));
    if args.tune {
        return tune::run(args, &chosen);
    }
    if args.profile && !matches!(device, Device::Cpu(_)) {
        return Err(Failure::usage(format!("{device} has no clock for single kernels"))
            .hint("`primer bench --profile --device cpu` times those of the CPU."));
    }
    // Before anything is measured for what can't be had.
    let steps_on = args.precision.on(device)?;
    let report = measure(args, device, steps_on.signature())?;
    if args.json { terminal::json(&report) } else { report.print() }
}

/// All that was measured on a device.
#[derive(Debug, Serialize)]
struct Report {
    device: String,
    signature: String,
    matmul_roof_gflops: Option<f64>,
    kernels: Vec<Kernel>,
    steps: Vec<Step>,
    twins: Vec<Twin>,
    first_steps: Vec<FirstStep>,
    peak_resident_bytes: Option<u64>,
    /// What was trained, in words.
    #[serde(skip)]
    sizes: Vec<String>,
}

fn measure(args: &Bench, device: &Device, signature: String) -> Outcome<Report> {
    terminal::note("measuring the matrix-product roof ...");
    let roof = matmul_roof(device)?;
    // An architecture or a size asks for steps alone, so that the process has held no other memory.
    let steps_alone = args.arch.is_some() || args.size.is_some();
    let (mut kernels, mut twins, mut first_steps) = (Vec::new(), Vec::new(), Vec::new());
    if !steps_alone {
        for case in kernels::cases() {
            terminal::note(&format!("timing {} ...", case.name));
            kernels.push(kernels::time(device, &case)?);
        }
    }
    let sizes = args.size.map_or(steps::SIZES.to_vec(), |size| vec![size]);
    let arches = args.arch.clone().map_or(steps::ARCHES.to_vec(), |arch| vec![arch]);
    let mut timed = Vec::new();
    for &size in &sizes {
        for arch in &arches {
            terminal::note(&format!("timing the training step of {arch} {size} ..."));
            timed.push(steps::training_step(device, arch, size, args.precision, roof, args.profile)?);
        }
    }
    if !steps_alone {
        terminal::note("timing a step of the Transformer program and of its hand-written twin ...");
        twins = programs::twins(device)?;
        terminal::note("timing the way from a program to its first step ...");
        first_steps = programs::first_steps(device)?;
    }
    Ok(Report {
        device: device.to_string(),
        signature,
        matmul_roof_gflops: roof,
        kernels,
        steps: timed,
        twins,
        first_steps,
        peak_resident_bytes: steps::peak_resident_bytes(),
        sizes: sizes.into_iter().map(steps::describe).collect::<Outcome<_>>()?,
    })
}

impl Report {
    fn print(&self) -> Outcome {
        terminal::line(&self.device)?;
        terminal::line(&format!("matrix-product roof   {:>8.1} GFLOP/s", self.matmul_roof_gflops.unwrap_or(f64::NAN)))?;
        for kernel in &self.kernels {
            terminal::line(&kernel.to_string())?;
        }
        for step in &self.steps {
            terminal::line(&step.to_string())?;
            for line in profile::lines(step.profile.as_deref().unwrap_or_default()) {
                terminal::line(&line)?;
            }
        }
        for twin in &self.twins {
            terminal::line(&twin.to_string())?;
        }
        for first_step in &self.first_steps {
            terminal::line(&first_step.to_string())?;
        }
        if let Some(bytes) = self.peak_resident_bytes {
            terminal::line(&format!("peak resident memory  {:>8.1} MiB", bytes as f64 / f64::from(1 << 20)))?;
        }
        for size in &self.sizes {
            terminal::line(size)?;
        }
        if !self.twins.is_empty() {
            terminal::line("The twins: vanilla nano, both with the program's conventions.")?;
        }
        terminal::line(
            "Planned: traced, differentiated, passed through the planner and compiled, before any weight exists.",
        )
    }
}

/// What a program reads, with some numbers in it.
fn filled_state(device: &Device, program: &Program) -> primer_tensor::Result<State> {
    let mut state = State::new(device);
    for (name, shape) in program.state() {
        let values: Vec<f32> = (0..shape.numel()).map(|i| ((i * 7919) % 1000) as f32 * 1e-3 - 0.5).collect();
        state.insert(name, shape.clone(), &values)?;
    }
    Ok(state)
}

/// The middle of an odd number of times.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
