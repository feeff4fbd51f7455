//! Limits, failures and memory of the GPU device.

use std::time::Duration;

use primer_tensor::gpu::{GpuDevice, GpuOptions, PoolCounts, Variants};
use primer_tensor::{DType, Data, Device, Error, Program, State, Tensor};

use crate::gpu_support::{Case, open};

#[test]
fn launches_fold_where_a_dimension_has_few_workgroups() {
    for variants in [Variants::SOFTWARE, Variants::DISCRETE] {
        let device =
            open(GpuOptions { max_workgroups_per_dim: Some(7), variants: Some(variants), ..GpuOptions::default() });
        let x = Tensor::data("x", [150, 128], DType::F32);
        let w = Tensor::data("w", [128, 60], DType::F32);
        Case::new([x.exp(), x.softmax(), x.matmul(&w), x.square().sum_axis(0)]).check(&device);
        Case::new([Tensor::data("most", [7 * 7 * 7 * 64], DType::F32).exp()]).check(&device);
        let many = Tensor::data("many", [7 * 7 * 7 * 64 + 1], DType::F32);
        let program = Case::new([many.exp()]).program();
        match Device::Gpu(device).compile(&program) {
            Err(Error::Limit { needed, granted, .. }) => assert_eq!((needed, granted), (344, 343)),
            other => panic!("expected a limit, got {:?}", other.err()),
        }
    }
}

#[test]
fn a_tensor_beyond_the_binding_limit_is_named() {
    let device = open(GpuOptions { max_binding: Some(1024), ..GpuOptions::default() });
    Case::new([Tensor::data("x", [256], DType::F32).exp()]).check(&device);
    let device = Device::Gpu(device);
    let big = Tensor::data("big", [257], DType::F32);
    let error = device.compile(&Case::new([big.exp()]).program()).err().expect("too large");
    assert!(matches!(error, Error::TensorSize { needed: 1028, granted: 1024, .. }), "{error:?}");
    assert!(error.to_string().contains("\"big\" of shape [257]"), "{error}");
    assert!(error.to_string().contains("a batch 1/2 as large"), "{error}");
    let error = State::new(&device).insert("s", [257], &[0.0; 257]).expect_err("too large");
    assert!(matches!(error, Error::TensorSize { needed: 1028, granted: 1024, .. }), "{error:?}");
}

#[test]
fn kernels_bind_no_more_buffers_than_granted() {
    // WebGPU grants 8.
    let device = open(GpuOptions { default_limits: true, ..GpuOptions::default() });
    let leaves: Vec<Tensor> = (0..20).map(|i| Tensor::data(&format!("x{i}"), [50], DType::F32)).collect();
    let sum = leaves.iter().skip(1).fold(leaves[0].clone(), |sum, x| &sum + x);
    Case::new([sum]).check(&device);
}

#[test]
fn a_lost_device_is_an_error_and_not_a_panic() {
    let options = GpuOptions { default_limits: true, ..GpuOptions::default() };
    let lost = open(options);
    let x = Tensor::data("x", [10], DType::F32);
    let w = Tensor::state("w", [10]);
    let program = Case::new([x.exp()]).update(&w, &(&w + 1.0)).program();
    let device = Device::Gpu(lost.clone());
    let mut state = State::new(&device);
    state.insert("w", [10], &[1.0; 10]).expect("uploads");
    let mut executable = device.compile(&program).expect("compiles");
    executable.run(&mut state, &[("x", Data::F32(&[1.0; 10]))]).expect("runs");
    lost.destroy();
    let device_error = |what: &str, error: Option<Error>| {
        assert!(matches!(error, Some(Error::DeviceLost { .. })), "{what}: {error:?}");
    };
    device_error("run", executable.run(&mut state, &[("x", Data::F32(&[1.0; 10]))]).err());
    device_error("output", executable.output(0).err());
    device_error("read", state.read("w").err());
    device_error("insert", state.insert("v", [1], &[0.0]).err());
    device_error("compile", device.compile(&program).err());
    // Others are unharmed, and a new device of the same adapter takes the program.
    let device = Device::Gpu(open(options));
    let mut state = State::new(&device);
    state.insert("w", [10], &[1.0; 10]).expect("uploads");
    let mut executable = device.compile(&program).expect("compiles");
    executable.run(&mut state, &[("x", Data::F32(&[0.0; 10]))]).expect("runs");
    assert_eq!(executable.output(0).expect("reads back"), [1.0; 10]);
    assert_eq!(state.read("w").expect("reads back"), [2.0; 10]);
}

#[test]
fn what_comes_after_a_time_out_is_right() {
    // Whether a driver is still at work a microsecond later is its affair (this one may run a submission at once); a
    // time-out is the only error that there may be, and takes nothing away.
    let brief = Duration::from_micros(1);
    let on = Device::Gpu(open(GpuOptions { timeout: Some(brief), ..GpuOptions::default() }));
    let x = Tensor::data("x", [64, 64], DType::F32);
    let product = (0..20).fold(x.clone(), |y, _| y.matmul(&x));
    let program = Case::new([product]).program();
    let identity: Vec<f32> = (0..64 * 64).map(|i| if i % 65 == 0 { 1.0 } else { 0.0 }).collect();
    let mut state = State::new(&on);
    let mut executable = on.compile(&program).expect("compiles");
    let in_time = |result: Result<Vec<f32>, Error>| match result {
        Err(Error::Timeout { after }) if after == brief => {
            std::thread::sleep(Duration::from_millis(1));
            None
        }
        other => Some(other.expect("nothing but a time-out")),
    };
    for _ in 0..10 {
        in_time(executable.run(&mut state, &[("x", Data::F32(&identity))]).map(|()| Vec::new()));
    }
    let found = (0..100_000).find_map(|_| in_time(executable.output(0)));
    assert!(found.expect("an end") == identity);
}

/// A small step: a product, a softmax, a sum over rows, an update in place.
fn small_step() -> Program {
    let x = Tensor::data("x", [64, 32], DType::F32);
    let w = Tensor::state("w", [32, 32]);
    let y = x.matmul(&w).softmax();
    Case::new([y.square().mean()]).update(&w, &(&w * 0.99 + &y.sum_axis(0) * 1e-3)).program()
}

#[test]
fn memory_is_constant_over_runs() {
    let device = open(GpuOptions { default_limits: true, ..GpuOptions::default() });
    let program = small_step();
    let on = Device::Gpu(device.clone());
    let mut state = State::new(&on);
    state.insert("w", [32, 32], &[0.1; 1024]).expect("uploads");
    let mut executable = on.compile(&program).expect("compiles");
    let mut counts = Vec::new();
    for _ in 0..500 {
        executable.run(&mut state, &[("x", Data::F32(&[0.5; 2048]))]).expect("runs");
        executable.output(0).expect("reads back");
        counts.push((device.counts(), device.driver_memory().expect("Vulkan tells")));
    }
    let (early, late) = (counts[4], counts[499]);
    assert!(counts[4..].iter().all(|now| *now == early), "{early:?} to {late:?}");
    assert!(early.0.bytes > 0 && early.1.1 >= early.0.bytes, "{early:?}");
    // Dropped and compiled anew: the same memory again.
    drop(executable);
    let mut executable = on.compile(&program).expect("compiles");
    executable.run(&mut state, &[("x", Data::F32(&[0.5; 2048]))]).expect("runs");
    assert_eq!(device.counts(), early.0);
}

#[test]
fn a_program_over_the_budget_is_refused_before_anything_is_allocated() {
    let device = open(GpuOptions { default_limits: true, ..GpuOptions::default() });
    let program = small_step();
    let on = Device::Gpu(device.clone());
    assert!(on.memory_budget().is_none_or(|bytes| bytes > 1 << 28));
    let error = on.clone().with_memory_budget(1000).compile(&program).err().expect("too large");
    let Error::MemoryBudget { needed, available: 1000 } = error else { panic!("{error:?}") };
    // The input, the state, and scratch of at least the product.
    assert!(needed >= 4 * (2048 + 1024 + 2048), "{needed}");
    assert_eq!(device.counts(), PoolCounts::default());
    on.clone().with_memory_budget(needed).compile(&program).expect("fits exactly");
    assert!(on.with_memory_budget(needed - 1).compile(&program).is_err());
}

/// Run by the next test in a process of its own, whose memory it bounds.
#[test]
#[ignore = "bounds the memory of its process; run by the_driver_runs_out_of_memory"]
#[cfg(target_os = "linux")]
fn in_a_bounded_process() {
    let on = Device::Gpu(open(GpuOptions::default()));
    let x = Tensor::data("x", [10], DType::F32);
    Case::new([x.exp()]).check(&open(GpuOptions::default()));
    let large = vec![1.0f32; 30 << 20];
    let mut state = State::new(&on);
    limit_address_space(Some(64 << 20));
    let error = state.insert("large", [30 << 20], &large).expect_err("no room");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
    let big = Tensor::data("big", [30 << 20], DType::F32);
    let error = on.compile(&Case::new([big.sum()]).program()).err().expect("no room");
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
    // The device is as good as before.
    Case::new([x.exp()]).check(&open(GpuOptions::default()));
    limit_address_space(None);
    state.insert("large", [30 << 20], &large).expect("there is room now");
}

/// Lets this process's address space grow by so many bytes, or without end.
#[cfg(target_os = "linux")]
fn limit_address_space(more: Option<u64>) {
    #[repr(C)]
    struct Limits {
        soft: u64,
        hard: u64,
    }
    const RLIMIT_AS: std::ffi::c_int = 9;
    unsafe extern "C" {
        fn setrlimit(resource: std::ffi::c_int, limits: *const Limits) -> std::ffi::c_int;
    }
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let now = 4096 * pages.split(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
    let limits = Limits { soft: more.map_or(u64::MAX, |more| now + more), hard: u64::MAX };
    // SAFETY: the struct is that of the C library on 64-bit Linux, and outlives the call.
    assert_eq!(unsafe { setrlimit(RLIMIT_AS, &limits) }, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_driver_runs_out_of_memory() {
    let binary = std::env::current_exe().expect("this binary");
    let child = std::process::Command::new(binary)
        .args(["gpu_device::in_a_bounded_process", "--exact", "--ignored", "--nocapture"])
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_state_entry_may_be_replaced_between_runs() {
    let on = Device::Gpu(open(GpuOptions::default()));
    let w = Tensor::state("w", [3]);
    let program = Case::new([&w * 2.0]).program();
    let mut executable = on.compile(&program).expect("compiles");
    let (mut one, mut two) = (State::new(&on), State::new(&on));
    one.insert("w", [3], &[1.0, 2.0, 3.0]).expect("uploads");
    two.insert("w", [3], &[10.0, 20.0, 30.0]).expect("uploads");
    executable.run(&mut one, &[]).expect("runs");
    assert_eq!(executable.output(0).expect("reads"), [2.0, 4.0, 6.0]);
    executable.run(&mut two, &[]).expect("runs");
    assert_eq!(executable.output(0).expect("reads"), [20.0, 40.0, 60.0]);
    one.insert("w", [3], &[-1.0, 0.0, 1.0]).expect("uploads");
    executable.run(&mut one, &[]).expect("runs");
    assert_eq!(executable.output(0).expect("reads"), [-2.0, 0.0, 2.0]);
    let elsewhere = Device::Gpu(open(GpuOptions { default_limits: true, ..GpuOptions::default() }));
    let error = executable.run(&mut State::new(&elsewhere), &[]).expect_err("no state");
    assert!(matches!(error, Error::MissingState { .. }), "{error:?}");
    let mut foreign = State::new(&elsewhere);
    foreign.insert("w", [3], &[0.0; 3]).expect("uploads");
    let error = executable.run(&mut foreign, &[]).expect_err("another device");
    assert!(matches!(error, Error::DeviceMismatch { .. }), "{error:?}");
}

#[test]
fn adapters_that_are_not_there_are_named() {
    let count = GpuDevice::list().len();
    let error = GpuDevice::nth(count).err().expect("not there");
    assert!(error.to_string().contains(&format!("gpu:{count}")), "{error}");
    assert!(matches!(Device::parse("gpu:99", None), Err(Error::NoDevice { .. })));
}

#[test]
fn every_length_goes_up_and_comes_back() {
    let on = Device::Gpu(open(GpuOptions::default()));
    let mut state = State::new(&on);
    for length in 0..9 {
        let values: Vec<f32> = (0..length).map(|i| i as f32 - 2.5).collect();
        state.insert("w", [length], &values).expect("uploads");
        assert_eq!(state.read("w").expect("reads"), values);
        let ids: Vec<u32> = (0..length as u32).collect();
        let program = Case::new([Tensor::data("ids", [length], DType::U32).to_f32()]).program();
        let mut executable = on.compile(&program).expect("compiles");
        executable.run(&mut state, &[("ids", Data::U32(&ids))]).expect("runs");
        assert_eq!(executable.output(0).expect("reads"), ids.iter().map(|&i| i as f32).collect::<Vec<_>>());
    }
}

#[test]
fn results_are_read_on_another_thread_or_never() {
    let on = Device::Gpu(open(GpuOptions::default()));
    let x = Tensor::data("x", [1000], DType::F32);
    let program = Case::new([x.square().sum()]).program();
    let mut readers = Vec::new();
    for run in 0..8 {
        let mut executable = on.compile(&program).expect("compiles");
        let mut state = State::new(&on);
        for _ in 0..10 {
            executable.run(&mut state, &[("x", Data::F32(&[run as f32; 1000]))]).expect("runs");
        }
        if run % 2 == 0 {
            // Dropped with work in flight.
            continue;
        }
        readers.push((run, std::thread::spawn(move || executable.output(0))));
    }
    for (run, reader) in readers {
        assert_eq!(reader.join().expect("no panic").expect("reads"), [(1000 * run * run) as f32]);
    }
}

#[test]
fn the_roof_is_measured() {
    let device = open(GpuOptions::default());
    // What a run records of it names the kernels.
    let signature = Device::Gpu(device.clone()).signature();
    assert!(signature.contains(&device.variants().to_string()), "{signature}");
    assert!(device.matmul_speed([64, 64, 64]).expect("runs") > 0.0);
}

/// By the estimate for a software adapter these products take half a second, so they are submitted in parts. Each moves
/// the columns on by one.
#[test]
fn a_program_of_several_submissions_runs_in_order() {
    const N: usize = 512;
    let device = Device::Gpu(open(GpuOptions::default()));
    let (x, step) = (Tensor::data("x", [N, N], DType::F32), Tensor::data("step", [N, N], DType::F32));
    let moved = (0..8).fold(x, |y, _| y.matmul(&step));
    let mut executable = device.compile(&Program::trace(&[moved], &[]).unwrap()).unwrap();
    let values: Vec<f32> = (0..N * N).map(|i| (i % 1000) as f32).collect();
    let step: Vec<f32> = (0..N * N).map(|i| f32::from(u8::from(i % N == (i / N + 1) % N))).collect();
    let mut state = State::new(&device);
    executable.run(&mut state, &[("x", Data::F32(&values)), ("step", Data::F32(&step))]).unwrap();
    let expected: Vec<f32> = (0..N * N).map(|i| values[i / N * N + (i % N + N - 8) % N]).collect();
    assert!(executable.output(0).unwrap() == expected);
}
