//! Matrix products on the CPU against scalar f64 loops.

use primer_tensor::plan::{Kernel, MatMul, View};

use crate::cpu_support::{assert_close, dense, numbers, plan, positions, run};

fn check(a: View, b: View, out: View, what: &str) {
    let product = MatMul { a, b, out, adds: false, epilogue: None };
    let (batch, m, n, k) = product.dims();
    let span = |view: &View| positions(view).into_iter().max().map_or(1, |p| p + 1);
    let lengths = [span(&product.a), span(&product.b), span(&product.out)];
    let buffers = [numbers(1, lengths[0]), numbers(2, lengths[1]), vec![f32::NAN; lengths[2]]];
    let (pa, pb, po) = (positions(&product.a), positions(&product.b), positions(&product.out));
    let found = run(&plan(&lengths, Kernel::MatMul(product)), &buffers);
    let (mut y, mut expected) = (vec![], vec![]);
    for s in 0..batch {
        for i in 0..m {
            for j in 0..n {
                let term = |p: usize| {
                    f64::from(buffers[0][pa[(s * m + i) * k + p]]) * f64::from(buffers[1][pb[(s * k + p) * n + j]])
                };
                expected.push((0..k).map(term).sum());
                y.push(found[2][po[(s * m + i) * n + j]]);
            }
        }
    }
    assert_close(&y, &expected, 1e-5 * (1.0 + (k as f64).sqrt()), what);
}

/// Products of those (m, n, k), with each operand and the output transposed or not.
fn check_sizes(sizes: &[(usize, usize, usize)]) {
    for &(m, n, k) in sizes {
        for (ta, tb, to) in [(false, false, false), (true, false, false), (false, true, false), (true, true, true)] {
            let matrix = |buffer, rows: usize, cols: usize, transposed: bool| {
                if transposed { dense(buffer, &[cols, rows]).permute(&[1, 0]) } else { dense(buffer, &[rows, cols]) }
            };
            let what = format!("{m}x{n}x{k} {ta} {tb} {to}");
            check(matrix(0, m, k, ta), matrix(1, k, n, tb), matrix(2, m, n, to), &what);
        }
    }
}

#[test]
fn sizes_and_transposes() {
    check_sizes(&[
        (1, 1, 1),
        (1, 17, 5),
        (17, 1, 5),
        (5, 7, 1),
        (3, 4, 0),
        (0, 4, 3),
        (4, 0, 3),
        (33, 65, 17),
        (130, 70, 300),
        (300, 40, 65),
        (20, 520, 130),
    ]);
}

/// A large product is cut into slabs of 1,024 rows, of 512 or 256 where the left operand is transposed and the output
/// taller than wide, and of 64, 128 or 256 columns. These have more, and no multiple of it: what is left over is a slab,
/// too. The inner lengths are short for the oracle's sake.
#[test]
fn more_rows_and_columns_than_a_slab_has() {
    check_sizes(&[(600, 140, 20), (1100, 130, 20), (1100, 300, 7), (1030, 520, 3), (70, 150, 40), (1030, 1040, 3)]);
}

#[test]
fn batches_of_heads() {
    // [batch, seq, heads, d] seen as [batch, heads, seq, d]: q·kᵀ and p·v of attention, written back with heads last.
    let (batch, heads, seq, d) = (3, 4, 20, 9);
    let by_head = |buffer| dense(buffer, &[batch, seq, heads, d]).permute(&[0, 2, 1, 3]);
    let scores = |buffer| dense(buffer, &[batch, heads, seq, seq]);
    check(by_head(0), by_head(1).permute(&[0, 1, 3, 2]), scores(2), "scores");
    check(scores(0), by_head(1), by_head(2), "values");
    check(scores(0).permute(&[0, 1, 3, 2]), by_head(1), by_head(2), "value gradients");
    // A left operand shared by the whole batch.
    check(dense(0, &[1, 6, 8]).broadcast(&[40, 6, 8]), dense(1, &[40, 8, 5]), dense(2, &[40, 6, 5]), "shared");
}

#[test]
fn reversed_and_cut_operands() {
    let a = dense(0, &[40, 30]).reverse(0).slice(1, 3, 20);
    let b = dense(1, &[17, 50]).reverse(1).slice(1, 5, 38);
    check(a, b, dense(2, &[40, 33]), "reversed");
}
