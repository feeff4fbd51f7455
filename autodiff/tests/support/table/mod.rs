//! The table of op cases: every primitive over shapes and ranges, and the idioms that devices fuse. It drives the
//! results on each device, the gradients, the updates in place, and (`edges`) what happens at the edges of f32.

mod contractions;
pub mod edges;
mod elementwise;
mod idioms;
mod layout;
mod reductions;

use primer_tensor::{NodeId, Result, Shape};

use super::leaves::{Built, Leaves};

/// A program of the table.
pub struct OpCase {
    pub name: String,
    /// The result of what the case is about; its operands are inputs of the program.
    pub built: Built,
    /// All results are finite: so it is but for reductions over nothing.
    pub finite: bool,
}

pub(super) struct Table(Vec<OpCase>);

impl Table {
    fn case(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Leaves) -> Result<NodeId>) {
        let name = name.into();
        let mut leaves = Leaves::new(self.0.len() as u64 * 1000 + 1);
        let y = build(&mut leaves).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.0.push(OpCase { name, built: leaves.finish(vec![y]), finite: true });
    }

    /// A case with a dimension of length 0.
    fn empty(&mut self, name: impl Into<String>, build: impl FnOnce(&mut Leaves) -> Result<NodeId>) {
        self.case(format!("empty: {}", name.into()), build);
        if let Some(case) = self.0.last_mut() {
            case.finite = false;
        }
    }
}

fn shape<const N: usize>(dims: [usize; N]) -> Shape {
    Shape::from(dims)
}

/// Every case.
pub fn cases() -> Vec<OpCase> {
    let mut table = Table(Vec::new());
    elementwise::elementwise(&mut table);
    reductions::reductions(&mut table);
    layout::layout(&mut table);
    contractions::contractions(&mut table);
    idioms::idioms(&mut table);
    table.0
}

/// The cases of rows so long that they are kept out of the table, which runs many times.
pub fn long_rows() -> Vec<OpCase> {
    let mut table = Table(Vec::new());
    idioms::long_rows(&mut table);
    table.0
}
