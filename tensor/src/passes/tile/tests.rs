//! What is tiled, and that it computes the same. Values are checked by the interpreter, which spoils each tile's
//! memory.

use super::super::tests::check_plan;
use super::super::{PlanLimits, TileLimits};
use crate::plan::{Kernel, Place, Plan, Tiled};
use crate::{CompareOp, DType, Program, Tensor};

const B: usize = 4;
const H: usize = 4;
const N: usize = 6;
const D: usize = 3;

fn planned(outputs: &[Tensor], updates: &[(Tensor, Tensor)]) -> Plan {
    cut(outputs, updates, usize::MAX)
}

/// As [`planned`], with causal squares computed in blocks of that many rows up to their diagonals.
fn cut(outputs: &[Tensor], updates: &[(Tensor, Tensor)], rows: usize) -> Plan {
    let program = Program::trace(outputs, updates).expect("traces");
    let limits = |tiles: TileLimits| PlanLimits { tiles: Some(tiles), ..PlanLimits::default() };
    let tiles = TileLimits { bytes: 1, rows, fewest: 16, chunk: None };
    let plan = check_plan(&program, limits(tiles));
    // Chunk by chunk: whole rows of tiles, single ones, and all at once.
    for bytes in [2000, 1, usize::MAX] {
        let chunks = check_plan(&program, limits(TileLimits { chunk: Some(bytes), ..tiles }));
        assert!(chunks.buffers.iter().all(|buffer| buffer.place != Place::Tile) && tiled(&chunks).is_empty());
        assert_eq!((chunks.report.flops, chunks.report.tile_bytes), (plan.report.flops, 0));
    }
    plan
}

fn tiled(plan: &Plan) -> Vec<&Tiled> {
    plan.kernels
        .iter()
        .filter_map(|kernel| if let Kernel::Tiled(tiled) = kernel { Some(tiled) } else { None })
        .collect()
}

fn heads(x: &Tensor, w: &str) -> Tensor {
    let y = x.matmul(&Tensor::state(w, [H * D, H * D]));
    y.reshape([B, N, H, D]).permute(&[0, 2, 1, 3])
}

fn input() -> Tensor {
    Tensor::data("x", [B * N, H * D], DType::F32)
}

/// Causal weights of each head.
fn weights(q: &Tensor, k: &Tensor) -> Tensor {
    let scores = q.matmul_t(false, k, true);
    let [query, key] = [2, 3].map(|axis| Tensor::iota(scores.shape(), axis, DType::U32));
    query.compare(CompareOp::Less, &key).select(&Tensor::constant(-1e30), &scores).softmax()
}

/// The gradient of a softmax of `p`.
fn softmax_gradient(p: &Tensor, dp: &Tensor) -> Tensor {
    let inner = p * dp;
    &inner - p * inner.sum_axis(3)
}

fn is_square(plan: &Plan, place: impl Fn(&Place) -> bool) -> usize {
    plan.buffers.iter().filter(|b| b.shape.numel() == B * H * N * N && place(&b.place)).count()
}

#[test]
fn attention_is_one_kernel_that_holds_one_head() {
    let x = input();
    let (q, k, v) = (heads(&x, "q"), heads(&x, "k"), heads(&x, "v"));
    let merged = weights(&q, &k).matmul(&v).permute(&[0, 2, 1, 3]).reshape([B * N, H * D]);
    let plan = planned(&[merged.matmul(&Tensor::state("o", [H * D, H * D]))], &[]);
    let tiles = tiled(&plan);
    assert_eq!((tiles.len(), tiles[0].kernels.len(), tiles[0].dims.as_slice()), (1, 3, [B, H].as_slice()));
    assert_eq!(plan.kernels.len(), 5, "three projections, the attention, the output's projection");
    assert_eq!(is_square(&plan, |place| *place != Place::Tile), 0, "{plan:#?}");
}

#[test]
fn a_chunk_holds_no_more_tiles_than_fit() {
    let x = input();
    let (q, k, v) = (heads(&x, "q"), heads(&x, "k"), heads(&x, "v"));
    let program = Program::trace(&[weights(&q, &k).matmul(&v)], &[]).expect("traces");
    let head = 2 * 4 * N * N;
    // Scores and weights of every head; of three heads, which are two of four for the sake of equal chunks; of two
    // sequences.
    for (bytes, chunks, heads) in
        [(usize::MAX, 1, 16), (16 * head, 1, 16), (3 * head, 8, 2), (head, 16, 1), (11 * head, 2, 8)]
    {
        let tiles = Some(TileLimits { bytes: 1, rows: usize::MAX, fewest: 2, chunk: Some(bytes) });
        let plan = check_plan(&program, PlanLimits { tiles, ..PlanLimits::default() });
        assert_eq!(
            plan.kernels.len(),
            3 + 3 * chunks,
            "three projections, and scores, weights and mixture of each chunk"
        );
        let held = plan.buffers.iter().filter(|buffer| buffer.shape.rank() == 1).map(|buffer| buffer.shape.numel());
        assert!(held.eq(vec![heads * N * N; 2 * chunks]), "{plan:#?} for {bytes} bytes");
    }
}

#[test]
fn its_gradient_computes_the_weights_again() {
    let x = input();
    let (q, k, v) = (heads(&x, "q"), heads(&x, "k"), heads(&x, "v"));
    let p = weights(&q, &k);
    let o = p.matmul(&v);
    let merged = o.permute(&[0, 2, 1, 3]).reshape([B * N, H * D]);
    let d_o = heads(&merged, "back");
    let ds = softmax_gradient(&p, &d_o.matmul_t(false, &v, true));
    let (dq, dk, dv) = (ds.matmul(&k), ds.matmul_t(true, &q, false), p.matmul_t(true, &d_o, false));
    let plan = planned(&[o, dq, dk, dv], &[]);
    let tiles = tiled(&plan);
    assert_eq!(tiles.len(), 2, "forward and backward: {plan:#?}");
    assert_eq!(tiles[1].kernels.len(), 7, "scores, weights, and the five of the gradient");
    assert_eq!(is_square(&plan, |place| *place != Place::Tile), 0, "no scores and no weights are stored");
}

/// Output and gradients of attention with these weights.
fn forward_and_backward(weights: impl Fn(&Tensor, &Tensor) -> Tensor) -> Vec<Tensor> {
    let x = input();
    let (q, k, v) = (heads(&x, "q"), heads(&x, "k"), heads(&x, "v"));
    let p = weights(&q, &k);
    let o = p.matmul(&v);
    let d_o = heads(&o.permute(&[0, 2, 1, 3]).reshape([B * N, H * D]), "back");
    let ds = softmax_gradient(&p, &d_o.matmul_t(false, &v, true));
    vec![o, ds.matmul(&k), ds.matmul_t(true, &q, false), p.matmul_t(true, &d_o, false)]
}

/// FLOPs of the seven products of attention's squares, whole and cut.
fn square_flops(outputs: &[Tensor]) -> [u64; 2] {
    [usize::MAX, 2].map(|rows| {
        let plan = cut(outputs, &[], rows);
        tiled(&plan).into_iter().flat_map(|tiled| &tiled.kernels).map(Kernel::matmul_flops).sum()
    })
}

#[test]
fn the_masked_half_is_not_computed() {
    // Rows in blocks of two: of the 36 positions of a square 12 lie beyond their block's last column.
    let [whole, half] = square_flops(&forward_and_backward(weights));
    assert_eq!(whole, 7 * 2 * (B * H * N * N * D) as u64);
    assert_eq!(half * 36, whole * 24);
}

#[test]
fn an_evolved_softmax_leaves_the_masked_half_out_too() {
    let evolved = |q: &Tensor, k: &Tensor| {
        let e = q.matmul_t(false, k, true).exp();
        let [query, key] = [2, 3].map(|axis| Tensor::iota(e.shape(), axis, DType::F32));
        let masked = query.compare(CompareOp::Less, &key).select(&Tensor::constant(0.0), &e);
        (&masked / masked.sum_axis(3)).tanh() * Tensor::state("s", [1, H, 1, N])
    };
    let [whole, half] = square_flops(&forward_and_backward(evolved));
    assert_eq!(half * 36, whole * 24);
}

#[test]
fn what_is_not_masked_or_not_zero_is_computed_whole() {
    let open = |q: &Tensor, k: &Tensor| q.matmul_t(false, k, true).softmax();
    let shifted = |q: &Tensor, k: &Tensor| weights(q, k) + 0.25;
    let early = |q: &Tensor, k: &Tensor| {
        // The maximum sees the future.
        let scores = q.matmul_t(false, k, true);
        let [query, key] = [2, 3].map(|axis| Tensor::iota(scores.shape(), axis, DType::U32));
        let e = (&scores - scores.max_axis(3)).exp();
        query.compare(CompareOp::Less, &key).select(&Tensor::constant(0.0), &e)
    };
    let backwards = |q: &Tensor, k: &Tensor| {
        let scores = q.matmul_t(false, k, true);
        let [query, key] = [2, 3].map(|axis| Tensor::iota(scores.shape(), axis, DType::U32));
        key.compare(CompareOp::Less, &query).select(&Tensor::constant(-1e30), &scores).softmax()
    };
    for [whole, half] in [
        square_flops(&forward_and_backward(open)),
        square_flops(&forward_and_backward(shifted)),
        square_flops(&forward_and_backward(early)),
        square_flops(&forward_and_backward(backwards)),
    ] {
        assert_eq!(whole, half);
    }
}

#[test]
fn large_squares_are_held_by_rows_though_nothing_is_masked() {
    const LONG: usize = 520;
    let [q, k, v, back] = ["q", "k", "v", "back"].map(|name| Tensor::data(name, [1, 2, LONG, D], DType::F32));
    let p = q.matmul_t(false, &k, true).softmax();
    let o = p.matmul(&v);
    let d_o = o.sum_axis(1) * back;
    let ds = softmax_gradient(&p, &d_o.matmul_t(false, &v, true));
    let outputs = [o, ds.matmul(&k), ds.matmul_t(true, &q, false), p.matmul_t(true, &d_o, false)];
    let program = Program::trace(&outputs, &[]).expect("traces");
    for chunk in [None, Some(1)] {
        let tiles = Some(TileLimits { bytes: 1 << 20, rows: 32, fewest: 2, chunk });
        let plan = check_plan(&program, PlanLimits { tiles, ..PlanLimits::default() });
        let largest = plan.buffers.iter().map(|buffer| buffer.shape.numel()).max();
        assert!(largest <= Some(2 * LONG * 65), "{largest:?} of {} elements", 2 * LONG * LONG);
        assert_eq!(plan.report.matmul_flops, 7 * 2 * (2 * LONG * LONG * D) as u64, "scores are computed twice");
    }
}

/// What follows the scores element by element is an epilogue of each block's product, and the blocks share a buffer.
#[test]
fn blocks_with_epilogues_keep_their_buffer() {
    const LONG: usize = 520;
    let [q, k, v] = ["q", "k", "v"].map(|name| Tensor::data(name, [2, LONG, D], DType::F32));
    let program = Program::trace(&[q.matmul_t(false, &k, true).sigmoid().matmul(&v)], &[]).expect("traces");
    for rows in [32, 130] {
        let tiles = Some(TileLimits { bytes: 1 << 20, rows, fewest: 2, chunk: Some(1) });
        check_plan(&program, PlanLimits { tiles, epilogues: true, ..PlanLimits::default() });
    }
}

#[test]
fn gradients_that_share_a_buffer_are_in_the_same_tiles() {
    let x = input();
    let all = x.matmul(&Tensor::state("qkv", [H * D, 3 * H * D]));
    let [q, k, v] =
        [0, 1, 2].map(|i| all.slice(1, i * H * D, (i + 1) * H * D).reshape([B, N, H, D]).permute(&[0, 2, 1, 3]));
    let p = weights(&q, &k);
    let o = p.matmul(&v).permute(&[0, 2, 1, 3]).reshape([B * N, H * D]);
    let d_o = heads(&o, "back");
    let ds = softmax_gradient(&p, &d_o.matmul_t(false, &v, true));
    let parts = [ds.matmul(&k), ds.matmul_t(true, &q, false), p.matmul_t(true, &d_o, false)];
    let parts = parts.map(|part| part.permute(&[0, 2, 1, 3]).reshape([B * N, H * D]));
    let d_all = Tensor::concat(&parts, 1);
    let outputs = [o, x.matmul_t(true, &d_all, false)];
    let plan = planned(&outputs, &[]);
    assert_eq!(tiled(&plan)[1].kernels.len(), 7, "{plan:#?}");
    assert_eq!(is_square(&plan, |place| *place != Place::Tile), 0);
    // In three blocks of rows each.
    assert_eq!(tiled(&cut(&outputs, &[], 2))[1].kernels.len(), 21);
}

#[test]
fn weights_that_are_an_output_are_stored() {
    let x = input();
    let p = weights(&heads(&x, "q"), &heads(&x, "k"));
    let plan = planned(&[p.matmul(&heads(&x, "v")), p], &[]);
    assert_eq!(is_square(&plan, |place| matches!(place, Place::Slot(_))), 1);
}

#[test]
fn weights_that_others_read_are_stored() {
    let x = input();
    let p = weights(&heads(&x, "q"), &heads(&x, "k"));
    // A sum over heads is no part of a tile.
    let plan = planned(&[p.matmul(&heads(&x, "v")), p.sum_axis(1)], &[]);
    assert_eq!(is_square(&plan, |place| matches!(place, Place::Slot(_))), 1);
}

#[test]
fn a_counter_over_tiles_is_not_cut() {
    let x = input();
    let scores = heads(&x, "q").matmul_t(false, &heads(&x, "k"), true);
    let head = Tensor::iota(scores.shape(), 1, DType::F32);
    let plan = planned(&[(scores * head).matmul(&heads(&x, "v"))], &[]);
    assert!(tiled(&plan).is_empty(), "each head has another number");
}

/// The second product would read, of what is computed again, another tile's part.
#[test]
fn what_another_tile_has_computed_is_stored() {
    let part = |name: &str, rows: usize, columns: usize| Tensor::data(name, [B * H, rows, columns], DType::F32);
    let [a, b] = [part("a", N, D), part("b", D, 4)];
    let [v, k, w] = ["v", "k", "w"].map(|name| part(name, 4, 4));
    let first = |x: Tensor| x.maximum(&Tensor::constant(0.0));
    let o = first(a.matmul(&b)).matmul(&v);
    let stored = |read: Tensor| {
        let plan = planned(&[first(read.matmul(&k)).matmul(&w)], &[]);
        plan.buffers.iter().filter(|b| b.shape.numel() == B * H * N * 4 && matches!(b.place, Place::Slot(_))).count()
    };
    // The output alone; with it what is read in another order.
    assert_eq!(stored(o.clone()), 1);
    assert_eq!(stored(o.reverse(0)), 2);
    let swapped = o.reshape([B, H, N, 4]).permute(&[1, 0, 2, 3]).reshape([B * H, N, 4]);
    stored(swapped);
}

#[test]
fn a_bias_of_each_head_and_a_state_that_changes_are_read_in_time() {
    let x = input();
    let bias = Tensor::state("bias", [1, H, N, N]);
    let scores = heads(&x, "q").matmul_t(false, &heads(&x, "k"), true) + bias.broadcast_to([B, H, N, N]);
    let p = scores.softmax();
    let o = p.matmul(&heads(&x, "v"));
    let ds = softmax_gradient(&p, &o.exp().matmul_t(false, &heads(&x, "v"), true));
    let new = &bias - ds.sum_axis(0) * 0.5;
    // The weights read a state that is replaced, so that they are stored for the gradient.
    planned(&[o], &[(bias, new)]);
}
