//! Matrix products: the `gemm` crate on slabs.
//!
//! The output is cut into slabs by its shape alone, and each slab is one single-threaded product over the whole inner
//! length, so that neither the number of threads nor who runs what changes a bit.

use super::Bases;
use super::gemm::{self, Matrix};
use super::isa::Isa;
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
    adds: bool,
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

/// How a product is cut into tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    /// Products a task.
    batch: usize,
    /// Rows a task.
    rows: usize,
    /// Columns a task.
    cols: usize,
}

/// FLOPs below which a product is not worth sharing.
const SMALL: usize = 1 << 19;

impl Cut {
    /// Depends on the shape, the layout of `a` and the instruction set only. The sizes are those at which one core was
    /// fastest on products of some thousand rows (97% of the uncut product's speed), with four tasks or more where there
    /// is much to do: `gemm` packs the left operand's transpose badly, so such a product keeps its columns together
    /// instead, but with the wide tiles of AVX-512.
    fn of(batch: usize, m: usize, n: usize, k: usize, a_by_columns: bool, isa: Isa) -> Self {
        let flops = 2 * m * n * k;
        if batch > 1 && flops < SMALL * 16 {
            let together = (2 * SMALL / flops.max(1)).clamp(1, batch);
            return Self { batch: together, rows: m, cols: n };
        }
        if flops < SMALL {
            return Self { batch: 1, rows: m, cols: n };
        }
        let (rows, cols) = match a_by_columns {
            true if m > n && isa == Isa::Avx512 => (512, 128),
            true if m > n => (256, 256),
            true => (1024, if n >= 512 { 128 } else { 64 }),
            false => (1024, if n >= 512 { 256 } else { 128 }),
        };
        Self { batch: 1, rows: rows.min(m), cols: cols.min(n) }
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
    pub(super) fn new(product: &MatMul, isa: Isa) -> Self {
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
            adds: product.adds,
            cut: Cut::of(batch, m, n, k, product.a.strides[rank - 1] != 1, isa),
        }
    }

    /// Executes the product.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team) {
        let Self { m, n, k, cut, .. } = *self;
        if self.batch == 0 || m == 0 || n == 0 || (k == 0 && self.adds) {
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
                    gemm::product(
                        [rows, cols, k],
                        Matrix { start: out, row: self.out.row, col: self.out.col },
                        Matrix { start: at(&self.a, row, 0).cast_const(), row: self.a.row, col: self.a.col },
                        Matrix { start: at(&self.b, 0, col).cast_const(), row: self.b.row, col: self.b.col },
                        self.adds,
                    );
                }
            }
        });
    }
}
