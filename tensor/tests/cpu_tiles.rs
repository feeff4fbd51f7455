//! Attention and its gradient tile by tile: right, the same for any number of threads, and small.

use std::collections::HashMap;

use primer_tensor::gpu::GpuOptions;
use primer_tensor::passes::TileLimits;
use primer_tensor::plan::PlanReport;
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{CompareOp, DType, Device, Program, State, Tensor};

use crate::gpu_support::open;

pub const BATCH: usize = 4;
pub const HEADS: usize = 4;
const WIDTH: usize = 8;

fn leaf(name: &str, n: usize) -> Tensor {
    Tensor::state(name, [BATCH, HEADS, n, WIDTH])
}

/// out, dq, dk and dv of causal attention whose output is summed over heads before it meets the gradient, so that the
/// backward pass has to come after all of the forward pass.
fn attention(n: usize) -> Vec<Tensor> {
    attention_of(n, causal)
}

fn causal(scores: &Tensor) -> Tensor {
    let [query, key] = [2, 3].map(|axis| Tensor::iota(scores.shape(), axis, DType::U32));
    query.compare(CompareOp::Less, &key).select(&Tensor::constant(-1e30), scores)
}

fn attention_of(n: usize, mask: fn(&Tensor) -> Tensor) -> Vec<Tensor> {
    let [q, k, v] = ["q", "k", "v"].map(|name| leaf(name, n));
    let masked = mask(&q.matmul_t(false, &k, true));
    let e = (&masked - masked.max_axis(3)).exp();
    let p = &e / e.sum_axis(3);
    let out = p.matmul(&v);
    let d_out = leaf("gradient", n) * out.sum_axis(1);
    let dp = d_out.matmul_t(false, &v, true);
    let inner = &p * &dp;
    let ds = &inner - &p * inner.sum_axis(3);
    vec![out, ds.matmul(&k), ds.matmul_t(true, &q, false), p.matmul_t(true, &d_out, false)]
}

fn values(name: &str, n: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..BATCH * HEADS * n * WIDTH).map(next).collect()
}

const LEAVES: [&str; 4] = ["q", "k", "v", "gradient"];

/// Outputs on that many threads, and the plan's report.
fn on_cpu(n: usize, threads: usize) -> (Vec<Vec<f32>>, PlanReport) {
    run(&Device::cpu_with_threads(threads), n)
}

/// Outputs, and the plan's report.
pub fn run(device: &Device, n: usize) -> (Vec<Vec<f32>>, PlanReport) {
    let mut executable = device.compile(&Program::trace(&attention(n), &[]).expect("traces")).expect("compiles");
    let mut state = State::new(device);
    for name in LEAVES {
        state.insert(name, [BATCH, HEADS, n, WIDTH], &values(name, n)).expect("fits");
    }
    executable.run(&mut state, &[]).expect("runs");
    let outputs = (0..4).map(|i| executable.output(i).expect("an output")).collect();
    (outputs, *executable.report().expect("a plan"))
}

/// Holds the outputs against the oracle.
pub fn check(n: usize, found: &[Vec<f32>]) {
    check_within(n, found, 1e-5);
}

/// Holds the outputs against the oracle, to that part of their scale.
pub fn check_within(n: usize, found: &[Vec<f32>], tolerance: f64) {
    let program = Program::trace(&attention(n), &[]).expect("traces");
    let inputs: HashMap<String, Vec<f64>> =
        LEAVES.iter().map(|&name| (name.into(), values(name, n).into_iter().map(f64::from).collect())).collect();
    let expected = evaluate(&program, &inputs, Precision::F64).expect("evaluates");
    for (id, found) in program.outputs.iter().zip(found) {
        let expected = &expected[id].data;
        let scale = expected.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        for (e, f) in expected.iter().zip(found) {
            assert!((e - f64::from(*f)).abs() <= tolerance * scale, "{e} {f} at scale {scale}");
        }
    }
}

#[test]
fn tiled_attention_is_right_and_the_same_for_any_number_of_threads() {
    for n in [48, 67] {
        let (first, report) = on_cpu(n, 1);
        assert!(report.tile_bytes > 0, "large scores are held tile by tile");
        check(n, &first);
        for threads in [2, 4] {
            let (others, _) = on_cpu(n, threads);
            for (a, b) in first.iter().zip(&others) {
                assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads} threads");
            }
        }
    }
}

/// How a card holds squares; the software adapter has less at a time.
const CARD: TileLimits = TileLimits { bytes: 64 << 20, rows: 1024, fewest: 2, chunk: Some(256 << 20) };

#[test]
fn memory_grows_with_the_length_and_not_with_its_square() {
    let gpu = |tiles: Option<TileLimits>| Device::Gpu(open(GpuOptions { tiles, ..GpuOptions::default() }));
    let devices = [(Device::cpu_with_threads(2), 0), (gpu(None), 32 << 20), (gpu(Some(CARD)), 256 << 20)];
    for (device, chunk) in devices {
        for (mask, what) in [(causal as fn(&Tensor) -> Tensor, "causal"), (Tensor::clone, "open")] {
            let [short, long] = [2048, 8192].map(|n| {
                let program = Program::trace(&attention_of(n, mask), &[]).expect("traces");
                device.cost(&program).expect("a plan").peak_bytes()
            });
            // As many heads at a time as a chunk holds, whatever the length.
            assert!(long <= 4 * short + chunk, "{device}, {what}: {short} bytes for 2,048 tokens, {long} for 8,192");
        }
    }
}

#[test]
fn scores_are_held_for_the_heads_in_hand_alone() {
    let [short, long] = [96, 192].map(|n| on_cpu(n, 1).1);
    assert!(long.scratch_bytes <= 2 * short.scratch_bytes, "{} {}", short.scratch_bytes, long.scratch_bytes);
    // One head's scores, weights and their gradients, where all heads' would be sixteen times that.
    let one_head = 4 * 192 * 192;
    assert!(long.tile_bytes <= 5 * one_head, "{}", long.tile_bytes);
    assert!(long.scratch_bytes < 4 * one_head, "no scores of all heads: {}", long.scratch_bytes);
}
