//! Two questions of the design, asked of the CPU: do panels pay, does the sandwich pay? Answers: `docs/prototypes.md`.
//! - `ffn`: a feed-forward block with its residual and norm as planned, whole products and then row programs, against panels of
//!   some rows, each product followed at once by its row program.
//! - `sandwich`: the discovered attention as planned, n×n in memory, against blocks of query rows that skip the masked keys.
//!
//! Variants are asserted to agree and timed.

#![expect(clippy::print_stdout, reason = "a bench reports")]

use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use primer_tensor::cpu::{CpuDevice, PlanRunner};
use primer_tensor::passes::{self, PlanLimits};
use primer_tensor::plan::{BufferId, Kernel, Place, Plan, View};
use primer_tensor::{CompareOp, DType, Program, Tensor};

/// The plan of recorded tensors.
fn traced(outputs: &[Tensor], updates: &[(Tensor, Tensor)]) -> Plan {
    let program = Program::trace(outputs, updates).expect("a program");
    passes::plan(&program, PlanLimits { buffers: usize::MAX }).expect("a plan")
}

/// Numbers in [−¼, ¼), or their absolute values for second moments: the same for the same name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let x = (state >> 8) as f32 / (1 << 25) as f32 - 0.25;
        if name.starts_with("moment2") { x.abs() } else { x }
    };
    (0..count).map(next).collect()
}

/// The compiled plan with every state entry filled.
fn runner(device: &CpuDevice, plan: &Plan) -> PlanRunner {
    let mut runner = device.runner(plan).expect("views fit");
    for (position, spec) in plan.buffers.iter().enumerate() {
        if let Place::State(name) = &spec.place {
            let values = numbers(name, spec.shape.numel());
            runner.write(BufferId(position as u32), &values).expect("a buffer of that length");
        }
    }
    runner
}

/// |a − b| ≤ 2e-5·(largest |b|).
fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let distance = a.iter().zip(b).fold(0.0f32, |max, (x, y)| max.max((x - y).abs()));
    assert!(scale > 0.0 && distance <= 2e-5 * scale, "{what}: {distance} apart at scale {scale}");
}

/// Whether the buffer is scratch that nothing outside the plan reads.
fn is_inner(plan: &Plan, buffer: BufferId) -> bool {
    matches!(plan.buffers[buffer.index()].place, Place::Slot(_)) && !plan.outputs.contains(&buffer)
}

const ROWS: usize = 2048;

/// norm(x + max(x·W₁ + b, 0)·W₂), the outputs for [`ROWS`] rows.
fn feed_forward() -> Plan {
    let x = Tensor::state("x", [ROWS, 256]);
    let (w1, b) = (Tensor::state("w1", [256, 1024]), Tensor::state("b", [1, 1024]));
    let w2 = Tensor::state("w2", [1024, 256]);
    let (scale, shift) = (Tensor::state("scale", [1, 256]), Tensor::state("shift", [1, 256]));
    let y = &x + (x.matmul(&w1) + b).relu().matmul(&w2);
    let centred = &y - y.mean_axis(1);
    let normal = &centred / (centred.square().mean_axis(1) + 1e-6).sqrt();
    traced(&[normal * scale + shift], &[])
}

/// AdamW over both matrices.
fn adamw() -> Plan {
    let updates = ["w1", "w2"].into_iter().flat_map(|w| {
        let entry = |what: &str| Tensor::state(&format!("{what} {w}"), [1024, 256]);
        let [p, m, v, g] = ["weight", "moment1", "moment2", "gradient"].map(entry);
        let new_m = &m * 0.9 + &g * 0.1;
        let new_v = &v * 0.98 + g.square() * 0.02;
        let step = (&new_m * 1.1) / ((&new_v * 1.2).sqrt() + 1e-8) + &p * 0.01;
        [(p.clone(), &p - step * 1e-3), (m, new_m), (v, new_v)]
    });
    traced(&[], &updates.collect::<Vec<_>>())
}

/// The plan cut into panels of `rows` rows, every kernel on one panel before any on the next; of `among` threads that share the
/// panels, those of `thread`. Unless `keep`, values between kernels are held for one panel only, as inference may and training,
/// whose gradients read them, may not.
fn panels(whole: &Plan, rows: usize, keep: bool, thread: usize, among: usize) -> Plan {
    let mut plan = Plan { kernels: Vec::new(), ..whole.clone() };
    if !keep {
        for position in 0..plan.buffers.len() {
            if is_inner(whole, BufferId(position as u32)) {
                let columns = plan.buffers[position].shape.last();
                plan.buffers[position].shape = [rows, columns].into();
            }
        }
    }
    for start in (thread * rows..ROWS).step_by(among * rows) {
        let panel = |view: &View| {
            assert_eq!(view.dims[0], ROWS, "the feed-forward block is rows all through");
            let part = view.slice(0, start, start + rows);
            if keep || !is_inner(whole, view.buffer) { part } else { View { offset: view.offset, ..part } }
        };
        for kernel in &whole.kernels {
            let mut kernel = kernel.clone();
            match &mut kernel {
                Kernel::MatMul(product) => {
                    product.a = panel(&product.a);
                    product.out = panel(&product.out);
                }
                Kernel::Row(program) => {
                    program.rows = rows;
                    program.loads = program.loads.iter().map(panel).collect();
                    program.stores.iter_mut().for_each(|store| store.to = panel(&store.to));
                }
                other => panic!("not a kernel of the feed-forward block: {other:?}"),
            }
            plan.kernels.push(kernel);
        }
    }
    plan
}

fn bench_panels(criterion: &mut Criterion) {
    let whole = feed_forward();
    println!("feed-forward block as planned, 2 threads:");
    let mut profiled = runner(&CpuDevice::new(Some(2)), &whole);
    profiled.run();
    profiled.profile().iter().for_each(|(label, time)| println!("  {label}: {time:?}"));

    let inner_bytes = |plan: &Plan| {
        let inner = (0..plan.buffers.len()).filter(|&i| is_inner(plan, BufferId(i as u32)));
        4 * inner.map(|i| plan.buffers[i].shape.numel()).sum::<usize>()
    };
    let mut group = criterion.benchmark_group("ffn");
    group.throughput(Throughput::Elements(whole.report.matmul_flops));
    for threads in [1, 2] {
        let device = CpuDevice::new(Some(threads));
        let mut planned = runner(&device, &whole);
        planned.run();
        let expected = planned.read(whole.outputs[0]).to_vec();
        group.bench_function(BenchmarkId::new("whole", threads), |b| b.iter(|| planned.run()));
        for (rows, keep) in [(128, true), (128, false), (256, false), (512, false)] {
            let plan = panels(&whole, rows, keep, 0, 1);
            let mut cut = runner(&device, &plan);
            cut.run();
            assert_close(cut.read(plan.outputs[0]), &expected, "panels");
            let kept = if keep { "kept" } else { "dropped" };
            println!(
                "panels of {rows}, {kept}: {} bytes between kernels, whole {}",
                inner_bytes(&plan),
                inner_bytes(&whole)
            );
            group.bench_function(BenchmarkId::new(format!("panels {rows} {kept}"), threads), |b| b.iter(|| cut.run()));
        }
        if threads == 1 {
            continue;
        }
        // No barrier: each thread takes its own panels through the whole block.
        for rows in [128, 256] {
            let shares = [0, 1].map(|thread| panels(&whole, rows, false, thread, 2));
            let mut runners = shares.each_ref().map(|plan| runner(&CpuDevice::new(Some(1)), plan));
            let mut run = || {
                thread::scope(|scope| {
                    let [first, second] = &mut runners;
                    scope.spawn(|| first.run());
                    second.run();
                });
            };
            run();
            group.bench_function(BenchmarkId::new(format!("panels {rows} a thread each"), threads), |b| {
                b.iter(&mut run)
            });
            for (row, expected) in expected.chunks_exact(256).enumerate() {
                let found = runners[row / rows % 2].read(whole.outputs[0]);
                assert_close(&found[row * 256..][..256], expected, "panels of a thread each");
            }
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("adamw");
    let mut planned = runner(&CpuDevice::new(Some(2)), &adamw());
    group.throughput(Throughput::Elements(2 * 1024 * 256));
    group.bench_function("w1 and w2, 2 threads", |b| b.iter(|| planned.run()));
    group.finish();
}

const HEADS: usize = 8;
const HEAD_DIM: usize = 32;

/// tanh(mask(exp(q·kᵀ)) / Σ) · s · v, with `s` one number a key and head.
fn attention(batch: usize, n: usize) -> Plan {
    let [q, k, v] = ["q", "k", "v"].map(|name| Tensor::state(name, [batch, HEADS, n, HEAD_DIM]));
    let scale = Tensor::state("s", [1, HEADS, 1, n]);
    let e = q.matmul_t(false, &k, true).exp();
    let [query, key] = [2, 3].map(|axis| Tensor::iota([batch, HEADS, n, n], axis, DType::U32));
    let masked = query.compare(CompareOp::Less, &key).select(&Tensor::constant(0.0), &e);
    let weights = (&masked / masked.sum_axis(3)).tanh() * scale;
    traced(&[weights.matmul(&v)], &[])
}

#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// eˣ for |x| ≤ 87: 2ⁿ and the Taylor series of the rest.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -3.194_618_3e-5, mul_add::<FMA>(n, -0.693_115_23, x));
    let series = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let y = series.into_iter().fold(1.0 / 720.0, |y, c| mul_add::<FMA>(y, r, c));
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits())).wrapping_add(127) << 23;
    y * f32::from_bits(exponent)
}

/// tanh x for |x| ≤ 1, which a part of a sum of positive terms is: its continued fraction cut after the seventh term.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    let z = x * x;
    let over = [378.0, 17_325.0, 135_135.0].into_iter().fold(1.0, |y, c| mul_add::<FMA>(y, z, c));
    let under = [3_150.0, 62_370.0, 135_135.0].into_iter().fold(28.0, |y, c| mul_add::<FMA>(y, z, c));
    x * over / under
}

/// One row of scores, of which `live` are not masked, to weights.
#[inline(always)]
fn weigh_row<const FMA: bool>(row: &mut [f32], live: usize, scale: &[f32]) {
    const LANES: usize = 16;
    let (near, rest) = row.split_at_mut(live.next_multiple_of(LANES));
    rest.fill(0.0);
    near.iter_mut().for_each(|x| *x = exp::<FMA>(*x));
    near[live..].fill(0.0);
    let mut sums = [0.0; LANES];
    for lanes in near.as_chunks::<LANES>().0 {
        for (sum, x) in sums.iter_mut().zip(lanes) {
            *sum += x;
        }
    }
    let inverse = 1.0 / sums.iter().sum::<f32>();
    for (x, s) in near.iter_mut().zip(scale) {
        *x = tanh::<FMA>(*x * inverse) * s;
    }
}

/// Rows of scores from query `first` on, each `keys` long.
#[inline(always)]
fn weigh<const FMA: bool>(scores: &mut [f32], keys: usize, first: usize, scale: &[f32]) {
    for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
        weigh_row::<FMA>(row, first + i + 1, scale);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn weigh_avx512(scores: &mut [f32], keys: usize, first: usize, scale: &[f32]) {
    weigh::<true>(scores, keys, first, scale);
}

fn weigh_best(scores: &mut [f32], keys: usize, first: usize, scale: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions.
        return unsafe { weigh_avx512(scores, keys, first, scale) };
    }
    weigh::<false>(scores, keys, first, scale);
}

/// out `[m, n]` = a `[m, k]` · b, whose row and column strides are given.
fn product([m, n, k]: [usize; 3], out: &mut [f32], a: &[f32], b: &[f32], (row, col): (usize, usize)) {
    assert!(out.len() >= m * n && a.len() >= m * k && b.len() > (k - 1) * row + (n - 1) * col);
    let (n_, k_, row, col) = (n as isize, k as isize, row as isize, col as isize);
    let (out, a, b, alone) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), gemm::Parallelism::None);
    // SAFETY: all elements lie within the slices, by the assertion.
    unsafe { gemm::gemm(m, n, k, out, 1, n_, false, a, 1, k_, b, col, row, 0.0, 1.0, false, false, false, alone) };
}

/// The same attention, a block of query rows at a time. `scratch` has block·n elements for each thread.
fn sandwich(inputs: &[Vec<f32>; 4], out: &mut [f32], n: usize, scratch: &mut [Vec<f32>]) {
    let [q, k, v, scale] = inputs;
    let (size, threads) = (n * HEAD_DIM, scratch.len());
    let mut shares: Vec<Vec<(usize, &mut [f32])>> = (0..threads).map(|_| Vec::new()).collect();
    out.chunks_exact_mut(size).enumerate().for_each(|(head, out)| shares[head % threads].push((head, out)));
    thread::scope(|scope| {
        for (share, scores) in shares.into_iter().zip(scratch) {
            scope.spawn(move || {
                let block = scores.len() / n;
                for (head, out) in share {
                    let [q, k, v] = [q, k, v].map(|x| &x[head * size..][..size]);
                    let scale = &scale[head % HEADS * n..][..n];
                    for (first, out) in (0..n).step_by(block).zip(out.chunks_exact_mut(block * HEAD_DIM)) {
                        // Later keys are masked for every query of the block, and zeros change no sum.
                        let keys = first + block;
                        let scores = &mut scores[..block * keys];
                        product([block, keys, HEAD_DIM], scores, &q[first * HEAD_DIM..], k, (1, HEAD_DIM));
                        weigh_best(scores, keys, first, scale);
                        product([block, HEAD_DIM, keys], out, scores, v, (HEAD_DIM, 1));
                    }
                }
            });
        }
    });
}

fn bench_sandwich(criterion: &mut Criterion) {
    let device = CpuDevice::new(Some(2));
    let mut group = criterion.benchmark_group("sandwich");
    for (batch, n) in [(16, 128), (2, 1024)] {
        let plan = attention(batch, n);
        let elements = batch * HEADS * n * HEAD_DIM;
        let mut planned = runner(&device, &plan);
        planned.run();
        println!("attention as planned, {batch} × {HEADS} heads, {n} positions:");
        planned.profile().iter().for_each(|(label, time)| println!("  {label}: {time:?}"));
        let held = plan.report.scratch_bytes - 4 * elements as u64;
        group.throughput(Throughput::Elements((batch * HEADS * n) as u64));
        group.bench_function(BenchmarkId::new("planned", n), |b| b.iter(|| planned.run()));

        let inputs = ["q", "k", "v", "s"].map(|name| numbers(name, if name == "s" { HEADS * n } else { elements }));
        let mut out = vec![0.0; elements];
        for block in [16, 32, 64, 128] {
            let mut scratch = vec![vec![0.0; block * n]; 2];
            sandwich(&inputs, &mut out, n, &mut scratch);
            assert_close(&out, planned.read(plan.outputs[0]), "sandwich");
            println!("{n} positions: {held} bytes as planned, {} in blocks of {block}", 4 * 2 * block * n);
            let name = BenchmarkId::new(format!("blocks of {block}"), n);
            group.bench_function(name, |b| b.iter(|| sandwich(&inputs, &mut out, n, &mut scratch)));
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    bench_panels(&mut criterion);
    bench_sandwich(&mut criterion);
    criterion.final_summary();
}
