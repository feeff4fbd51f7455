//! The linear recurrence sᵢ = aᵢ·sᵢ₋₁ + bᵢ.

use super::Bases;
use super::isa::{Isa, Simd, Vectorised};
use super::team::Team;
use crate::plan::View;

/// An `[outer, len, inner]` view.
#[derive(Clone, Copy, Debug)]
struct Axis {
    buffer: usize,
    offset: isize,
    strides: [isize; 3],
}

impl Axis {
    fn new(view: &View) -> Self {
        let strides = [view.strides[0], view.strides[1], view.strides[2]];
        Self { buffer: view.buffer.index(), offset: view.offset as isize, strides }
    }

    /// # Safety
    /// The index lies within the view and the view within its buffer.
    unsafe fn at(&self, bases: &Bases, outer: usize, inner: usize) -> *mut f32 {
        let at = self.offset + outer as isize * self.strides[0] + inner as isize * self.strides[2];
        // SAFETY: the caller's.
        unsafe { bases.get(self.buffer).offset(at) }
    }
}

/// Columns that run side by side, their states in registers.
const COLUMNS: usize = 64;
/// Elements of one task.
const TASK: usize = 1 << 14;

/// A compiled recurrence.
#[derive(Debug)]
pub(super) struct LinRecKernel {
    a: Axis,
    b: Axis,
    out: Axis,
    dims: [usize; 3],
    reverse: bool,
    start: f32,
}

impl LinRecKernel {
    pub(super) fn new(a: &View, b: &View, out: &View, reverse: bool, start: f32) -> Self {
        let dims = [out.dims[0], out.dims[1], out.dims[2]];
        Self { a: Axis::new(a), b: Axis::new(b), out: Axis::new(out), dims, reverse, start }
    }

    /// Executes it.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team, isa: Isa) {
        let [outer, len, inner] = self.dims;
        if len == 0 {
            return;
        }
        let stretches = inner.div_ceil(COLUMNS);
        let pieces = outer * stretches;
        let share = (TASK / (len * COLUMNS.min(inner.max(1)))).clamp(1, pieces.max(1));
        team.run(pieces.div_ceil(share), &|task, _| {
            for piece in task * share..((task + 1) * share).min(pieces) {
                let (o, first) = (piece / stretches, piece % stretches * COLUMNS);
                isa.dispatch(Columns { kernel: self, bases, outer: o, first, count: COLUMNS.min(inner - first) });
            }
        });
    }
}

/// Neighbouring columns of one outer index.
struct Columns<'a> {
    kernel: &'a LinRecKernel,
    bases: &'a Bases,
    outer: usize,
    first: usize,
    count: usize,
}

impl Vectorised for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { kernel, bases, outer, first, count } = self;
        let mut state = [kernel.start; COLUMNS];
        let state = &mut state[..count];
        // SAFETY: elements of the three views; this task alone writes these columns.
        unsafe {
            let a = kernel.a.at(bases, outer, first);
            let b = kernel.b.at(bases, outer, first);
            let out = kernel.out.at(bases, outer, first);
            let dense = [&kernel.a, &kernel.b, &kernel.out].iter().all(|x| x.strides[2] == 1);
            for step in 0..kernel.dims[1] {
                let k = if kernel.reverse { kernel.dims[1] - 1 - step } else { step } as isize;
                let a = a.offset(k * kernel.a.strides[1]).cast_const();
                let b = b.offset(k * kernel.b.strides[1]).cast_const();
                let out = out.offset(k * kernel.out.strides[1]);
                if dense {
                    let a = std::slice::from_raw_parts(a, count);
                    let b = std::slice::from_raw_parts(b, count);
                    for ((s, &a), &b) in state.iter_mut().zip(a).zip(b) {
                        *s = a * *s + b;
                    }
                    std::slice::from_raw_parts_mut(out, count).copy_from_slice(state);
                } else {
                    for (i, s) in state.iter_mut().enumerate() {
                        let i = i as isize;
                        *s = *a.offset(i * kernel.a.strides[2]) * *s + *b.offset(i * kernel.b.strides[2]);
                        *out.offset(i * kernel.out.strides[2]) = *s;
                    }
                }
            }
        }
    }
}
