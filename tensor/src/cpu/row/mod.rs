//! Row programs as vectorised bytecode.
//!
//! A program is compiled once to instructions over registers. A register holds a block: several short rows, or a
//! stretch of a long one, small enough to stay in the caches of a core, so that each instruction is one pass of a
//! vector loop over memory that is near. Values that are constant along the row hold one element a row.

mod access;
mod code;
mod compile;
mod exec;
mod iota;
mod ops;
mod sums;

use self::code::{Cut, Home, Instruction, Load, StoreTo};
use super::arena::Arenas;
use super::isa::Isa;
use super::team::Team;
use super::{Bases, CpuBuffer};
use crate::Result;
use crate::plan::RowProgram;

pub(super) use ops::Arg;

/// A compiled row program.
#[derive(Debug)]
pub(super) struct RowKernel {
    rows: usize,
    length: usize,
    cut: Cut,
    expand: bool,
    /// Uniform instructions first.
    code: Vec<Instruction>,
    /// How many those are.
    uniform: usize,
    loads: Vec<Load>,
    stores: Vec<StoreTo>,
    homes: Vec<Home>,
    /// Number of registers of one element, of one a row, of a block.
    files: [usize; 3],
    tables: CpuBuffer,
    /// For each column sum and each row of tasks, a partial sum of `length` elements.
    partials: CpuBuffer,
    column_sums: usize,
}

/// Registers begin this many elements further apart than their size, so that they do not compete for the same cache
/// sets.
const GAP: usize = 16;

impl RowKernel {
    /// # Errors
    /// As [`CpuBuffer::zeroed`].
    pub(super) fn new(program: &RowProgram) -> Result<Self> {
        compile::compile(program)
    }

    /// Values and elements of register memory that a task needs.
    pub(super) fn arena(&self) -> (usize, usize) {
        let [uniform, row, full] = self.files;
        (self.homes.len(), uniform.next_multiple_of(GAP) + row * self.row_register() + full * self.full_register())
    }

    fn row_register(&self) -> usize {
        self.cut.block_rows.next_multiple_of(GAP) + GAP
    }

    fn full_register(&self) -> usize {
        (self.cut.block_rows * self.cut.block_cols).next_multiple_of(GAP) + GAP
    }

    /// Executes the program.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses what is written.
    pub(super) unsafe fn run(&mut self, bases: &Bases, team: &Team, arenas: &Arenas, isa: Isa) {
        let tasks = self.cut.row_tasks * self.cut.col_tasks;
        let partials = Partials(self.partials.as_mut_ptr());
        let this = &*self;
        team.run(tasks, &|index, member| {
            // SAFETY: tasks write disjoint rows and columns, the arena is the member's own, the rest is the caller's.
            unsafe { exec::task(this, bases, arenas.of(member), &partials, index, isa) };
        });
        if self.column_sums > 0 {
            // SAFETY: the caller's; all tasks are done.
            unsafe { sums::finish_column_sums(this, bases, &partials, team, isa) };
        }
    }
}

/// Where the partial sums begin.
struct Partials(*mut f32);

// SAFETY: each row of tasks and stretch of columns writes its own part.
unsafe impl Sync for Partials {}
