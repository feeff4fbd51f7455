//! Computing again what would have to be stored whole.

use std::collections::{BTreeSet, HashMap};

use super::{Uses, prune};
use crate::plan::{BufferId, Kernel, Place, Plan, Tiled, View};

/// A group that reads a large value of another one computes it itself, if nothing but groups of the same tiles reads
/// the value and what it is computed from is smaller.
pub(super) fn recompute(plan: &mut Plan) {
    let mut pairs: HashMap<(usize, usize), BTreeSet<BufferId>> = HashMap::new();
    let uses = Uses::of(plan);
    for buffer in (0..plan.buffers.len() as u32).map(BufferId) {
        let Some((writer, readers)) = shared(plan, &uses, buffer) else { continue };
        let Kernel::Tiled(group) = &plan.kernels[writer] else { continue };
        let (_, sources) = slice(group, &BTreeSet::from([buffer]));
        let numel = plan.buffers[buffer.index()].shape.numel();
        let is_kept = |source: &View| match plan.buffers[source.buffer.index()].place {
            Place::State(_) => uses.writers[source.buffer.index()].is_empty(),
            _ => true,
        };
        if sources.iter().all(|source| source.distinct() < numel && is_kept(source)) {
            readers.into_iter().for_each(|reader| {
                pairs.entry((writer, reader)).or_default().insert(buffer);
            });
        }
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort();
    for ((writer, reader), wanted) in pairs {
        let Kernel::Tiled(group) = &plan.kernels[writer] else { continue };
        let (kernels, _) = slice(group, &wanted);
        let kernels: Vec<Kernel> = kernels.into_iter().map(|position| group.kernels[position].clone()).collect();
        if is_in_step(plan, group, &kernels, reader) {
            compute_in(plan, reader, kernels);
        }
    }
}

/// Whether a tile of the reader would read only what the same tile has computed: everything that the kernels write,
/// they and the reader see in the same parts.
fn is_in_step(plan: &Plan, group: &Tiled, kernels: &[Kernel], reader: usize) -> bool {
    let Kernel::Tiled(other) = &plan.kernels[reader] else { return false };
    let written: BTreeSet<BufferId> = kernels.iter().flat_map(Kernel::writes).map(|view| view.buffer).collect();
    let mut views = kernels.iter().chain(&other.kernels).flat_map(|k| k.reads().into_iter().chain(k.writes()));
    views.all(|view| {
        !written.contains(&view.buffer) || group.is_in_parts(view, plan.buffers[view.buffer.index()].shape.numel())
    })
}

/// The group that writes a scratch buffer, and the others that read it, if those are all and they have the same tiles.
fn shared(plan: &Plan, uses: &Uses, buffer: BufferId) -> Option<(usize, BTreeSet<usize>)> {
    let is_scratch = matches!(plan.buffers[buffer.index()].place, Place::Slot(_)) && !plan.outputs.contains(&buffer);
    let writers = &uses.writers[buffer.index()];
    let writer = *writers.first()?;
    let readers: BTreeSet<usize> =
        uses.readers[buffer.index()].iter().copied().filter(|&reader| reader != writer).collect();
    let Kernel::Tiled(group) = &plan.kernels[writer] else { return None };
    let alike = |reader: &usize| matches!(&plan.kernels[*reader], Kernel::Tiled(other) if other.dims == group.dims);
    let alone = is_scratch && writers.iter().all(|&other| other == writer);
    (alone && !readers.is_empty() && readers.iter().all(alike)).then_some((writer, readers))
}

fn writes(kernel: &Kernel, buffer: BufferId) -> bool {
    kernel.writes().iter().any(|view| view.buffer == buffer)
}

/// The kernels of a group that compute these buffers, and what they read from outside the group.
fn slice<'a>(group: &'a Tiled, wanted: &BTreeSet<BufferId>) -> (Vec<usize>, Vec<&'a View>) {
    let mut needed = wanted.clone();
    let (mut kernels, mut sources) = (Vec::new(), Vec::new());
    for (position, kernel) in group.kernels.iter().enumerate().rev() {
        if kernel.writes().iter().any(|view| needed.contains(&view.buffer)) {
            needed.extend(kernel.reads().iter().map(|view| view.buffer));
            sources.extend(kernel.reads());
            kernels.push(position);
        }
    }
    kernels.reverse();
    sources.retain(|view| !group.kernels.iter().any(|kernel| writes(kernel, view.buffer)));
    (kernels, sources)
}

/// Puts kernels in front of those of a group, which then reads what they write under new names.
fn compute_in(plan: &mut Plan, reader: usize, mut kernels: Vec<Kernel>) {
    let written: BTreeSet<BufferId> = kernels.iter().flat_map(Kernel::writes).map(|view| view.buffer).collect();
    let mut renamed: HashMap<BufferId, BufferId> = HashMap::new();
    for buffer in written {
        let spec = plan.buffers[buffer.index()].clone();
        renamed.insert(buffer, BufferId(plan.buffers.len() as u32));
        plan.buffers.push(spec);
    }
    let Kernel::Tiled(group) = &mut plan.kernels[reader] else { return };
    kernels.append(&mut group.kernels);
    for kernel in &mut kernels {
        for view in kernel.views_mut() {
            view.buffer = renamed.get(&view.buffer).copied().unwrap_or(view.buffer);
        }
    }
    group.kernels = kernels;
}

/// Removes from groups whatever writes what nobody reads.
pub(super) fn drop_unread(plan: &mut Plan) {
    loop {
        let mut read = vec![false; plan.buffers.len()];
        plan.kernels.iter().flat_map(Kernel::reads).for_each(|view| read[view.buffer.index()] = true);
        plan.outputs.iter().for_each(|output| read[output.index()] = true);
        let buffers = &plan.buffers;
        let keep = |buffer: BufferId| read[buffer.index()] || !matches!(buffers[buffer.index()].place, Place::Slot(_));
        let mut dropped = false;
        for kernel in &mut plan.kernels {
            let Kernel::Tiled(group) = kernel else { continue };
            for inner in std::mem::take(&mut group.kernels) {
                let unread = inner.writes().iter().filter(|view| !keep(view.buffer)).count();
                dropped |= unread > 0;
                match inner {
                    Kernel::Row(program) if unread > 0 && unread < program.stores.len() => {
                        group.kernels.push(Kernel::Row(prune(&program, keep)));
                    }
                    _ if unread > 0 => {}
                    inner => group.kernels.push(inner),
                }
            }
        }
        if !dropped {
            return;
        }
    }
}
