//! Matrix products: the `gemm` crate on slabs.
//!
//! The output is cut into slabs by its shape alone, and each slab is one single-threaded product over the whole inner length, so
//! that neither the number of threads nor who runs what changes a bit.

use super::Bases;
use super::team::Team;
use crate::plan::{MatMul, View};

/// A compiled product.
#[derive(Debug)]
pub(super) struct MatMulKernel {
    a: Strided,
    b: Strided,
    out: Strided,
    /// Leading dimensions; batch index is decomposed over them.
    batch_dims: Vec<usize>,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    cut: Cut,
}

#[derive(Debug)]
struct Strided {
    buffer: usize,
    offset: isize,
    batch: Vec<isize>,
    row: isize,
    col: isize,
}

/// Slabs of a product. Exactly one of the three is below the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Products a task.
    pub batch: usize,
    /// Rows a task.
    pub rows: usize,
    /// Columns a task.
    pub cols: usize,
}

/// FLOPs below which a product is not worth sharing.
const SMALL: usize = 1 << 19;
/// Rows or columns of a slab: enough that packing the other operand pays, few enough for some tasks a core.
const SLAB: usize = 256;

impl Cut {
    /// Depends on the shape only.
    pub(super) fn of(batch: usize, m: usize, n: usize, k: usize) -> Self {
        let flops = 2 * m * n * k;
        if batch > 1 && flops < SMALL * 16 {
            let together = (SMALL / flops.max(1)).clamp(1, batch);
            return Self { batch: together, rows: m, cols: n };
        }
        if flops < SMALL {
            return Self { batch: 1, rows: m, cols: n };
        }
        // The longer side is cut; at least four slabs.
        let slab = |length: usize| SLAB.min(length.div_ceil(4)).next_multiple_of(32).max(32);
        if m >= n { Self { batch: 1, rows: slab(m), cols: n } } else { Self { batch: 1, rows: m, cols: slab(n) } }
    }
}

impl Strided {
    fn new(view: &View) -> Self {
        let r = view.dims.len();
        let stride = |axis: usize| if view.dims[axis] == 1 { 0 } else { view.strides[axis] };
        Self {
            buffer: view.buffer.index(),
            offset: view.offset as isize,
            batch: (0..r - 2).map(stride).collect(),
            row: view.strides[r - 2],
            col: view.strides[r - 1],
        }
    }

    fn start(&self, dims: &[usize], mut index: usize) -> isize {
        let mut at = self.offset;
        for (&dim, &stride) in dims.iter().zip(&self.batch).rev() {
            at += (index % dim) as isize * stride;
            index /= dim;
        }
        at
    }
}

impl MatMulKernel {
    pub(super) fn new(product: &MatMul) -> Self {
        let (batch, m, n, k) = product.dims();
        let rank = product.out.dims.len();
        Self {
            a: Strided::new(&product.a),
            b: Strided::new(&product.b),
            out: Strided::new(&product.out),
            batch_dims: product.out.dims[..rank - 2].to_vec(),
            batch,
            m,
            n,
            k,
            cut: Cut::of(batch, m, n, k),
        }
    }

    /// Executes the product.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team) {
        let Self { m, n, k, cut, .. } = *self;
        if self.batch == 0 || m == 0 || n == 0 {
            return;
        }
        let (row_slabs, col_slabs) = (m.div_ceil(cut.rows), n.div_ceil(cut.cols));
        let groups = self.batch.div_ceil(cut.batch);
        team.run(groups * row_slabs * col_slabs, &|task, _| {
            let (group, slab) = (task / (row_slabs * col_slabs), task % (row_slabs * col_slabs));
            let (row, col) = (slab / col_slabs * cut.rows, slab % col_slabs * cut.cols);
            let (rows, cols) = (cut.rows.min(m - row), cut.cols.min(n - col));
            for index in group * cut.batch..((group + 1) * cut.batch).min(self.batch) {
                let at = |x: &Strided, row: usize, col: usize| {
                    let start = x.start(&self.batch_dims, index) + row as isize * x.row + col as isize * x.col;
                    // SAFETY: the position of an element of the view.
                    unsafe { bases.get(x.buffer).offset(start) }
                };
                let out = at(&self.out, row, col);
                if k == 0 {
                    for r in 0..rows as isize {
                        for c in 0..cols as isize {
                            // SAFETY: elements of the output's view.
                            unsafe { *out.offset(r * self.out.row + c * self.out.col) = 0.0 };
                        }
                    }
                    continue;
                }
                // SAFETY: the three slabs lie within their views, and `out` is written by this task alone.
                unsafe {
                    gemm::gemm(
                        rows,
                        cols,
                        k,
                        out,
                        self.out.col,
                        self.out.row,
                        false,
                        at(&self.a, row, 0).cast_const(),
                        self.a.col,
                        self.a.row,
                        at(&self.b, 0, col).cast_const(),
                        self.b.col,
                        self.b.row,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    );
                }
            }
        });
    }
}
