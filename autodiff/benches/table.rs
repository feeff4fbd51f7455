//! Every case of the op table with its gradients, as one program each, timed on one device.
//!
//! `PRIMER_DEVICE=gpu:0 cargo bench -p primer-autodiff --bench table -- softmax` takes the first adapter and the cases
//! whose names have `softmax` in them; the names of devices are those of `primer bench --device`, and without one it is
//! the CPU. The cases are small, so this shows what an operation costs beside a launch, and which one is out of line.

#![allow(clippy::print_stderr)] // the device is named, as for tests

#[path = "../../tensor/benches/kernels/device.rs"]
mod device;
#[path = "../tests/support/mod.rs"]
#[allow(dead_code)] // what the tests need beside the table
mod support;

use std::time::Duration;

use criterion::Criterion;

use support::compare::prepare;
use support::table::cases;

fn main() {
    let device = device::chosen();
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
            bencher.iter_custom(|runs| device::time(&device, executable, state, data, runs));
        });
    }
    criterion.final_summary();
}
