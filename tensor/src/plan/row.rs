//! Row programs: (rows, length, body). The one kernel family behind norms, softmaxes, losses, optimizers and copies.

use super::View;
use crate::DType;
use crate::graph::{BinaryOp, CompareOp, ReduceOp, UnaryOp};

/// A straight-line body in SSA form, executed for every row of a (rows × length) space.
///
/// Values of extent [`Extent::Full`] have an element for each position of a row, those of [`Extent::Row`] one a row; a
/// row value used beside full ones is repeated along the row.
#[derive(Clone, Debug)]
pub struct RowProgram {
    /// Number of rows.
    pub rows: usize,
    /// Elements in a row.
    pub length: usize,
    /// What is read. The leading dimensions of each view multiply to `rows`, the last is `length` (read by a full
    /// value) or 1 (read by a row value).
    pub loads: Vec<View>,
    /// Instruction `i` defines value `i` from earlier ones.
    pub body: Vec<Instruction>,
    /// What is written, after all loads of the row.
    pub stores: Vec<Store>,
}

/// How many elements a value has in one row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extent {
    /// `length`.
    Full,
    /// One.
    Row,
}

/// Defines one value.
#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    /// What is computed.
    pub op: RowOp,
    /// Earlier values; as many as the operation takes.
    pub operands: Vec<usize>,
    /// Elements a row.
    pub extent: Extent,
    /// Element type; `Bool` values are never stored.
    pub dtype: DType,
}

/// The operations of a row program.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RowOp {
    /// Reads load `i`.
    Load(usize),
    /// An f32 (extent row).
    Constant(f32),
    /// A u32 (extent row).
    Index(u32),
    /// (linear / divisor) mod modulus, where `linear` is row·length + position for a full value and row for a row
    /// value.
    Iota {
        /// Product of the dimensions after the counted axis.
        divisor: usize,
        /// Length of the counted axis.
        modulus: usize,
    },
    /// An elementwise function.
    Unary(UnaryOp),
    /// Neither infinite nor NaN, by its bits.
    IsFinite,
    /// Conversion to the instruction's type.
    Cast,
    /// An elementwise function of two.
    Binary(BinaryOp),
    /// A comparison of two f32 or two u32.
    Compare(CompareOp),
    /// cond, a, b.
    Select,
    /// Over the row: a full value becomes a row value.
    Reduce(ReduceOp),
}

/// Writes one value.
#[derive(Clone, Debug)]
pub struct Store {
    /// The value.
    pub value: usize,
    /// Where to. For elements: leading dimensions multiply to `rows`, the last is `length` or 1 as the value's extent
    /// says. For a column sum: contiguous, `length` elements.
    pub to: View,
    /// Each element, or the sum over all rows.
    pub kind: StoreKind,
}

/// What a store writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// Every element of the value.
    Elements,
    /// Σ over all rows of a full value, for each position. The order of the sum depends on the shapes only.
    ColumnSum,
}

impl RowProgram {
    /// Whether any instruction reduces over the row.
    pub fn has_reduction(&self) -> bool {
        self.body.iter().any(|i| matches!(i.op, RowOp::Reduce(_)))
    }

    /// All views.
    pub(super) fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        self.loads.iter_mut().chain(self.stores.iter_mut().map(|store| &mut store.to))
    }

    /// Elementwise functions and additions of one launch.
    pub fn flops(&self) -> u64 {
        let elements = |extent: Extent| match extent {
            Extent::Full => self.rows as u64 * self.length as u64,
            Extent::Row => self.rows as u64,
        };
        let body = self.body.iter().map(|i| match i.op {
            RowOp::Load(_) | RowOp::Constant(_) | RowOp::Index(_) | RowOp::Iota { .. } | RowOp::Cast => 0,
            RowOp::Reduce(_) => elements(Extent::Full),
            _ => elements(i.extent),
        });
        let sums = self.stores.iter().filter(|s| s.kind == StoreKind::ColumnSum).map(|_| elements(Extent::Full));
        body.chain(sums).sum()
    }
}
