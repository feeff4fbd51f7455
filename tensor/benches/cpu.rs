//! The CPU's kernels on the shapes of the reference step (d 256, ff 1024, 8 heads, 16 sequences of 128 tokens).

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use primer_tensor::cpu::CpuDevice;
use primer_tensor::passes::{self, PlanLimits};
use primer_tensor::plan::{BufferId, BufferSpec, Kernel, MatMul, Place, Plan, View};
use primer_tensor::{DType, Program, Tensor};

/// A plan of one product of dense operands, seen transposed where asked for.
fn product(batch: usize, m: usize, n: usize, k: usize, transpose_a: bool, transpose_b: bool) -> Plan {
    let shape =
        |rows: usize, cols: usize, transposed: bool| if transposed { [batch, cols, rows] } else { [batch, rows, cols] };
    let mut plan = Plan::default();
    let mut view = |dims: [usize; 3], transposed: bool| {
        let buffer = BufferId(plan.buffers.len() as u32);
        plan.buffers.push(BufferSpec { shape: dims.into(), dtype: DType::F32, place: Place::Slot(plan.buffers.len()) });
        let view = View::contiguous(buffer, &dims.into());
        if transposed { view.permute(&[0, 2, 1]) } else { view }
    };
    let a = view(shape(m, k, transpose_a), transpose_a);
    let b = view(shape(k, n, transpose_b), transpose_b);
    let out = view([batch, m, n], false);
    plan.kernels.push(Kernel::MatMul(MatMul { a, b, out }));
    plan
}

/// The plan of recorded tensors.
fn traced(outputs: &[Tensor], updates: &[(Tensor, Tensor)]) -> Plan {
    let program = Program::trace(outputs, updates).expect("a program");
    passes::plan(&program, PlanLimits { buffers: usize::MAX, tiles: None }).expect("a plan")
}

fn layer_norm() -> Plan {
    let x = Tensor::state("x", [2048, 256]);
    let (scale, shift) = (Tensor::state("scale", [1, 256]), Tensor::state("shift", [1, 256]));
    let centred = &x - x.mean_axis(1);
    let normal = &centred / (centred.square().mean_axis(1) + 1e-6).sqrt();
    traced(&[normal * scale + shift], &[])
}

fn adamw() -> Plan {
    let [p, m, v, g] = ["p", "m", "v", "g"].map(|name| Tensor::state(name, [1024, 256]));
    let new_m = &m * 0.9 + &g * 0.1;
    let new_v = &v * 0.98 + g.square() * 0.02;
    let step = (&new_m * 1.1) / ((&new_v * 1.2).sqrt() + 1e-8) + &p * 0.01;
    traced(&[], &[(p.clone(), &p - step * 1e-3), (m, new_m), (v, new_v)])
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let device = CpuDevice::new(None);

    let mut group = criterion.benchmark_group("matmul");
    for (batch, m, n, k, ta, tb) in [
        (1, 2048, 1024, 256, false, false),
        (1, 2048, 256, 1024, false, false),
        (1, 2048, 1024, 256, false, true),
        (1, 2048, 256, 1024, false, true),
        (1, 256, 1024, 2048, true, false),
        (1, 1024, 256, 2048, true, false),
        (128, 128, 128, 32, false, true),
        (128, 128, 32, 128, false, false),
        (128, 128, 32, 128, true, false),
        (1, 1024, 1024, 1024, false, false),
    ] {
        let mut runner = device.runner(&product(batch, m, n, k, ta, tb)).expect("views fit");
        let name = format!("{batch}x{m}x{n}x{k}{}{}", if ta { " aT" } else { "" }, if tb { " bT" } else { "" });
        group.throughput(Throughput::Elements(2 * (batch * m * n * k) as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| runner.run()));
    }
    group.finish();

    let mut group = criterion.benchmark_group("row");
    let softmax = traced(&[Tensor::state("x", [16_384, 128]).softmax()], &[]);
    for (name, plan, elements) in [
        ("layer norm 2048x256", layer_norm(), 2048 * 256),
        ("softmax 16384x128", softmax, 16_384 * 128),
        ("adamw 262144", adamw(), 262_144),
    ] {
        let mut runner = device.runner(&plan).expect("views fit");
        group.throughput(Throughput::Elements(elements));
        group.bench_function(name, |b| b.iter(|| runner.run()));
    }
    group.finish();
    criterion.final_summary();
}
