//! The discovered attention as planned, n×n in memory, against blocks of query rows that skip the masked keys.

use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput};
use primer_tensor::cpu::CpuDevice;
use primer_tensor::plan::Plan;
use primer_tensor::{CompareOp, DType, Tensor};

use crate::{assert_close, numbers, runner, traced};

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
    let (out, a, b, alone) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr(), gemm_common::Parallelism::None);
    let gemm = gemm_f32::gemm::f32::get_gemm_fn();
    // The kernels want columns of neighbours, so the transpose is computed: bᵀ·aᵀ.
    // SAFETY: all elements lie within the slices, by the assertion.
    unsafe { gemm(n, m, k, out, n_, 1, false, b, row, col, a, k_, 1, 0.0, 1.0, false, false, false, alone) };
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

pub(crate) fn bench(criterion: &mut Criterion) {
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
