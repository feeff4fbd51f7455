//! Limits, failures and memory of the GPU device.

use primer_tensor::gpu::{GpuDevice, GpuOptions, Variants};
use primer_tensor::{DType, Data, Device, Error, State, Tensor};

use crate::gpu_support::{Case, open};

#[test]
fn launches_fold_where_a_dimension_has_few_workgroups() {
    for variants in [Variants::Software, Variants::Discrete] {
        let device =
            open(GpuOptions { max_workgroups_per_dim: Some(7), variants: Some(variants), ..GpuOptions::default() });
        let x = Tensor::data("x", [150, 128], DType::F32);
        let w = Tensor::data("w", [128, 60], DType::F32);
        Case::new([x.exp(), x.softmax(), x.matmul(&w), x.square().sum_axis(0)]).check(&device);
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
    assert!(matches!(error, Error::Limit { needed: 1028, granted: 1024, .. }), "{error:?}");
    assert!(error.to_string().contains("\"big\""), "{error}");
    let error = State::new(&device).insert("s", [257], &[0.0; 257]).expect_err("too large");
    assert!(matches!(error, Error::Limit { needed: 1028, granted: 1024, .. }), "{error:?}");
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
        assert!(matches!(error, Some(Error::Device { .. })), "{what}: {error:?}");
    };
    device_error("run", executable.run(&mut state, &[("x", Data::F32(&[1.0; 10]))]).err());
    device_error("output", executable.output(0).err());
    device_error("read", state.read("w").err());
    device_error("insert", state.insert("v", [1], &[0.0]).err());
    device_error("compile", device.compile(&program).err());
    // Others are unharmed.
    Case::new([x.exp()]).check(&open(options));
}

#[test]
fn memory_is_constant_over_runs() {
    let device = open(GpuOptions { default_limits: true, ..GpuOptions::default() });
    let x = Tensor::data("x", [64, 32], DType::F32);
    let w = Tensor::state("w", [32, 32]);
    let y = x.matmul(&w);
    let program = Case::new([y.square().mean()]).update(&w, &(&w * 0.99 + &y.sum_axis(0) * 1e-3)).program();
    let on = Device::Gpu(device.clone());
    let mut state = State::new(&on);
    state.insert("w", [32, 32], &[0.1; 1024]).expect("uploads");
    let mut executable = on.compile(&program).expect("compiles");
    let mut counts = Vec::new();
    for _ in 0..100 {
        executable.run(&mut state, &[("x", Data::F32(&[0.5; 2048]))]).expect("runs");
        executable.output(0).expect("reads back");
        counts.push(device.counts());
    }
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{:?} to {:?}", counts[0], counts[99]);
    // Dropped and compiled anew: the same memory again.
    drop(executable);
    let mut executable = on.compile(&program).expect("compiles");
    executable.run(&mut state, &[("x", Data::F32(&[0.5; 2048]))]).expect("runs");
    assert_eq!(device.counts(), counts[0]);
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
    }
}

#[test]
fn the_roof_is_measured() {
    let device = open(GpuOptions::default());
    assert!(device.matmul_speed([64, 64, 64]).expect("runs") > 0.0);
}
