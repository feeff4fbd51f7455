//! Each kernel family on one device, at the sizes of the reference step (d 256, ff 1024, 8 heads, 16 sequences of 128
//! tokens).
//!
//! `PRIMER_DEVICE=gpu:0 cargo bench -p primer-tensor --bench kernels` takes the first adapter; the names are those of
//! `primer bench --device`, and without one it is the CPU. Throughput is FLOPs of products and bytes of everything
//! else.

#![allow(clippy::print_stderr)] // the device is named, as for tests

mod attention;
mod convolution;
mod device;
mod launches;
mod matmul;
mod movement;
mod rows;

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use primer_tensor::graph::InputKind;
use primer_tensor::{Data, Device, Executable, Graph, NodeId, Op, Program, Shape, State, Tensor};

/// The cases of one family.
struct Family<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    device: &'a Device,
}

impl Family<'_> {
    /// Times a program that leaves `results` on the device. Its bytes are those of leaves and results, each once.
    fn case(&mut self, name: &str, results: &[Tensor]) {
        let leaves = Tensor::leaves(results);
        let elements: usize = leaves.values().chain(results).map(|tensor| tensor.shape().numel()).sum();
        self.timed(name, results, Throughput::Bytes(4 * elements as u64));
    }

    /// The same, for what is measured by its FLOPs.
    fn product(&mut self, name: &str, results: &[Tensor], flops: usize) {
        self.timed(name, results, Throughput::Elements(flops as u64));
    }

    /// Times the host alone, which on a GPU doesn't wait for the `kernels` to have run.
    fn recorded(&mut self, name: &str, results: &[Tensor], kernels: u64) {
        self.measured(name, results, Throughput::Elements(kernels), Ready::record);
    }

    fn timed(&mut self, name: &str, results: &[Tensor], work: Throughput) {
        self.measured(name, results, work, Ready::time);
    }

    fn measured(
        &mut self,
        name: &str,
        results: &[Tensor],
        work: Throughput,
        time: fn(&mut Ready, &Device, u64) -> Duration,
    ) {
        let device = self.device;
        // What a filter leaves out isn't compiled.
        let mut ready = None;
        self.group.throughput(work);
        self.group.bench_function(name, |bencher| {
            let ready = ready.get_or_insert_with(|| Ready::new(device, results));
            bencher.iter_custom(|runs| time(ready, device, runs));
        });
    }
}

/// A compiled program with everything that it reads.
struct Ready {
    executable: Executable,
    state: State,
    data: Vec<(String, Vec<u32>)>,
}

impl Ready {
    /// Results become state entries, which nobody reads back.
    fn new(device: &Device, results: &[Tensor]) -> Self {
        let entry =
            |(i, result): (usize, &Tensor)| (Tensor::state(&format!("result {i}"), result.shape()), result.clone());
        let updates: Vec<_> = results.iter().enumerate().map(entry).collect();
        let program = Program::trace(&[], &updates).expect("a program");
        let mut state = State::new(device);
        for (name, shape) in program.state() {
            state.insert(name, shape.clone(), &numbers(name, shape.numel())).expect("room for a state entry");
        }
        let data = program.inputs(InputKind::Data).map(|input| {
            let count = program.graph.shape(input.node).numel() as u32;
            (input.name.clone(), (0..count).map(|i| i.wrapping_mul(2_654_435_761) % 1024).collect())
        });
        let data = data.collect();
        let executable = device.compile(&program).expect("a program that the device takes");
        Self { executable, state, data }
    }

    /// [`device::time`].
    fn time(&mut self, device: &Device, runs: u64) -> Duration {
        let data: Vec<(&str, Data<'_>)> =
            self.data.iter().map(|(name, values)| (name.as_str(), Data::U32(values))).collect();
        device::time(device, &mut self.executable, &mut self.state, &data, runs)
    }

    /// How long the calls that start that many runs take, each once the run before has ended.
    fn record(&mut self, device: &Device, runs: u64) -> Duration {
        let mut recorded = Duration::ZERO;
        for _ in 0..runs {
            let start = Instant::now();
            self.executable.run(&mut self.state, &[]).expect("a run");
            recorded += start.elapsed();
            if let Device::Gpu(gpu) = device {
                gpu.finish().expect("the end of the run");
            }
        }
        recorded
    }
}

/// Numbers in [−¼, ¼), or their absolute values for what is never negative: the same for the same name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let positive = name.starts_with("second moment") || name == "deviation";
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let x = (state >> 8) as f32 / (1 << 25) as f32 - 0.25;
        if positive { x.abs() + 0.01 } else { x }
    };
    (0..count).map(next).collect()
}

/// A state entry.
fn leaf(name: &str, shape: impl Into<Shape>) -> Tensor {
    Tensor::state(name, shape)
}

/// An operation that only gradients need, for which tensors have no method.
fn adjoint(op: Op, operands: &[Tensor]) -> Tensor {
    let (mut graph, ids): (Graph, Vec<NodeId>) = Tensor::lower(operands).expect("operands");
    let id = graph.push(op, &ids).expect("operands of those shapes");
    Tensor::raise(&graph, &Tensor::leaves(operands)).swap_remove(id.index())
}

fn main() {
    let device = device::chosen();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut family = |name: &str, device: &Device, cases: fn(&mut Family<'_>)| {
        let mut family = Family { group: criterion.benchmark_group(name), device };
        cases(&mut family);
        family.group.finish();
    };
    family("matmul", &device, matmul::cases);
    family("matmul-stored-f32", &device, matmul::stored);
    match device.clone().with_half_operands() {
        Ok(half) => family("matmul-stored-f16", &half, matmul::stored),
        Err(error) => eprintln!("matmul-stored-f16 is left out: {error}"),
    }
    family("rows", &device, rows::cases);
    family("attention", &device, attention::cases);
    family("convolution", &device, convolution::cases);
    family("movement", &device, movement::cases);
    family("launches", &device, launches::cases);
    criterion.final_summary();
}
