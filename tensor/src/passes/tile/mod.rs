//! Tiling: kernels with large values between them run on one tile of their common leading dimensions before the next.
//!
//! Attention is the case in point, as written by hand or as evolved: scores, weights and their gradients are held for one head
//! of one sequence at a time. A group grows around a batched product by kernels that share a large value with it, as long as
//! groups and the other kernels can still be put in an order. A large value of one group that another one reads (the gradient
//! needs the weights) is computed there again: reading it would mean to store it whole.

mod again;
mod group;
mod triangle;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::group::Tiling;
use super::PlanLimits;
use crate::plan::{BufferId, Kernel, Place, Plan, RowProgram, Tiled};

/// Groups the kernels of a plan whose slots are not assigned yet.
pub(super) fn tile(plan: &mut Plan, limits: PlanLimits) {
    let Some(limits) = limits.tiles else { return };
    let groups = {
        let mut tiling = Tiling::new(plan, limits.bytes.div_ceil(4).max(1));
        tiling.grow_all();
        tiling.finish()
    };
    if groups.is_empty() {
        return;
    }
    let order = order(plan, &groups);
    let mut units: Vec<Option<Kernel>> = std::mem::take(&mut plan.kernels).into_iter().map(Some).collect();
    units.extend(groups.into_iter().map(|group| Some(Kernel::Tiled(group.tiled))));
    plan.kernels = order.into_iter().filter_map(|unit| units[unit].take()).collect();
    again::recompute(plan);
    again::drop_unread(plan);
    settle_locals(plan);
    triangle::cut(plan, limits.rows);
    compact(plan);
}

/// Single kernels and groups (numbered after all kernels) in an order that respects what they read and write.
fn order(plan: &Plan, groups: &[group::Group]) -> Vec<usize> {
    let singles = plan.kernels.len();
    let mut unit_of: Vec<usize> = (0..singles).collect();
    for (position, group) in groups.iter().enumerate() {
        group.members.iter().for_each(|&member| unit_of[member] = singles + position);
    }
    let key = |unit: usize| if unit < singles { unit } else { groups[unit - singles].members.last().map_or(0, |&m| m) };
    let after = group::successors(plan);
    let mut waiting = vec![0usize; singles + groups.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); singles + groups.len()];
    for (kernel, later) in after.iter().enumerate() {
        for &user in later {
            if unit_of[kernel] != unit_of[user] {
                users[unit_of[kernel]].push(unit_of[user]);
                waiting[unit_of[user]] += 1;
            }
        }
    }
    let present = |unit: usize| unit >= singles || unit_of[unit] == unit;
    let ready = (0..waiting.len()).filter(|&unit| present(unit) && waiting[unit] == 0);
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> = ready.map(|unit| Reverse((key(unit), unit))).collect();
    let mut order = Vec::new();
    while let Some(Reverse((_, unit))) = ready.pop() {
        order.push(unit);
        for &user in &users[unit] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse((key(user), user)));
            }
        }
    }
    debug_assert_eq!(
        order.len(),
        (0..waiting.len()).filter(|&unit| present(unit)).count(),
        "groups wait for each other"
    );
    order
}

/// Makes each scratch buffer that only one group touches, part by part, local to it; a group with nothing large to hold is cut up.
fn settle_locals(plan: &mut Plan) {
    let mut touched_by: Vec<Vec<usize>> = vec![Vec::new(); plan.buffers.len()];
    for (position, kernel) in plan.kernels.iter().enumerate() {
        for buffer in kernel.buffers() {
            touched_by[buffer.index()].push(position);
        }
    }
    for position in 0..plan.kernels.len() {
        let Kernel::Tiled(tiled) = &plan.kernels[position] else { continue };
        let mut locals: Vec<BufferId> = Vec::new();
        for buffer in plan.kernels[position].buffers() {
            let spec = &plan.buffers[buffer.index()];
            let alone = touched_by[buffer.index()] == [position] && !plan.outputs.contains(&buffer);
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
        if let crate::plan::RowOp::Load(load) = &mut instruction.op {
            loads.push(program.loads[*load].clone());
            *load = loads.len() - 1;
        }
        value_of[position] = body.len();
        body.push(instruction);
    }
    stores.iter_mut().for_each(|store| store.value = value_of[store.value]);
    RowProgram { rows: program.rows, length: program.length, loads, body, stores }
}
