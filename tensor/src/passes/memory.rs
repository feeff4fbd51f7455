//! Scratch memory: buffers whose lifetimes do not overlap share a slot.

use crate::plan::{Place, Plan};

/// Assigns slots. A buffer lives from the first kernel that writes it to the last that touches it; both ends are included, so
/// no kernel reads and writes one slot. Outputs keep theirs.
pub(super) fn share_slots(plan: &mut Plan) {
    let mut last_use = vec![0usize; plan.buffers.len()];
    for (at, kernel) in plan.kernels.iter().enumerate() {
        for view in kernel.reads().into_iter().chain(kernel.writes()) {
            last_use[view.buffer.index()] = at;
        }
    }
    for output in &plan.outputs {
        last_use[output.index()] = usize::MAX;
    }
    let mut slots: Vec<usize> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut slot_of: Vec<Option<usize>> = vec![None; plan.buffers.len()];
    for (at, kernel) in plan.kernels.iter().enumerate() {
        for view in kernel.writes() {
            let buffer = view.buffer.index();
            let spec = &plan.buffers[buffer];
            if !matches!(spec.place, Place::Slot(_)) || slot_of[buffer].is_some() {
                continue;
            }
            let need = spec.shape.numel();
            // Outputs stay out of shared slots: whatever came before in one may be any size.
            let reuse = if last_use[buffer] == usize::MAX { None } else { best_fit(&slots, &free, need) };
            let slot = match reuse {
                Some(position) => free.swap_remove(position),
                None => {
                    slots.push(0);
                    slots.len() - 1
                }
            };
            slots[slot] = slots[slot].max(need);
            slot_of[buffer] = Some(slot);
        }
        for view in kernel.reads().into_iter().chain(kernel.writes()) {
            let buffer = view.buffer.index();
            if last_use[buffer] == at
                && let Some(slot) = slot_of[buffer]
                && !free.contains(&slot)
            {
                free.push(slot);
            }
        }
    }
    for (spec, slot) in plan.buffers.iter_mut().zip(slot_of) {
        if let (Place::Slot(place), Some(slot)) = (&mut spec.place, slot) {
            *place = slot;
        }
    }
    plan.slots = slots;
}

/// The smallest free slot that is large enough, else the largest, to be grown.
fn best_fit(slots: &[usize], free: &[usize], need: usize) -> Option<usize> {
    let fitting = (0..free.len()).filter(|&i| slots[free[i]] >= need).min_by_key(|&i| slots[free[i]]);
    fitting.or_else(|| (0..free.len()).max_by_key(|&i| slots[free[i]]))
}
