//! From a program to a plan: canonical form, views, fusion, schedule, kernels, memory.
//!
//! - [`canonicalize`]: graph → graph.
//! - `views`: reshapes, permutations, slices and repetitions become strides; what strides can't say is copied.
//! - `group`: elementwise nodes and reductions are fused into row programs.
//! - `recompute`: a cheap value that other kernels would read is computed there again from what is in memory anyway.
//! - `storage`: state is updated in place where no one still reads the old value; a copy that only reorders its one
//!   source becomes the layout in which the source is written.
//! - `lower`: the schedule and the kernels.
//! - `tile`: kernels with large values between them run tile by tile.
//! - `epilogue`: what follows a matrix product element by element is done before the product leaves the kernel.
//! - `half`: what products alone read is stored in 16 bits, where that is asked for.
//! - `memory`: scratch buffers whose lifetimes do not overlap share a slot.

mod alias;
mod canonicalize;
mod epilogue;
mod group;
mod half;
mod lower;
mod memory;
mod order;
mod reach;
mod recompute;
mod rows;
mod storage;
mod tile;
mod views;

#[cfg(test)]
mod tests;

pub use canonicalize::canonicalize;

use crate::plan::{Plan, View};
use crate::{Program, Result};

/// What a device can take in one kernel.
#[derive(Clone, Copy, Debug)]
pub struct PlanLimits {
    /// Distinct buffers that one kernel may bind.
    pub buffers: usize,
    /// What is held tile by tile where the program allows it; nothing, if there are no limits.
    pub tiles: Option<TileLimits>,
    /// Whether matrix products take what follows them element by element into their kernels.
    pub epilogues: bool,
    /// Whether what matrix products alone read is stored as f16.
    pub half_operands: bool,
}

impl Default for PlanLimits {
    /// Any number of buffers, no tiles, no epilogues, f32 throughout.
    fn default() -> Self {
        Self { buffers: usize::MAX, tiles: None, epilogues: false, half_operands: false }
    }
}

/// What is worth holding tile by tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TileLimits {
    /// Bytes of the smallest tensor.
    pub bytes: usize,
    /// Fewest rows of a block of a square: a block is held at a time, and where later positions are masked, they are
    /// computed up to the diagonal.
    pub rows: usize,
    /// Fewest tiles, but for squares of 64 MiB and more: threads share tiles, never what is inside one.
    pub fewest: usize,
    /// Bytes of what is held, for as many tiles at a time as fit, at least one: the plan has their kernels chunk by
    /// chunk, and none that is [`Tiled`](crate::plan::Tiled). None where the device runs tiled kernels.
    pub chunk: Option<usize>,
}

/// Plans a program.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) where the graph breaks one of its invariants.
pub fn plan(program: &Program, limits: PlanLimits) -> Result<Plan> {
    let program = canonicalize(program)?;
    if cfg!(debug_assertions) {
        program.graph.verify()?;
    }
    let live = program.graph.live(program.roots());
    let views = views::resolve(&program.graph);
    let mut groups = group::group(&program, &views, &live, limits);
    groups.recomputed = recompute::choose(&program, &views, &live, &groups);
    let mut plan = finish(&program, &views, &live, groups);
    if plan.kernels.iter().any(|kernel| kernel.buffers().len() > limits.buffers) {
        // What is computed again needs its operands: with few bindings, values are read instead.
        plan = finish(&program, &views, &live, group::group(&program, &views, &live, limits));
    }
    tile::tile(&mut plan, limits);
    if limits.epilogues {
        epilogue::fuse(&mut plan, limits.buffers);
    }
    if limits.half_operands {
        half::store_operands(&mut plan);
    }
    memory::share_slots(&mut plan);
    plan.report = crate::plan::PlanReport::of(&plan);
    Ok(plan)
}

fn finish(program: &Program, views: &[View], live: &[bool], mut groups: group::Groups) -> Plan {
    let storage = storage::assign(program, views, live, &mut groups);
    lower::lower(program, views, &groups, &storage)
}
