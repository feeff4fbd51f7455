//! Scratch memory: buffers whose lifetimes do not overlap share a slot.

use std::cmp::Reverse;

use crate::plan::{BufferSpec, Place, Plan};

/// Assigns slots, to large buffers first (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net
/// Inference", greedy by size): a small buffer with a long life then finds no large slot free all that time, and gets
/// one of its own size. A buffer lives from the first kernel that writes it to the last that touches it; both ends are
/// included, so no kernel reads and writes one slot. Outputs have theirs alone.
pub(super) fn share_slots(plan: &mut Plan) {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.buffers.len()];
    for (at, kernel) in plan.kernels.iter().enumerate() {
        for view in kernel.writes() {
            lives[view.buffer.index()].get_or_insert((at, at));
        }
        for view in kernel.reads().into_iter().chain(kernel.writes()) {
            if let Some((_, end)) = &mut lives[view.buffer.index()] {
                *end = at;
            }
        }
    }
    for output in &plan.outputs {
        lives[output.index()] = lives[output.index()].map(|_| (0, usize::MAX));
    }
    let in_slots = plan.buffers.iter().zip(lives).enumerate();
    let mut in_slots: Vec<(usize, usize, (usize, usize))> = in_slots
        .filter(|(_, (spec, _))| matches!(spec.place, Place::Slot(_)))
        .filter_map(|(buffer, (spec, life))| Some((buffer, words(spec), life?)))
        .collect();
    in_slots.sort_by_key(|&(buffer, words, life)| (Reverse(words), life, buffer));
    // The lives in each slot; slots are in descending order of size.
    let mut held: Vec<Vec<(usize, usize)>> = Vec::new();
    plan.slots.clear();
    for (buffer, words, (start, end)) in in_slots {
        let is_free = |slot: &usize| held[*slot].iter().all(|&(from, to)| to < start || end < from);
        let slot = (0..held.len()).rev().find(is_free).unwrap_or_else(|| {
            plan.slots.push(words);
            held.push(Vec::new());
            held.len() - 1
        });
        held[slot].push((start, end));
        plan.buffers[buffer].place = Place::Slot(slot);
    }
}

/// Words of four bytes.
fn words(spec: &BufferSpec) -> usize {
    spec.size().div_ceil(4) as usize
}
