//! Rows by index: gather and scatter-add.

use super::Bases;
use super::team::Team;
use crate::plan::View;

/// A contiguous view: its buffer and first element.
#[derive(Clone, Copy, Debug)]
struct Block {
    buffer: usize,
    offset: usize,
}

impl Block {
    fn new(view: &View) -> Self {
        Self { buffer: view.buffer.index(), offset: view.offset }
    }

    /// # Safety
    /// The view lies within its buffer.
    unsafe fn ptr(self, bases: &Bases) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe { bases.get(self.buffer).add(self.offset) }
    }
}

/// Rows copied in one task, about 64 KiB.
const TASK: usize = 1 << 14;
/// Destination rows are dealt to this many tasks.
const DEALS: usize = 16;

/// A compiled gather.
#[derive(Debug)]
pub(super) struct GatherKernel {
    table: Block,
    indices: Block,
    out: Block,
    rows: usize,
    count: usize,
    d: usize,
}

impl GatherKernel {
    pub(super) fn new(table: &View, indices: &View, out: &View) -> Self {
        Self {
            table: Block::new(table),
            indices: Block::new(indices),
            out: Block::new(out),
            rows: table.dims[0],
            count: indices.numel(),
            d: table.dims[1],
        }
    }

    /// out[i] = table[min(index[i], rows − 1)]
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team) {
        let share = (TASK / self.d.max(1)).max(1);
        if self.rows == 0 {
            return;
        }
        team.run(self.count.div_ceil(share), &|task, _| {
            // SAFETY: indices are clamped to the table; each task writes its own rows.
            unsafe {
                let indices = self.indices.ptr(bases).cast_const().cast::<u32>();
                let (table, out) = (self.table.ptr(bases).cast_const(), self.out.ptr(bases));
                for i in task * share..((task + 1) * share).min(self.count) {
                    let from = (*indices.add(i) as usize).min(self.rows - 1);
                    std::ptr::copy_nonoverlapping(table.add(from * self.d), out.add(i * self.d), self.d);
                }
            }
        });
    }
}

/// A compiled scatter-add.
#[derive(Debug)]
pub(super) struct ScatterKernel {
    indices: Block,
    updates: Block,
    out: Block,
    rows: usize,
    count: usize,
    d: usize,
}

impl ScatterKernel {
    pub(super) fn new(indices: &View, updates: &View, out: &View) -> Self {
        Self {
            indices: Block::new(indices),
            updates: Block::new(updates),
            out: Block::new(out),
            rows: out.dims[0],
            count: indices.numel(),
            d: out.dims[1],
        }
    }

    /// out = 0; out[min(index[i], rows − 1)] += updates[i], in the order of i: each task owns a range of destination
    /// rows and walks all indices.
    ///
    /// # Safety
    /// As for [`GatherKernel::run`].
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team) {
        if self.rows == 0 {
            return;
        }
        let tasks = if self.count * self.d < TASK { 1 } else { DEALS.min(self.rows) };
        let share = self.rows.div_ceil(tasks);
        team.run(tasks, &|task, _| {
            let (first, end) = ((task * share).min(self.rows), ((task + 1) * share).min(self.rows));
            // SAFETY: indices are clamped to the table; each task writes its own rows.
            unsafe {
                let indices =
                    std::slice::from_raw_parts(self.indices.ptr(bases).cast_const().cast::<u32>(), self.count);
                let updates = self.updates.ptr(bases).cast_const();
                let out = self.out.ptr(bases);
                std::slice::from_raw_parts_mut(out.add(first * self.d), (end - first) * self.d).fill(0.0);
                for (i, &index) in indices.iter().enumerate() {
                    let row = (index as usize).min(self.rows - 1);
                    if row >= first && row < end {
                        let to = std::slice::from_raw_parts_mut(out.add(row * self.d), self.d);
                        let from = std::slice::from_raw_parts(updates.add(i * self.d), self.d);
                        for (to, &x) in to.iter_mut().zip(from) {
                            *to += x;
                        }
                    }
                }
            }
        });
    }
}
