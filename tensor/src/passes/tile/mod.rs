//! Tiling: kernels with large values between them run on one tile of their common leading dimensions before the next.
//!
//! Attention is the case in point, as written by hand or as evolved: scores, weights and their gradients are held for
//! one head of one sequence at a time, and of these for some rows (`square`). A group grows around a batched product by kernels that share a large value with
//! it, as long as groups and the other kernels can still be put in an order. A large value of one group that another
//! one reads (the gradient needs the weights) is computed there again: reading it would mean to store it whole. A
//! device whose launches need many tiles to be worth their while gets these kernels for a chunk of tiles at a time.

mod again;
mod chunk;
mod group;
mod square;

#[cfg(test)]
mod tests;

use self::group::Tiling;
use super::PlanLimits;
use crate::plan::{BufferId, Kernel, Place, Plan, RowOp, RowProgram, Tiled};

/// Groups the kernels of a plan whose slots are not assigned yet.
pub(super) fn tile(plan: &mut Plan, limits: PlanLimits) {
    let Some(limits) = limits.tiles else { return };
    let mut tiling = Tiling::new(plan, limits.bytes.div_ceil(4).max(1), limits.fewest);
    tiling.grow_all();
    let Some(kernels) = tiling.finish() else { return };
    plan.kernels = kernels;
    again::recompute(plan);
    again::drop_unread(plan);
    settle_locals(plan);
    square::cut(plan, limits.rows);
    if let Some(bytes) = limits.chunk {
        chunk::cut(plan, bytes);
    }
    compact(plan);
}

/// The kernels that touch each buffer, in order; one that reads it twice is there twice.
struct Uses {
    readers: Vec<Vec<usize>>,
    writers: Vec<Vec<usize>>,
}

impl Uses {
    fn of(plan: &Plan) -> Self {
        let none = || vec![Vec::new(); plan.buffers.len()];
        let mut uses = Self { readers: none(), writers: none() };
        for (position, kernel) in plan.kernels.iter().enumerate() {
            kernel.reads().iter().for_each(|view| uses.readers[view.buffer.index()].push(position));
            kernel.writes().iter().for_each(|view| uses.writers[view.buffer.index()].push(position));
        }
        uses
    }

    fn all(&self, buffer: BufferId) -> impl Iterator<Item = usize> {
        self.readers[buffer.index()].iter().chain(&self.writers[buffer.index()]).copied()
    }
}

/// Makes each scratch buffer that only one group touches, part by part, local to it; a group with nothing to hold is
/// cut up.
fn settle_locals(plan: &mut Plan) {
    let uses = Uses::of(plan);
    for position in 0..plan.kernels.len() {
        let Kernel::Tiled(tiled) = &plan.kernels[position] else { continue };
        let mut locals: Vec<BufferId> = Vec::new();
        for buffer in plan.kernels[position].buffers() {
            let spec = &plan.buffers[buffer.index()];
            let alone = uses.all(buffer).all(|user| user == position) && !plan.outputs.contains(&buffer);
            if alone && matches!(spec.place, Place::Slot(_)) && is_cut(tiled, buffer, spec.shape.numel()) {
                locals.push(buffer);
            }
        }
        for local in &locals {
            plan.buffers[local.index()].place = Place::Tile;
        }
        if let Kernel::Tiled(tiled) = &mut plan.kernels[position] {
            tiled.locals = locals;
        }
    }
    let kernels = std::mem::take(&mut plan.kernels);
    plan.kernels = kernels
        .into_iter()
        .flat_map(|kernel| match kernel {
            Kernel::Tiled(tiled) if tiled.locals.is_empty() => tiled.kernels,
            other => vec![other],
        })
        .collect();
}

/// Whether every view of the buffer keeps each tile in a contiguous part of its own.
fn is_cut(tiled: &Tiled, buffer: BufferId, numel: usize) -> bool {
    let mut views = tiled.kernels.iter().flat_map(|k| k.reads().into_iter().chain(k.writes()));
    views.all(|view| view.buffer != buffer || tiled.is_in_parts(view, numel))
}

/// Forgets buffers that nothing touches.
fn compact(plan: &mut Plan) {
    let mut used = vec![false; plan.buffers.len()];
    for kernel in &mut plan.kernels {
        kernel.views_mut().iter().for_each(|view| used[view.buffer.index()] = true);
    }
    plan.outputs.iter().for_each(|output| used[output.index()] = true);
    let mut next = 0;
    let renamed: Vec<BufferId> = used
        .iter()
        .map(|&used| {
            let id = BufferId(next);
            next += u32::from(used);
            id
        })
        .collect();
    for kernel in &mut plan.kernels {
        kernel.views_mut().into_iter().for_each(|view| view.buffer = renamed[view.buffer.index()]);
        if let Kernel::Tiled(tiled) = kernel {
            tiled.locals.iter_mut().for_each(|local| *local = renamed[local.index()]);
        }
    }
    plan.outputs.iter_mut().for_each(|output| *output = renamed[output.index()]);
    let mut used = used.into_iter();
    plan.buffers.retain(|_| used.next().unwrap_or(true));
}

/// The program without the stores that `keep` refuses, nor what only they needed.
fn prune(program: &RowProgram, keep: impl Fn(BufferId) -> bool) -> RowProgram {
    let mut stores: Vec<_> = program.stores.iter().filter(|store| keep(store.to.buffer)).cloned().collect();
    let mut live = vec![false; program.body.len()];
    stores.iter().for_each(|store| live[store.value] = true);
    for position in (0..program.body.len()).rev() {
        if live[position] {
            program.body[position].operands.iter().for_each(|&operand| live[operand] = true);
        }
    }
    let mut value_of = vec![0; program.body.len()];
    let (mut loads, mut body) = (Vec::new(), Vec::new());
    for (position, instruction) in program.body.iter().enumerate().filter(|(position, _)| live[*position]) {
        let mut instruction = instruction.clone();
        instruction.operands.iter_mut().for_each(|operand| *operand = value_of[*operand]);
        if let RowOp::Load(load) = &mut instruction.op {
            loads.push(program.loads[*load].clone());
            *load = loads.len() - 1;
        }
        value_of[position] = body.len();
        body.push(instruction);
    }
    stores.iter_mut().for_each(|store| store.value = value_of[store.value]);
    RowProgram { rows: program.rows, length: program.length, loads, body, stores }
}
