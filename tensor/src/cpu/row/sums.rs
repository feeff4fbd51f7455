//! Sums over the rows: partial ones of each task, and their total.

use super::access::Window;
use super::code::StoreTo;
use super::ops::{Arg, sum};
use super::{Partials, RowKernel};
use crate::cpu::Bases;
use crate::cpu::isa::{Isa, Simd, Vectorised};
use crate::cpu::team::Team;

/// sums[c] += Σ over the rows of the block.
///
/// # Safety
/// All rows of the window are readable at `value`.
#[inline(always)]
pub(super) unsafe fn add_rows<S: Simd>(value: Arg, window: Window, sums: &mut [f32]) {
    // SAFETY: the caller's.
    let row = |r: usize| unsafe {
        std::slice::from_raw_parts(value.ptr.offset(r as isize * value.stride).cast_const(), window.width)
    };
    if window.width == 1 && value.stride == 1 {
        // SAFETY: the caller's; the rows are neighbours.
        let column = unsafe { std::slice::from_raw_parts(value.ptr.cast_const(), window.rows) };
        sums[0] += sum::<S>(column);
        return;
    }
    // The block is summed by itself first: short chains of additions keep long sums accurate.
    let mut strip = [0.0f32; STRIP];
    for from in (0..window.width).step_by(STRIP) {
        let width = STRIP.min(window.width - from);
        let strip = &mut strip[..width];
        strip.fill(0.0);
        let mut r = 0;
        while r + 4 <= window.rows {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| &row(r + i)[from..from + width]);
            // Without indices, whose checks would leave the last elements of each row to a scalar loop.
            for ((((s, &a), &b), &c), &d) in strip.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *s += (a + b) + (c + d);
            }
            r += 4;
        }
        while r < window.rows {
            for (s, &x) in strip.iter_mut().zip(&row(r)[from..from + width]) {
                *s += x;
            }
            r += 1;
        }
        for (sum, &s) in sums[from..from + width].iter_mut().zip(&*strip) {
            *sum += s;
        }
    }
}

/// Columns summed at a time.
const STRIP: usize = 256;

/// Adds the partial sums of all row tasks in order.
///
/// # Safety
/// As for [`RowKernel::run`]; all tasks are done.
pub(super) unsafe fn finish_column_sums(kernel: &RowKernel, bases: &Bases, partials: &Partials, team: &Team, isa: Isa) {
    const COLUMNS: usize = 4096;
    let stretches = kernel.length.div_ceil(COLUMNS);
    let sums: Vec<&StoreTo> = kernel.stores.iter().filter(|s| s.column_sum.is_some()).collect();
    team.run(sums.len() * stretches, &|task, _| {
        let (index, from) = (task / stretches, task % stretches * COLUMNS);
        let width = COLUMNS.min(kernel.length - from);
        let rows = kernel.cut.row_tasks;
        // SAFETY: each task writes its own columns of its own view, which is contiguous.
        unsafe {
            let mut at = None;
            sums[index].access.runs(0, 1, |run| at = Some(run.start));
            let Some(start) = at else { return };
            let to = bases.get(sums[index].access.buffer).offset(start).add(from);
            let first = partials.0.add(index * rows * kernel.length + from);
            isa.dispatch(AddPartials {
                first: std::slice::from_raw_parts(
                    first,
                    if rows == 0 { 0 } else { (rows - 1) * kernel.length + width },
                ),
                step: kernel.length,
                to: std::slice::from_raw_parts_mut(to, width),
            });
        }
    });
}

struct AddPartials<'a> {
    first: &'a [f32],
    step: usize,
    to: &'a mut [f32],
}

impl Vectorised for AddPartials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        self.to.fill(0.0);
        for partial in self.first.chunks(self.step) {
            for (to, &x) in self.to.iter_mut().zip(partial) {
                *to += x;
            }
        }
    }
}
