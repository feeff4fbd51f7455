//! A feed-forward block with its residual and norm, its gradient and AdamW: as planned, whole products and then row
//! programs, against panels of some rows, each product followed at once by its row program.

use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput};
use primer_tensor::cpu::{CpuDevice, PlanRunner};
use primer_tensor::plan::{
    BufferId, BufferSpec, Extent, Instruction, Kernel, Place, Plan, RowOp, RowProgram, Store, StoreKind, View,
};
use primer_tensor::{CompareOp, DType, Shape, Tensor};

use crate::{assert_close, runner, traced};

const ROWS: usize = 2048;
const WIDTH: usize = 256;
const INNER: usize = 1024;

/// norm(x + max(x·W₁ + b, 0)·W₂), the outputs for [`ROWS`] rows.
fn forward() -> Plan {
    let x = Tensor::state("x", [ROWS, WIDTH]);
    let (w1, b) = (Tensor::state("w1", [WIDTH, INNER]), Tensor::state("b", [1, INNER]));
    let w2 = Tensor::state("w2", [INNER, WIDTH]);
    let (scale, shift) = (Tensor::state("scale", [1, WIDTH]), Tensor::state("shift", [1, WIDTH]));
    let y = &x + (x.matmul(&w1) + b).relu().matmul(&w2);
    let centred = &y - y.mean_axis(1);
    let normal = &centred / (centred.square().mean_axis(1) + 1e-6).sqrt();
    traced(&[normal * scale + shift], &[])
}

/// Its gradient from what the forward pass kept and from the output's, and AdamW over all five parameters; the output
/// is the gradient of x.
fn backward() -> Plan {
    let (x, g) = (Tensor::state("x", [ROWS, WIDTH]), Tensor::state("gradient", [ROWS, WIDTH]));
    let hidden = Tensor::state("hidden", [ROWS, INNER]);
    let (normal, deviation) = (Tensor::state("normal", [ROWS, WIDTH]), Tensor::state("deviation", [ROWS, 1]));
    let (w1, w2) = (Tensor::state("w1", [WIDTH, INNER]), Tensor::state("w2", [INNER, WIDTH]));
    let scale = Tensor::state("scale", [1, WIDTH]);

    let scaled = &g * &scale;
    let dy = (&scaled - scaled.mean_axis(1) - &normal * (&scaled * &normal).mean_axis(1)) / &deviation;
    let dh = dy.matmul_t(false, &w2, true);
    let da = Tensor::constant(0.0).compare(CompareOp::Less, &hidden).select(&dh, &Tensor::constant(0.0));
    let dx = da.matmul_t(false, &w1, true) + &dy;

    let column = |name| Tensor::state(name, [1, if name == "b" { INNER } else { WIDTH }]);
    let updates = [
        ("w1", w1, x.matmul_t(true, &da, false)),
        ("w2", w2, hidden.matmul_t(true, &dy, false)),
        ("b", column("b"), da.sum_axis(0)),
        ("scale", scale, (&g * &normal).sum_axis(0)),
        ("shift", column("shift"), g.sum_axis(0)),
    ]
    .into_iter()
    .flat_map(|(name, p, g)| {
        let [m, v] = ["moment1", "moment2"].map(|what| Tensor::state(&format!("{what} {name}"), p.shape().clone()));
        let new_m = &m * 0.9 + &g * 0.1;
        let new_v = &v * 0.98 + g.square() * 0.02;
        let step = (&new_m * 1.1) / ((&new_v * 1.2).sqrt() + 1e-8) + &p * 0.01;
        [(p.clone(), &p - step * 1e-6), (m, new_m), (v, new_v)]
    });
    traced(&[dx], &updates.collect::<Vec<_>>())
}

/// Whether the buffer is scratch that nothing outside the plan reads.
fn is_inner(plan: &Plan, buffer: BufferId) -> bool {
    matches!(plan.buffers[buffer.index()].place, Place::Slot(_)) && !plan.outputs.contains(&buffer)
}

/// Whether the kernel computes each row of its results from the same row of its operands, or sums over those rows.
fn is_by_rows(kernel: &Kernel) -> bool {
    match kernel {
        Kernel::MatMul(product) => product.out.dims[0] == ROWS,
        Kernel::Row(program) => program.rows == ROWS,
        _ => false,
    }
}

/// How rows are cut into panels.
#[derive(Clone, Copy)]
struct Cut {
    /// Rows a panel.
    rows: usize,
    /// Whether values between kernels are kept, as training needs, or held for one panel only.
    keep: bool,
    /// Of this many threads that share the panels …
    among: usize,
    /// … those of this one.
    thread: usize,
}

/// The plan with every kernel that goes by rows run on one panel before any on the next. Column sums leave a panel as
/// partial sums, which are added up at the end; then come the kernels that don't go by rows.
fn panels(whole: &Plan, Cut { rows, keep, among, thread }: Cut) -> Plan {
    let (by_rows, after): (Vec<&Kernel>, Vec<&Kernel>) = whole.kernels.iter().partition(|kernel| is_by_rows(kernel));
    for (position, late) in whole.kernels.iter().enumerate().filter(|(_, kernel)| !is_by_rows(kernel)) {
        let next = || whole.kernels[position..].iter().filter(|kernel| is_by_rows(kernel)).flat_map(Kernel::reads);
        let is_waited_for = late.writes().iter().any(|view| next().any(|read| read.buffer == view.buffer));
        assert!(!is_waited_for, "a kernel by rows needs one that is not");
    }
    let mut plan = Plan { kernels: Vec::new(), ..whole.clone() };
    if !keep {
        for position in 0..plan.buffers.len() {
            if is_inner(whole, BufferId(position as u32)) {
                let columns = plan.buffers[position].shape.last();
                plan.buffers[position].shape = [rows, columns].into();
            }
        }
    }
    let mut partials: Vec<(View, View)> = Vec::new();
    for start in (thread * rows..ROWS).step_by(among * rows) {
        let panel = |view: &View| {
            assert_eq!(view.dims[0], ROWS, "one row of the view for each of the kernel");
            let part = view.slice(0, start, start + rows);
            if keep || !is_inner(whole, view.buffer) { part } else { View { offset: view.offset, ..part } }
        };
        for &kernel in &by_rows {
            let mut kernel = kernel.clone();
            match &mut kernel {
                Kernel::MatMul(product) => {
                    product.a = panel(&product.a);
                    product.out = panel(&product.out);
                }
                Kernel::Row(program) => {
                    program.rows = rows;
                    program.loads = program.loads.iter().map(panel).collect();
                    for store in &mut program.stores {
                        store.to = match store.kind {
                            StoreKind::Elements => panel(&store.to),
                            StoreKind::ColumnSum => {
                                let known = partials.iter().position(|(_, sum)| *sum == store.to);
                                let position = known.unwrap_or_else(|| {
                                    partials.push((partial(&mut plan, rows, program.length), store.to.clone()));
                                    partials.len() - 1
                                });
                                let all = &partials[position].0;
                                View { buffer: all.buffer, offset: start / rows * program.length, ..store.to.clone() }
                            }
                        };
                    }
                }
                other => panic!("not a kernel of the feed-forward block: {other:?}"),
            }
            plan.kernels.push(kernel);
        }
    }
    plan.kernels.extend(partials.into_iter().map(|(partial, sum)| add_up(partial, sum)));
    plan.kernels.extend(after.into_iter().cloned());
    plan
}

/// A buffer for one partial sum a panel.
fn partial(plan: &mut Plan, rows: usize, length: usize) -> View {
    let shape = Shape::from([ROWS / rows, length]);
    let id = BufferId(plan.buffers.len() as u32);
    plan.buffers.push(BufferSpec::new(shape.clone(), DType::F32, Place::Slot(plan.slots.len())));
    plan.slots.push(shape.numel());
    View::contiguous(id, &shape)
}

/// The sum over the rows of `partial`.
fn add_up(partial: View, sum: View) -> Kernel {
    let load = Instruction { op: RowOp::Load(0), operands: Vec::new(), extent: Extent::Full, dtype: DType::F32 };
    let (rows, length) = (partial.dims[0], partial.dims[1]);
    let stores = vec![Store { value: 0, to: sum, kind: StoreKind::ColumnSum }];
    Kernel::Row(RowProgram { rows, length, loads: vec![partial], body: vec![load], stores })
}

/// Bytes of all values between kernels.
fn inner_bytes(plan: &Plan) -> usize {
    let inner = (0..plan.buffers.len()).filter(|&i| is_inner(plan, BufferId(i as u32)));
    4 * inner.map(|i| plan.buffers[i].shape.numel()).sum::<usize>()
}

fn profile(what: &str, plan: &Plan) {
    println!("{what} as planned, 2 threads, {} bytes between kernels:", inner_bytes(plan));
    let mut profiled = runner(&CpuDevice::new(Some(2)), plan);
    profiled.run();
    profiled.profile().iter().for_each(|(label, time)| println!("  {label}: {time:?}"));
}

/// Output and state of a plan that has run once.
fn assert_same(found: &PlanRunner, expected: &PlanRunner, plan: &Plan) {
    let is_kept = |&i: &usize| matches!(plan.buffers[i].place, Place::State(_));
    let kept = (0..plan.buffers.len()).filter(is_kept).map(|i| BufferId(i as u32));
    for buffer in kept.chain(plan.outputs.iter().copied()) {
        assert_close(found.read(buffer), expected.read(buffer), &format!("{:?}", plan.buffers[buffer.index()]));
    }
}

/// The plan as it is and in panels.
fn compare(criterion: &mut Criterion, what: &str, whole: &Plan, cuts: &[(usize, bool)]) {
    profile(what, whole);
    let mut group = criterion.benchmark_group(what);
    group.throughput(Throughput::Elements(whole.report.matmul_flops));
    for threads in [1, 2] {
        let device = CpuDevice::new(Some(threads));
        let mut planned = runner(&device, whole);
        planned.run();
        for &(rows, keep) in cuts {
            let plan = panels(whole, Cut { rows, keep, among: 1, thread: 0 });
            let mut cut = runner(&device, &plan);
            cut.run();
            assert_same(&cut, &planned, whole);
            let kept = if keep { "kept" } else { "dropped" };
            println!("panels of {rows}, {kept}: {} bytes between kernels", inner_bytes(&plan));
            group.bench_function(BenchmarkId::new(format!("panels {rows} {kept}"), threads), |b| b.iter(|| cut.run()));
        }
        group.bench_function(BenchmarkId::new("whole", threads), |b| b.iter(|| planned.run()));
    }
    group.finish();
}

/// No barrier: each of two threads takes its own panels through the whole forward pass.
fn compare_alone(criterion: &mut Criterion) {
    let whole = forward();
    let mut planned = runner(&CpuDevice::new(Some(2)), &whole);
    planned.run();
    let expected = planned.read(whole.outputs[0]);
    let mut group = criterion.benchmark_group("forward");
    for rows in [128, 256] {
        let shares = [0, 1].map(|thread| panels(&whole, Cut { rows, keep: false, among: 2, thread }));
        let mut runners = shares.each_ref().map(|plan| runner(&CpuDevice::new(Some(1)), plan));
        let mut run = || {
            thread::scope(|scope| {
                let [first, second] = &mut runners;
                scope.spawn(|| first.run());
                second.run();
            });
        };
        run();
        group.bench_function(BenchmarkId::new(format!("panels {rows} a thread each"), 2), |b| b.iter(&mut run));
        for (row, expected) in expected.chunks_exact(WIDTH).enumerate() {
            let found = runners[row / rows % 2].read(whole.outputs[0]);
            assert_close(&found[row * WIDTH..][..WIDTH], expected, "panels of a thread each");
        }
    }
    group.finish();
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let cuts = [(128, true), (256, true), (512, true), (128, false), (256, false), (512, false)];
    compare(criterion, "forward", &forward(), &cuts);
    compare_alone(criterion);
    // Weights' gradients need what lies between.
    compare(criterion, "backward and AdamW", &backward(), &cuts[..3]);
}
