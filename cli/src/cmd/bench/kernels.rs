//! Kernels, timed: one program a family, at the sizes of the reference step.

use super::filled_state;
use crate::failure::Outcome;
use primer_tensor::{Device, Program, Tensor};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// A program's best time.
#[derive(Debug, Serialize)]
pub struct Kernel {
    name: &'static str,
    ms: f64,
    gflops: f64,
    /// Gigabytes that its kernels read and write, per second.
    gbytes: f64,
    launches: usize,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kernel { name, ms, gflops, gbytes, launches } = self;
        write!(f, "{name:<30} {ms:>9.3} ms  {gflops:>7.1} GFLOP/s  {gbytes:>6.1} GB/s  {launches} launches")
    }
}

/// What is computed.
pub struct Case {
    pub name: &'static str,
    output: Tensor,
}

/// All that are timed.
pub fn cases() -> Vec<Case> {
    let x = || Tensor::state("x", [2048, 256]);
    let product = x().matmul(&Tensor::state("w", [256, 1024]));
    let scores = Tensor::state("scores", [16384, 128]);
    let mean = x().mean_axis(1);
    let centred = x() - mean;
    let norm = &centred / (centred.square().mean_axis(1) + 1e-6).sqrt();
    let conv = Tensor::state("h", [16, 128, 256]).depthwise_conv(&Tensor::state("taps", [3, 256]));
    let case = |name, output| Case { name, output };
    vec![
        case("product 2048x256x1024", product),
        case("softmax of 16384 rows of 128", scores.softmax()),
        case("layer norm of 2048 rows of 256", norm),
        case("squared ReLU of 524288", x().relu().square()),
        case("depthwise conv 16x128x256", conv),
    ]
}

/// Times one.
///
/// # Errors
/// A device that fails.
pub fn time(device: &Device, case: &Case) -> Outcome<Kernel> {
    // A sum is read back, so that the time is the kernel's and not the copy's.
    let program = Program::trace(&[case.output.sum()], &[])?;
    let mut state = filled_state(device, &program)?;
    let mut executable = device.compile(&program)?;
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
    Ok(Kernel {
        name: case.name,
        ms: best * 1e3,
        gflops: report.flops as f64 / best / 1e9,
        gbytes: report.bytes as f64 / best / 1e9,
        launches: report.launches,
    })
}
