//! The device that benchmarks run on, also those of other crates, and how long runs on it take.

use std::time::{Duration, Instant};

use primer_tensor::{Data, Device, Executable, State};

/// The one that `PRIMER_DEVICE` names as `primer bench --device` does, without it the CPU.
pub fn chosen() -> Device {
    let name = std::env::var("PRIMER_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device = Device::parse(&name, None).unwrap_or_else(|error| panic!("PRIMER_DEVICE={name}: {error}"));
    eprintln!("device: {}", device.signature());
    device
}

/// How long that many runs take, from the first one's start to the last one's end.
pub fn time(
    device: &Device,
    executable: &mut Executable,
    state: &mut State,
    data: &[(&str, Data<'_>)],
    runs: u64,
) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        executable.run(state, data).expect("a run");
    }
    if let Device::Gpu(gpu) = device {
        gpu.finish().expect("the end of the last run");
    }
    start.elapsed()
}
