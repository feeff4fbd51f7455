//! Recomputation of activations: the same numbers from less memory.

use std::sync::atomic::AtomicBool;

use primer_models::arch::Model;
use primer_models::checkpoint::Checkpoint;
use primer_models::text::Corpus;
use primer_models::train::{Event, Trainer, step_program};
use primer_models::{Arch, RunConfig, Size};
use primer_tensor::Device;
use primer_tensor::gpu::{GpuDevice, GpuOptions};
use tempfile::tempdir;

use crate::models::tiny;

static GO: AtomicBool = AtomicBool::new(false);

fn config(arch: Arch) -> RunConfig {
    let mut config = RunConfig { model: tiny(arch), ..RunConfig::new(arch, Size::Nano) };
    config.model.layers = 5;
    config.train.batch = 4;
    config.train.log_every = 1;
    config
}

pub fn corpus() -> Corpus {
    let text: String = (0..400).map(|i| format!("{} sheep jump over the fence\n", i % 10)).collect();
    Corpus::from_text("sheep", text.as_bytes()).unwrap()
}

fn recomputing(config: &RunConfig) -> RunConfig {
    let mut config = config.clone();
    config.set("recompute_activations=true").unwrap();
    config
}

/// The losses of the next steps in bits.
fn run(trainer: &mut Trainer, until: u64) -> Vec<u64> {
    let mut losses = Vec::new();
    let mut note = |event| {
        if let Event::Progress(progress) = event {
            losses.push(progress.loss.to_bits());
        }
    };
    trainer.run(until, &GO, &mut note).unwrap();
    losses
}

fn same(what: &str, a: &Checkpoint, b: &Checkpoint) {
    // No assert_eq: a difference would print every weight.
    assert!(a.weights == b.weights, "{what}: other weights");
    assert!(a.optimizer == b.optimizer, "{what}: other moments");
}

fn same_with_and_without(what: &str, config: &RunConfig, device: &Device) {
    let after = |config: &RunConfig| {
        let mut trainer = Trainer::new(config, &corpus(), device).unwrap();
        (run(&mut trainer, 3), trainer.checkpoint().unwrap())
    };
    let ((losses, kept), (again_losses, again)) = (after(config), after(&recomputing(config)));
    assert_eq!((losses.len(), &losses), (3, &again_losses), "{what}");
    same(what, &kept, &again);
}

#[test]
fn every_architecture_trains_to_the_same_bits() {
    for arch in Arch::ALL {
        same_with_and_without(arch.name(), &config(arch), &Device::cpu());
    }
}

#[test]
fn with_everything_that_changes_a_step() {
    // Experts draw noise, and add an auxiliary loss that the graph has after all blocks.
    let mut switch = config(Arch::SwitchPrimer);
    for assignment in ["accumulate=2", "z_loss=1e-3", "positions=relative", "optimizer=adafactor", "clip_norm=0.1"] {
        switch.set(assignment).unwrap();
    }
    same_with_and_without("everything", &switch, &Device::cpu());
}

#[test]
fn on_the_other_devices() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("an adapter; `cargo xtask test --setup` installs one");
    for device in [Device::reference(), Device::Gpu(gpu)] {
        let mut config = config(Arch::SwitchPrimer);
        config.model.layers = 2;
        let after = |config: &RunConfig| {
            let mut trainer = Trainer::new(config, &corpus(), &device).unwrap();
            run(&mut trainer, 3)
        };
        let (kept, again) = (after(&config), after(&recomputing(&config)));
        // A driver may contract what shares a kernel; the interpreter has no kernels.
        let tolerance = if matches!(device, Device::Reference(_)) { 0.0 } else { 1e-5 };
        for (a, b) in kept.into_iter().zip(again) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            assert!((a - b).abs() <= tolerance && a.is_finite(), "{device}: {a} and {b}");
        }
    }
}

#[test]
fn it_can_be_switched_on_the_way() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let kept = config(Arch::SwitchTransformer);
    let again = recomputing(&kept);
    let mut whole = Trainer::new(&kept, &corpus(), &Device::cpu()).unwrap();
    run(&mut whole, 6);
    for (first, second) in [(&kept, &again), (&again, &kept)] {
        let mut trainer = Trainer::new(first, &corpus(), &Device::cpu()).unwrap();
        run(&mut trainer, 3);
        trainer.checkpoint().unwrap().write(&path).unwrap();
        let mut trainer = Trainer::resume(second, &corpus(), &Device::cpu(), &path).unwrap();
        run(&mut trainer, 6);
        same("switched", &whole.checkpoint().unwrap(), &trainer.checkpoint().unwrap());
    }
}

/// With layers enough, what a step holds for each more is its input alone, and what it keeps of its parameters.
#[test]
fn a_layer_more_holds_its_input_more() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("an adapter; `cargo xtask test --setup` installs one");
    for device in [Device::cpu(), Device::Gpu(gpu)] {
        for arch in Arch::ALL {
            let scratch = |layers: usize, again: bool| {
                let mut config = RunConfig::new(arch, Size::Nano);
                (config.model.layers, config.model.seq, config.train.batch) = (layers, 256, 8);
                config.train.recompute_activations = again;
                let model = Model::build_for_training(&config.model, config.train.batch).unwrap();
                let report = device.cost(&step_program(&config).unwrap()).unwrap();
                // Gradients of all parameters are held at once.
                report.scratch_bytes as f64 - 4.0 * model.parameters() as f64
            };
            let [kept, again] = [false, true].map(|again| scratch(12, again) - scratch(8, again));
            let inputs = 4.0 * 4.0 * (8 * 256 * 64) as f64;
            assert!(again <= inputs && kept > 10.0 * inputs, "{arch} on {device}: {kept} and {again}, {inputs}");
        }
    }
}
