//! Every case of the op table with its gradients, as one program each, timed on one device.
//!
//! `PRIMER_DEVICE=gpu:0 cargo bench -p primer-autodiff --bench table -- softmax` takes the first adapter and the cases
//! whose names have `softmax` in them; the names of devices are those of `primer bench --device`, and without one it is
//! the CPU. The cases are small, so this shows what an operation costs beside a launch, and which one is out of line.

#![allow(clippy::print_stderr)] // the device is named, as for tests

#[path = "../tests/support/mod.rs"]
#[allow(dead_code)] // what the tests need beside the table
mod support;

use std::time::{Duration, Instant};

use criterion::Criterion;
use primer_tensor::Device;

use support::compare::prepare;
use support::table::cases;

fn main() {
    let name = std::env::var("PRIMER_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = Device::parse(&name, None).unwrap_or_else(|error| panic!("PRIMER_DEVICE={name}: {error}"));
    eprintln!("device: {}", device.signature());
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(20))
        .measurement_time(Duration::from_millis(100))
        .configure_from_args();
    for case in cases() {
        // What a filter leaves out isn't compiled.
        let mut ready = None;
        criterion.bench_function(&case.name, |bencher| {
            let (executable, state, data) = ready.get_or_insert_with(|| {
                prepare(&device, &case.built.program(), &case.built.inputs).expect("a program that the device takes")
            });
            bencher.iter_custom(|runs| {
                let start = Instant::now();
                for _ in 0..runs {
                    executable.run(state, data).expect("a run");
                }
                if let Device::Gpu(gpu) = &device {
                    gpu.finish().expect("the end of the last run");
                }
                start.elapsed()
            });
        });
    }
    criterion.final_summary();
}
