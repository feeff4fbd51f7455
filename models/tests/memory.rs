//! What the planner says that a training step holds, against what is held.

use std::time::Duration;

use primer_models::train::step_program;
use primer_models::{Arch, RunConfig, Size};
use primer_tensor::gpu::{GpuDevice, GpuOptions};
use primer_tensor::{Device, Executable, Program, State};

/// The training step of the reference size, of an architecture by name, with `recomputing ` before it where activations
/// are recomputed.
fn reference_step(name: &str) -> Program {
    let arch = name.trim_start_matches(RECOMPUTING);
    let mut config = RunConfig::new(arch.parse().unwrap(), Size::Mini);
    config.model.vocab = 1024;
    config.train.recompute_activations = name.starts_with(RECOMPUTING);
    step_program(&config).unwrap()
}

/// The step as a device holds it: its state, all zero, and what it is compiled to.
fn prepare(device: &Device, program: &Program) -> (State, Executable) {
    let mut state = State::new(device);
    for (name, shape) in program.state() {
        state.insert(name, shape.clone(), &vec![0.0; shape.numel()]).unwrap();
    }
    (state, device.compile(program).unwrap())
}

const RECOMPUTING: &str = "recomputing ";

/// The plainest, one with convolutions, one whose learned scores are sums over a batch of squares, and less
/// activations.
const STEPS: [&str; 4] = ["vanilla", "primer_ez", "synthesizer", "recomputing vanilla"];

fn within_a_tenth(what: &str, planned: u64, measured: u64) {
    let (low, high) = (measured - measured / 10, measured + measured / 10);
    assert!((low..=high).contains(&planned), "{what}: {planned} bytes are planned, {measured} were measured");
}

/// Scores of all heads of 16 sequences take 64 MiB at 512 tokens, four times that at twice the length, and are needed
/// in each layer.
#[test]
fn a_step_on_a_gpu_holds_no_squares_of_long_sequences() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("an adapter; `cargo xtask test --setup` installs one");
    for arch in [Arch::Vanilla, Arch::PrimerEz] {
        let [short, long] = [512, 1024].map(|seq| {
            let mut config = RunConfig::new(arch, Size::Nano);
            (config.model.seq, config.train.batch) = (seq, 16);
            let program = step_program(&config).unwrap();
            Device::Gpu(gpu.clone()).compile(&program).unwrap().report().unwrap().peak_bytes()
        });
        assert!(long < 2 * short + (32 << 20), "{arch}: {short} bytes for 512 tokens, {long} for 1,024");
    }
}

/// Four heads are fewer tiles than threads may share, but their scores would take a gibibyte.
#[test]
fn a_step_on_a_cpu_holds_no_squares_of_one_long_sequence() {
    let [short, long] = [2048, 8192].map(|seq| {
        let mut config = RunConfig::new(Arch::PrimerEz, Size::Nano);
        (config.model.seq, config.train.batch) = (seq, 1);
        Device::cpu_with_threads(2).cost(&step_program(&config).unwrap()).unwrap().peak_bytes()
    });
    assert!(long <= 4 * short, "{short} bytes for 2,048 tokens, {long} for 8,192");
}

#[test]
fn an_adapters_buffers_are_those_planned() {
    for name in STEPS {
        // An option makes the device one of its own, so that no other test's buffers count.
        let options = GpuOptions { timeout: Some(Duration::from_secs(600)), ..GpuOptions::default() };
        let gpu = GpuDevice::for_tests(options).expect("an adapter; `cargo xtask test --setup` installs one");
        let (_state, executable) = prepare(&Device::Gpu(gpu.clone()), &reference_step(name));
        within_a_tenth(name, executable.report().unwrap().peak_bytes(), gpu.counts().bytes);
    }
}

#[cfg(target_os = "linux")]
mod resident {
    use super::*;
    use crate::alone::{alone, status};
    use primer_models::text::Corpus;
    use primer_models::{Error, Trainer};
    use primer_tensor::graph::InputKind;
    use primer_tensor::{DType, Data};

    /// One run on zeros.
    fn run(executable: &mut Executable, state: &mut State) {
        let program = executable.program();
        let inputs = program.inputs(InputKind::Data).map(|input| {
            let node = program.graph.node(input.node);
            (input.name.clone(), node.dtype, vec![0u32; node.shape.numel()])
        });
        let inputs: Vec<_> = inputs.collect();
        let inputs = inputs.iter().map(|(name, dtype, zeros)| match dtype {
            DType::U32 => (name.as_str(), Data::U32(zeros)),
            _ => (name.as_str(), Data::F32(bytemuck::cast_slice(zeros))),
        });
        let inputs: Vec<_> = inputs.collect();
        executable.run(state, &inputs).unwrap();
    }

    /// In a process with no other test, since the system counts whole processes.
    #[test]
    #[ignore = "run by `the_cpu_holds_what_is_planned`, alone in a process"]
    fn in_a_process_of_its_own() {
        let name = std::env::var("PRIMER_TEST_STEP").unwrap();
        let program = reference_step(&name);
        let device = Device::cpu_with_threads(2);
        let before = status("VmRSS");
        let (mut state, mut executable) = prepare(&device, &program);
        run(&mut executable, &mut state);
        within_a_tenth(&name, executable.report().unwrap().peak_bytes(), status("VmHWM") - before);
    }

    #[test]
    fn the_cpu_holds_what_is_planned() {
        for name in STEPS {
            alone("memory::resident::in_a_process_of_its_own", &[("PRIMER_TEST_STEP", name)]);
        }
    }

    /// Its weights and moments would take 400 MB.
    #[test]
    #[ignore = "run by `what_does_not_fit_is_refused_before_its_weights_are_there`, alone in a process"]
    fn refused_in_a_process_of_its_own() {
        let config = RunConfig::new(Arch::Vanilla, Size::Small);
        let corpus = Corpus::from_text("text", &b"some text\n".repeat(2_000)).unwrap();
        let device = Device::cpu_with_threads(1).with_memory_budget(64 << 20);
        let before = status("VmHWM");
        let error = Trainer::new(&config, &corpus, &device).unwrap_err();
        assert!(matches!(error, Error::Tensor(primer_tensor::Error::MemoryBudget { .. })), "{error:?}");
        let more = status("VmHWM") - before;
        assert!(more < 64 << 20, "{more} bytes were touched");
    }

    #[test]
    fn what_does_not_fit_is_refused_before_its_weights_are_there() {
        alone("memory::resident::refused_in_a_process_of_its_own", &[]);
    }
}
