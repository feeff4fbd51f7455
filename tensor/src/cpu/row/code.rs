//! The instructions that a row program is compiled to.

use super::access::Access;
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};

/// How many elements a value has in a block. Derived anew: a full value that is the same along the row needs one
/// element a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Span {
    /// One for the whole kernel.
    Uniform,
    /// One a row.
    Row,
    /// All.
    Full,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    /// Load by its index: points the value at memory, or copies into its register.
    Load(usize),
    /// The bits of a constant.
    Constant(u32),
    /// (linear / divisor) mod modulus.
    Iota {
        divisor: usize,
        modulus: usize,
        float: bool,
    },
    /// A value of a lower span, repeated.
    Splat,
    Unary(UnaryOp),
    IsFinite,
    FloatToIndex,
    IndexToFloat,
    /// These bits where the mask is set: 1 as f32 or u32.
    MaskTo(u32),
    Binary(BinaryOp),
    LessFloat,
    LessIndex,
    EqualFloat,
    EqualIndex,
    Select,
    Reduce(ReduceOp),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub code: Code,
    pub span: Span,
    /// The value defined.
    pub out: usize,
    /// Values read; unused ones are 0.
    pub args: [usize; 3],
    pub arity: usize,
    /// For each, whether its span is below that of the instruction.
    pub scalar: [bool; 3],
}

/// Where a value is kept during a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    /// Pointed at by its load for each block.
    Memory,
    /// A register of one element.
    Uniform(usize),
    /// A register of one element a row.
    Row(usize),
    /// A register of a whole block.
    Full(usize),
    /// A precomputed row, by its first element in the tables.
    Table(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Load {
    pub access: Access,
    /// Must be copied: a store may overwrite it while it is still needed, or elements are not neighbours.
    pub copy: bool,
    /// Always read where it lies, so that it has no register.
    pub direct: bool,
}

#[derive(Clone, Debug)]
pub(super) struct StoreTo {
    pub value: usize,
    pub span: Span,
    pub access: Access,
    /// The view has one element a row.
    pub one_a_row: bool,
    /// Index of the column sum, or none for a store of elements.
    pub column_sum: Option<usize>,
    /// The value may be computed where it is stored.
    pub direct: bool,
}

/// How the (rows × length) space is cut. Depends on shapes only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    /// Rows and columns of a block.
    pub block_rows: usize,
    pub block_cols: usize,
    /// Rows and columns of a task; multiples of the block's.
    pub task_rows: usize,
    pub task_cols: usize,
    /// Number of tasks along each axis.
    pub row_tasks: usize,
    pub col_tasks: usize,
}

/// Elements of a block: a few registers of this size stay near the core, and the start of a loop is soon paid for.
const BLOCK: usize = 4096;
/// The same where columns are summed: a block's rows are, before they are added to the rest.
const SUMMED_BLOCK: usize = 2048;
/// Instructions × elements worth a task of its own.
const TASK_WORK: usize = 1 << 17;
/// Most tasks of one kernel, also the number of partial sums of a column.
const MAX_TASKS: usize = 64;

impl Cut {
    /// `whole_rows`: a block holds whole rows, since something is reduced over them. `sums`: columns are summed, so
    /// that each row of tasks has partial sums of its own. `one_task_a_row`: what all columns of a row read is replaced
    /// in the end.
    pub(super) fn new(
        rows: usize,
        length: usize,
        instructions: usize,
        whole_rows: bool,
        sums: bool,
        one_task_a_row: bool,
    ) -> Self {
        let block = if sums { SUMMED_BLOCK } else { BLOCK };
        let block_cols = if whole_rows || length <= 2 * block { length.max(1) } else { block };
        let block_rows = (block / block_cols).clamp(1, rows.max(1));
        let work = rows.saturating_mul(length).saturating_mul(instructions + 2);
        let tasks = (work / TASK_WORK).clamp(1, MAX_TASKS);
        let row_blocks = rows.div_ceil(block_rows);
        // A row of nothing still has its reductions.
        let col_blocks = length.div_ceil(block_cols).max(1);
        // Rows first; columns where there are too few rows, or where partial sums of long rows would fill the memory.
        let row_share = if sums { tasks.div_ceil(col_blocks) } else { tasks };
        let task_row_blocks = row_blocks.div_ceil(row_share).max(1);
        let row_tasks = row_blocks.div_ceil(task_row_blocks);
        let col_share = if one_task_a_row { 1 } else { (tasks / row_tasks.max(1)).max(1) };
        let task_col_blocks = col_blocks.div_ceil(col_share).max(1);
        Self {
            block_rows,
            block_cols,
            task_rows: task_row_blocks * block_rows,
            task_cols: task_col_blocks * block_cols,
            row_tasks,
            col_tasks: col_blocks.div_ceil(task_col_blocks),
        }
    }
}
