//! `primer bench`

mod profile;
mod programs;
mod steps;
mod tune;

use crate::args::Bench;
use crate::cmd::device::{self, matmul_roof};
use crate::failure::{Failure, Outcome};
use crate::terminal;
use primer_models::RunConfig;
use primer_models::text::Corpus;
use primer_models::train::Trainer;
use primer_tensor::{Device, Program, State, Tensor};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
    terminal::note("measuring the matrix-product roof ...");
    let roof = matmul_roof(device)?;
    // An architecture or a size asks for steps alone, so that the process has held no other memory.
    let steps_alone = args.arch.is_some() || args.size.is_some();
    let (mut kernels, mut twin_steps, mut first_steps) = (Vec::new(), Vec::new(), Vec::new());
    if !steps_alone {
        for (name, outputs, leaves) in kernel_cases() {
            terminal::note(&format!("timing {name} ..."));
            kernels.push(kernel(device, name, &outputs, &leaves)?);
        }
    }
    let sizes = args.size.map_or(steps::SIZES.to_vec(), |size| vec![size]);
    let arches = args.arch.clone().map_or(steps::ARCHES.to_vec(), |arch| vec![arch]);
    let mut timed = Vec::new();
    for &size in &sizes {
        for arch in &arches {
            terminal::note(&format!("timing the training step of {arch} {size} ..."));
            timed.push(steps::training_step(device, arch, size, roof, args.profile)?);
        }
    }
    if !steps_alone {
        terminal::note("timing a step of the Transformer program and of its hand-written twin ...");
        twin_steps = programs::twins(device)?;
        terminal::note("timing the way from a program to its first step ...");
        first_steps = programs::first_steps(device)?;
    }
    let resident = steps::peak_resident_bytes();
    if args.json {
        return terminal::json(&json!({
            "device": device.to_string(),
            "signature": device.signature(),
            "matmul_roof_gflops": roof,
            "kernels": kernels,
            "steps": timed.iter().map(|(step, _)| step).collect::<Vec<_>>(),
            "twins": twin_steps,
            "first_steps": first_steps,
            "peak_resident_bytes": resident,
        }));
    }
    terminal::line(&device.to_string())?;
    terminal::line(&format!("matrix-product roof   {:>8.1} GFLOP/s", roof.unwrap_or(f64::NAN)))?;
    for k in &kernels {
        terminal::line(&format!(
            "{:<30} {:>9.3} ms  {:>7.1} GFLOP/s  {:>6.1} GB/s  {} launches",
            k["name"].as_str().unwrap_or_default(),
            number(k, "ms"),
            number(k, "gflops"),
            number(k, "gbytes"),
            k["launches"]
        ))?;
    }
    for (s, kernels) in &timed {
        terminal::line(&format!(
            "step of {:<15} {:>8.2} ms  {:>7.0} tokens/s  {:>6.1} GFLOP/s in products ({:.0}% of the roof)  {} launches  planned in {:.0} ms, first step after {:.1} s",
            format!("{} {}", s["arch"].as_str().unwrap_or_default(), s["size"].as_str().unwrap_or_default()),
            number(s, "ms"),
            number(s, "tokens_per_second"),
            number(s, "matmul_gflops"),
            100.0 * number(s, "share_of_roof"),
            s["launches"],
            number(s, "planning_ms"),
            number(s, "first_step_ms") / 1e3,
        ))?;
        for line in profile::lines(kernels) {
            terminal::line(&line)?;
        }
    }
    for t in &twin_steps {
        terminal::line(&format!(
            "twin {:<18} {:>8.2} ms  {:>7.0} tokens/s  {} launches",
            t["name"].as_str().unwrap_or_default(),
            number(t, "ms"),
            number(t, "tokens_per_second"),
            t["launches"],
        ))?;
    }
    for f in &first_steps {
        terminal::line(&format!(
            "first step of dna:{:<22} {:>6.1} ms: leak test {:.1}, plan and starting values {:.1}, the step {:.1}",
            f["name"].as_str().unwrap_or_default(),
            number(f, "ms"),
            number(f, "leak_test_ms"),
            number(f, "prepare_ms"),
            number(f, "step_ms"),
        ))?;
    }
    if let Some(bytes) = resident {
        terminal::line(&format!("peak resident memory  {:>8.1} MiB", bytes as f64 / f64::from(1 << 20)))?;
    }
    for &size in &sizes {
        terminal::line(&steps::describe(size)?)?;
    }
    if !twin_steps.is_empty() {
        terminal::line("The twins: vanilla nano, both with the program's conventions.")?;
    }
    terminal::line(
        "Planned: traced, differentiated, passed through the planner and compiled, before any weight exists.",
    )
}

/// The middle of an odd number of times.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(f64::NAN)
}

type Case = (&'static str, Vec<Tensor>, Vec<(&'static str, Vec<usize>)>);

/// One program a kernel family, at the sizes of the reference step.
fn kernel_cases() -> Vec<Case> {
    let x = || Tensor::state("x", [2048, 256]);
    let product = x().matmul(&Tensor::state("w", [256, 1024]));
    let scores = Tensor::state("scores", [16384, 128]);
    let mean = x().mean_axis(1);
    let centred = x() - mean;
    let norm = &centred / (centred.square().mean_axis(1) + 1e-6).sqrt();
    let conv = Tensor::state("h", [16, 128, 256]).depthwise_conv(&Tensor::state("taps", [3, 256]));
    let table = || vec![("x", vec![2048, 256])];
    vec![
        ("product 2048x256x1024", vec![product], [table(), vec![("w", vec![256, 1024])]].concat()),
        ("softmax of 16384 rows of 128", vec![scores.softmax()], vec![("scores", vec![16384, 128])]),
        ("layer norm of 2048 rows of 256", vec![norm], table()),
        ("squared ReLU of 524288", vec![x().relu().square()], table()),
        ("depthwise conv 16x128x256", vec![conv], vec![("h", vec![16, 128, 256]), ("taps", vec![3, 256])]),
    ]
}

fn kernel(device: &Device, name: &str, outputs: &[Tensor], leaves: &[(&str, Vec<usize>)]) -> Outcome<Value> {
    let mut state = State::new(device);
    for (leaf, shape) in leaves {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| ((i * 7919) % 1000) as f32 * 1e-3 - 0.5).collect();
        state.insert(leaf, shape.as_slice(), &values)?;
    }
    // A sum is read back, so that the time is the kernel's and not the copy's.
    let sums: Vec<Tensor> = outputs.iter().map(Tensor::sum).collect();
    let mut executable = device.compile(&Program::trace(&sums, &[])?)?;
    let mut once = || -> Outcome<f64> {
        let start = Instant::now();
        executable.run(&mut state, &[])?;
        executable.output(0)?;
        Ok(start.elapsed().as_secs_f64())
    };
    once()?;
    let begin = Instant::now();
    let mut best = once()?;
    while begin.elapsed() < Duration::from_millis(400) {
        best = best.min(once()?);
    }
    let report = executable.report().copied().unwrap_or_default();
    Ok(json!({
        "name": name,
        "ms": best * 1e3,
        "gflops": report.flops as f64 / best / 1e9,
        "gbytes": report.bytes as f64 / best / 1e9,
        "launches": report.launches,
    }))
}
