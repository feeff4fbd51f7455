//! `primer bench --tune`: which kernels are fastest on an adapter.

use super::{filled_state, median};
use crate::args::Bench;
use crate::cmd::device::Chosen;
use crate::failure::{Failure, Outcome};
use crate::{terminal, tuned};
use primer_tensor::gpu::{GpuDevice, MatMulVariant, RowVariant, Variants};
use primer_tensor::{Device, Error, Executable, Program, State, Tensor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Turns in which each variant is timed once; the median counts.
const TURNS: usize = 5;

/// Seconds that a variant computes in its turn, at least one run.
const TURN: f64 = 0.03;

/// Another variant is taken only if its time is at most this share of the built-in one's: less is noise.
const WORTH: f64 = 0.97;

/// A program that is timed.
struct Case {
    name: String,
    results: Vec<Tensor>,
}

/// What was measured, and what came of it.
#[derive(Debug, Serialize)]
struct Report {
    device: String,
    built_in: String,
    best: String,
    measured: Vec<Part>,
    file: PathBuf,
}

/// Choices of one kind.
#[derive(Debug, Serialize)]
struct Part {
    of: &'static str,
    choices: Vec<Choice>,
}

#[derive(Debug, Serialize)]
struct Choice {
    choice: String,
    /// Of each case; infinite where the driver refuses it.
    ms: BTreeMap<String, f64>,
    /// Beside the first choice, over all cases.
    relative: f64,
    taken: bool,
}

/// Times the variants of the adapter's kernels, prints what they take, and stores the best for later commands.
///
/// # Errors
/// A device without variants, one that fails, a file that can't be written.
pub fn run(args: &Bench, chosen: &Chosen) -> Outcome {
    let Device::Gpu(gpu) = &chosen.device else {
        return Err(Failure::usage(format!("{} has no kernels to choose among", chosen.device))
            .hint("Name an adapter: `--device gpu:0`, or `--device software`."));
    };
    let gpu = gpu.clone().with_variants(Variants::of_kind(gpu.info().kind));
    let built_in = gpu.variants();
    let rows = if gpu.info().is_software() { 256 } else { 4096 };
    let (products, row_programs) = (products(rows), row_programs(rows));

    let mut best = built_in;
    let mut measured = Vec::new();
    let mut tune = |name: &'static str, choices: Vec<(String, Variants)>, cases: &[&Case], best: &mut Variants| {
        terminal::note(&format!("timing {} variants of {name} ...", choices.len()));
        let table = time(&gpu, &choices, cases)?;
        let taken = fastest(&table);
        *best = choices[taken].1;
        measured.push(part(name, &choices, &table, cases, taken));
        Outcome::Ok(())
    };

    let all: Vec<&Case> = products.iter().chain(&row_programs).collect();
    let choices = MatMulVariant::ALL.map(|matmul| (matmul.name().to_owned(), Variants { matmul, ..best }));
    tune("matmul", able(&gpu, best, choices), &all[..products.len()], &mut best)?;
    let choices = RowVariant::ALL.map(|rows| (rows.name().to_owned(), Variants { rows, ..best }));
    tune("rows", able(&gpu, best, choices), &all[products.len()..], &mut best)?;
    let counts = [built_in.invocations, built_in.invocations / 4, built_in.invocations * 4];
    let choices = counts.map(|invocations| (invocations.to_string(), Variants { invocations, ..best }));
    tune("invocations", able(&gpu, best, choices), &all, &mut best)?;

    let file = tuned::store(&gpu, best)?;
    if args.json {
        let (device, built_in, best) = (gpu.to_string(), built_in.to_string(), best.to_string());
        return terminal::json(&Report { device, built_in, best, measured, file });
    }
    terminal::line(&gpu.to_string())?;
    for part in &measured {
        print(part)?;
    }
    terminal::line(&format!("built in: {built_in}"))?;
    terminal::line(&format!("best:     {best}, stored in {}", file.display()))
}

/// The choices that the adapter can run as they are, the present one first.
fn able<const N: usize>(gpu: &GpuDevice, now: Variants, choices: [(String, Variants); N]) -> Vec<(String, Variants)> {
    let mut able: Vec<_> = choices
        .into_iter()
        .filter(|(_, variants)| gpu.clone().with_variants(*variants).variants() == *variants)
        .collect();
    able.sort_by_key(|(_, variants)| *variants != now);
    able
}

/// Seconds a run: a row for each choice, a column for each case. What the driver refuses takes forever.
fn time(gpu: &GpuDevice, choices: &[(String, Variants)], cases: &[&Case]) -> Outcome<Vec<Vec<f64>>> {
    let mut table = vec![Vec::new(); choices.len()];
    for case in cases {
        let mut ready = Vec::new();
        for (name, variants) in choices {
            let device = gpu.clone().with_variants(*variants);
            ready.push(match Ready::new(&device, case) {
                Err(e @ Error::Kernel { .. }) => {
                    terminal::note(&format!("{name} is left out: {e}"));
                    None
                }
                made => Some(made?),
            });
        }
        // In turns, so that what else the machine does hits all alike.
        let mut times = vec![Vec::new(); choices.len()];
        for _ in 0..TURNS {
            for (ready, times) in ready.iter_mut().zip(&mut times) {
                times.push(ready.as_mut().map_or(Ok(f64::INFINITY), Ready::turn)?);
            }
        }
        for (row, times) in table.iter_mut().zip(&mut times) {
            row.push(median(times));
        }
    }
    Ok(table)
}

/// A compiled case.
struct Ready {
    gpu: GpuDevice,
    executable: Executable,
    state: State,
    /// Runs in a turn.
    runs: usize,
}

impl Ready {
    /// Compiles, and runs twice: the driver compiles in the first run.
    fn new(gpu: &GpuDevice, case: &Case) -> Result<Self, Error> {
        let device = Device::Gpu(gpu.clone());
        // Results stay on the device, as state entries.
        let entry =
            |(i, result): (usize, &Tensor)| (Tensor::state(&format!("result {i}"), result.shape()), result.clone());
        let updates: Vec<_> = case.results.iter().enumerate().map(entry).collect();
        let program = Program::trace(&[], &updates)?;
        let state = filled_state(&device, &program)?;
        let mut ready = Self { gpu: gpu.clone(), executable: device.compile(&program)?, state, runs: 1 };
        ready.turn()?;
        ready.runs = (TURN / ready.turn()?.max(1e-6)).clamp(1.0, 1000.0) as usize;
        Ok(ready)
    }

    /// Seconds a run.
    fn turn(&mut self) -> Result<f64, Error> {
        let start = Instant::now();
        for _ in 0..self.runs {
            self.executable.run(&mut self.state, &[])?;
        }
        self.gpu.finish()?;
        Ok(start.elapsed().as_secs_f64() / self.runs as f64)
    }
}

/// Each row's time as a share of the first's: the geometric mean over the cases.
fn relative(table: &[Vec<f64>]) -> Vec<f64> {
    let share = |row: &Vec<f64>| {
        let logs = row.iter().zip(&table[0]).map(|(time, first)| (time / first).ln());
        (logs.sum::<f64>() / row.len() as f64).exp()
    };
    table.iter().map(share).collect()
}

/// The row that takes the least; the first if none is clearly better.
fn fastest(table: &[Vec<f64>]) -> usize {
    let shares = relative(table);
    let best = (1..shares.len()).min_by(|&a, &b| shares[a].total_cmp(&shares[b]));
    best.filter(|&row| shares[row] <= WORTH).unwrap_or(0)
}

fn part(of: &'static str, choices: &[(String, Variants)], table: &[Vec<f64>], cases: &[&Case], taken: usize) -> Part {
    let rows = choices.iter().zip(table).zip(relative(table)).enumerate();
    let choices = rows.map(|(i, (((choice, _), times), relative))| {
        let ms = cases.iter().zip(times).map(|(case, seconds)| (case.name.clone(), seconds * 1e3)).collect();
        Choice { choice: choice.clone(), ms, relative, taken: i == taken }
    });
    Part { of, choices: choices.collect() }
}

/// A table of one part: a line for each case, a column for each choice.
fn print(Part { of, choices }: &Part) -> Outcome {
    let line = |head: &str, cell: &dyn Fn(&Choice) -> String| {
        let cells: String = choices.iter().map(|choice| format!("{:>15}", cell(choice))).collect();
        terminal::line(&format!("{head:<42}{cells}"))
    };
    line(&format!("{of}, ms"), &|choice| format!("{}{}", if choice.taken { "* " } else { "" }, choice.choice))?;
    for case in choices.first().into_iter().flat_map(|choice| choice.ms.keys()) {
        line(&format!("  {case}"), &|choice| format!("{:.3}", choice.ms[case]))?;
    }
    line("  all, beside the first", &|choice| format!("{:.2}", choice.relative))
}

/// A layer with bias and squared ReLU, the gradient of its weights, and the scores of attention.
fn products(rows: usize) -> Vec<Case> {
    let leaf = |name: &str, shape: &[usize]| Tensor::state(name, shape);
    let (x, wide) = (leaf("x", &[rows, 256]), leaf("wide", &[rows, 1024]));
    let layer = x.matmul(&leaf("w", &[256, 1024])) + leaf("bias", &[1024]);
    let heads = rows / 16;
    let [queries, keys] = ["q", "k"].map(|name| leaf(name, &[heads, 128, 32]));
    vec![
        Case { name: format!("layer {rows}x1024x256"), results: vec![layer.relu().square()] },
        Case { name: format!("product 256x1024x{rows}, transposed"), results: vec![x.matmul_t(true, &wide, false)] },
        Case { name: format!("{heads} products 128x128x32"), results: vec![queries.matmul_t(false, &keys, true)] },
    ]
}

/// Many short rows, sums over rows, few long rows.
fn row_programs(rows: usize) -> Vec<Case> {
    let (x, upstream) = (Tensor::state("x", [rows, 256]), Tensor::state("dy", [rows, 256]));
    let centred = &x - x.mean_axis(1);
    let normal = &centred / (centred.square().mean_axis(1) + 1e-6).sqrt();
    let sums = vec![(&upstream * &normal).sum_axis(0), upstream.sum_axis(0)];
    let short = Tensor::state("short", [4 * rows, 128]);
    let long = Tensor::state("long", [rows / 64, 32_768]);
    vec![
        Case { name: format!("softmax of {} rows of 128", 4 * rows), results: vec![short.softmax()] },
        Case { name: format!("gradient of a norm's gain, {rows}x256"), results: sums },
        Case { name: format!("softmax of {} rows of 32768", rows / 64), results: vec![long.softmax()] },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_over_all_cases_is_taken_if_it_is_worth_it() {
        assert_eq!(fastest(&[vec![1.0, 1.0]]), 0);
        assert_eq!(fastest(&[vec![2.0, 1.0], vec![1.0, 1.5], vec![1.0, 1.0]]), 2);
        assert_eq!(fastest(&[vec![1.0, 1.0], vec![0.99, 0.99]]), 0, "noise");
        assert_eq!(fastest(&[vec![1.0, 1.0], vec![0.1, f64::INFINITY]]), 0, "refused by the driver");
        // Each case weighs the same, however long it takes.
        assert_eq!(fastest(&[vec![100.0, 1.0], vec![90.0, 2.0]]), 0);
    }
}
