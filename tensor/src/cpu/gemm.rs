//! Products of strided matrices on one thread, by the `gemm-f32` crate: the one of `gemm`'s parts that is needed here.

use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

/// A matrix: its first element, and the elements from a row and from a column to the next.
#[derive(Clone, Copy)]
pub(super) struct Matrix<P> {
    pub start: P,
    pub row: isize,
    pub col: isize,
}

impl<P> Matrix<P> {
    fn transposed(self) -> Self {
        Self { start: self.start, row: self.col, col: self.row }
    }
}

/// Writes a `[m, k]` · b `[k, n]` to `out`, or with `adds` adds it to what is there.
///
/// # Safety
/// All elements of the three matrices lie in allocations that may be read, and in `out` be written; nobody else touches
/// `out`.
pub(super) unsafe fn product(
    [m, n, k]: [usize; 3],
    out: Matrix<*mut f32>,
    a: Matrix<*const f32>,
    b: Matrix<*const f32>,
    adds: bool,
) {
    // The kernels want columns of neighbours: of rows of neighbours, the transpose is computed, bᵀ·aᵀ.
    if out.col.abs() < out.row.abs() {
        // SAFETY: the same elements.
        unsafe { columns([n, m, k], out.transposed(), b.transposed(), a.transposed(), adds) }
    } else {
        // SAFETY: by the caller.
        unsafe { columns([m, n, k], out, a, b, adds) }
    }
}

/// As [`product`], with the rows of `out`, and the columns of `a`, in ascending order in memory.
unsafe fn columns(
    [m, n, k]: [usize; 3],
    mut out: Matrix<*mut f32>,
    mut a: Matrix<*const f32>,
    mut b: Matrix<*const f32>,
    adds: bool,
) {
    let last = |count: usize, stride: isize| (count.max(1) - 1) as isize * stride;
    if out.row < 0 {
        (out.start, a.start) = (out.start.wrapping_offset(last(m, out.row)), a.start.wrapping_offset(last(m, a.row)));
        (out.row, a.row) = (-out.row, -a.row);
    }
    if out.col < 0 {
        (out.start, b.start) = (out.start.wrapping_offset(last(n, out.col)), b.start.wrapping_offset(last(n, b.col)));
        (out.col, b.col) = (-out.col, -b.col);
    }
    if a.col < 0 {
        (a.start, b.start) = (a.start.wrapping_offset(last(k, a.col)), b.start.wrapping_offset(last(k, b.row)));
        (a.col, b.row) = (-a.col, -b.row);
    }
    let (alone, alpha) = (Parallelism::None, if adds { 1.0 } else { 0.0 });
    // SAFETY: by the caller; the places are the same seen from another corner.
    unsafe {
        get_gemm_fn()(
            m, n, k, out.start, out.col, out.row, adds, a.start, a.col, a.row, b.start, b.col, b.row, alpha, 1.0,
            false, false, false, alone,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix `[rows, cols]` with its rows or columns in memory one after the other, each forwards or backwards.
    fn place(rows: usize, cols: usize, form: usize) -> (usize, isize, isize) {
        let (mut row, mut col) = if form & 1 == 0 { (cols as isize, 1) } else { (1, rows as isize) };
        let mut start = 0;
        if form & 2 != 0 {
            (start, row) = (start + (rows - 1) as isize * row, -row);
        }
        if form & 4 != 0 {
            (start, col) = (start + (cols - 1) as isize * col, -col);
        }
        (start as usize, row, col)
    }

    #[test]
    fn every_order_in_memory_gives_the_product() {
        let [m, n, k] = [5, 7, 6];
        for form in 0..512 {
            let [out, a, b] = [place(m, n, form & 7), place(m, k, form >> 3 & 7), place(k, n, form >> 6)];
            let at = |(start, row, col): (usize, isize, isize), i: usize, j: usize| {
                (start as isize + i as isize * row + j as isize * col) as usize
            };
            let values = |count: usize, step: usize| (0..count).map(|i| (i * step % 11) as f32 - 5.0).collect();
            let (x, y): (Vec<f32>, Vec<f32>) = (values(m * k, 3), values(k * n, 7));
            for adds in [false, true] {
                let mut z = vec![7f32; m * n];
                // SAFETY: each place covers its vector.
                unsafe {
                    product(
                        [m, n, k],
                        Matrix { start: z.as_mut_ptr().add(out.0), row: out.1, col: out.2 },
                        Matrix { start: x.as_ptr().add(a.0), row: a.1, col: a.2 },
                        Matrix { start: y.as_ptr().add(b.0), row: b.1, col: b.2 },
                        adds,
                    );
                }
                for i in 0..m {
                    for j in 0..n {
                        let product: f32 = (0..k).map(|p| x[at(a, i, p)] * y[at(b, p, j)]).sum();
                        let expected = if adds { product + 7.0 } else { product };
                        assert_eq!(z[at(out, i, j)], expected, "form {form}, adds {adds}, element {i} {j}");
                    }
                }
            }
        }
    }
}
