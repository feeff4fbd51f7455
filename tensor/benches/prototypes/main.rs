//! Two questions of the design, asked of the CPU: do panels pay, does the sandwich pay? Answers: `docs/prototypes.md`.
//!
//! Variants are asserted to agree and timed.

#![expect(clippy::print_stdout, reason = "a bench reports")]

mod panels;
mod sandwich;

use std::time::Duration;

use criterion::Criterion;
use primer_tensor::cpu::{CpuDevice, PlanRunner};
use primer_tensor::passes::{self, PlanLimits};
use primer_tensor::plan::{BufferId, Place, Plan};
use primer_tensor::{Program, Tensor};

/// The plan of recorded tensors.
fn traced(outputs: &[Tensor], updates: &[(Tensor, Tensor)]) -> Plan {
    let program = Program::trace(outputs, updates).expect("a program");
    passes::plan(&program, PlanLimits::default()).expect("a plan")
}

/// Numbers in [−¼, ¼), or their absolute values for what is never negative: the same for the same name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let positive = name.starts_with("moment2") || name == "deviation";
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let x = (state >> 8) as f32 / (1 << 25) as f32 - 0.25;
        if positive { x.abs() + 0.01 } else { x }
    };
    (0..count).map(next).collect()
}

/// The compiled plan with every state entry filled.
fn runner(device: &CpuDevice, plan: &Plan) -> PlanRunner {
    // SAFETY: the prototypes' plans are those of the passes, whole or with kernels cut by rows.
    let mut runner = unsafe { device.runner(plan) }.expect("views fit");
    for (position, spec) in plan.buffers.iter().enumerate() {
        if let Place::State(name) = &spec.place {
            let values = numbers(name, spec.shape.numel());
            runner.write(BufferId(position as u32), &values).expect("a buffer of that length");
        }
    }
    runner
}

/// |a − b| ≤ 2e-5·(largest |b|).
fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let distance = a.iter().zip(b).fold(0.0f32, |max, (x, y)| max.max((x - y).abs()));
    assert!(scale > 0.0 && distance <= 2e-5 * scale, "{what}: {distance} apart at scale {scale}");
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    panels::bench(&mut criterion);
    sandwich::bench(&mut criterion);
    criterion.final_summary();
}
