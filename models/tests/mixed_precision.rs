//! Training with the operands of products in f16: less memory, and it learns as well.

use std::sync::atomic::AtomicBool;

use primer_models::arch::{Model, TOKENS};
use primer_models::train::{Event, Trainer, step_program};
use primer_models::{Arch, Error, Precision, RunConfig, Size};
use primer_tensor::gpu::{GpuDevice, GpuOptions};
use primer_tensor::{Data, Device};

use crate::models::tiny;
use crate::recomputation::corpus;

fn config(arch: Arch, precision: Precision) -> RunConfig {
    let mut config = RunConfig { model: tiny(arch), ..RunConfig::new(arch, Size::Nano) };
    config.train.batch = 4;
    config.train.log_every = 1;
    config.train.precision = precision;
    config
}

fn gpu() -> Device {
    Device::Gpu(
        GpuDevice::for_tests(GpuOptions::default()).expect("an adapter; `cargo xtask test --setup` installs one"),
    )
}

/// The losses of the first steps; none may have been skipped.
fn losses(config: &RunConfig, steps: u64) -> (Vec<f64>, Trainer) {
    let mut trainer = Trainer::new(config, &corpus(), &gpu()).unwrap();
    let mut losses = Vec::new();
    let mut note = |event| match event {
        Event::Progress(progress) => losses.push(progress.loss),
        Event::NonFinite { step } => panic!("step {step} overflowed"),
        _ => {}
    };
    trainer.run(steps, &AtomicBool::new(false), &mut note).unwrap();
    (losses, trainer)
}

#[test]
fn it_learns_as_f32_does() {
    const STEPS: u64 = 40;
    for arch in [Arch::Vanilla, Arch::Primer] {
        let [(full, in_f32), (half, in_f16)] =
            [Precision::F32, Precision::F16].map(|precision| losses(&config(arch, precision), STEPS));
        let (first, last) = (full[0], full[full.len() - 1]);
        assert!(last < first - 1.0, "{arch}: {first} to {last} in f32");
        assert_ne!(full, half, "{arch}: nothing was rounded");
        for (step, (full, half)) in full.iter().zip(&half).enumerate() {
            assert!((full - half).abs() < 0.02, "{arch}, step {step}: {full} in f32, {half} in f16");
        }
        let scratch = |trainer: &Trainer| trainer.step_executable().report().unwrap().scratch_bytes;
        assert!(scratch(&in_f16) < scratch(&in_f32), "{arch}");
        assert!(in_f16.device().signature().ends_with("operands f16"));
        assert!(!in_f32.device().signature().ends_with("operands f16"));
    }
}

/// The loss is scaled by a power of two, so that it makes no difference where nothing is rounded to f16.
#[test]
fn scaling_the_loss_changes_no_bit() {
    // The weights after so many steps, on a device that rounds nothing.
    let weights = |precision, steps| {
        let (config, device) = (config(Arch::PrimerEz, precision), Device::cpu());
        let model = Model::build_for_training(&config.model, config.train.batch).unwrap();
        let mut state = model.initial_state(&device, 1).unwrap();
        config.optimizer.insert_start(&mut state, &model.params).unwrap();
        state.insert("train.loss_sum", [1], &[0.0]).unwrap();
        let tokens: Vec<u32> = (0..config.tokens_per_step() as u32).map(|i| (i * i + 7) % 256).collect();
        let scalars = config.optimizer.scalars(1.0, 0);
        let scalars = scalars.iter().map(|(name, value)| (*name, Data::F32(std::slice::from_ref(value))));
        let texts = [(TOKENS, Data::U32(&tokens)), ("targets", Data::U32(&tokens))];
        let inputs: Vec<(&str, Data<'_>)> = texts.into_iter().chain(scalars).collect();
        let mut executable = device.compile(&step_program(&config).unwrap()).unwrap();
        for _ in 0..steps {
            executable.run(&mut state, &inputs).unwrap();
        }
        model.params.iter().map(|spec| state.read(&spec.name).unwrap()).collect::<Vec<_>>()
    };
    // No assert_eq: a difference would print every weight.
    let full = weights(Precision::F32, 2);
    assert!(full == weights(Precision::F16, 2) && full != weights(Precision::F32, 0));
}

#[test]
fn a_device_without_it_is_refused() {
    let config = config(Arch::Vanilla, Precision::F16);
    let error = Trainer::new(&config, &corpus(), &Device::cpu()).unwrap_err();
    assert!(
        matches!(&error, Error::BadValue { key, value, .. } if key == "train.precision" && value == "f16"),
        "{error}"
    );
    let said = error.to_string();
    assert!(said.contains("cpu") && said.contains("shader-f16"), "{said}");
}
