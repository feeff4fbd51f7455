//! Chunks: a device that launches a kernel for many tiles at once runs a tiled kernel chunk by chunk.
//!
//! Each chunk is a box of tiles, and its kernels are those of the tiled kernel, fitted to the box by where their views
//! begin: so all chunks of one shape run the same code. Local buffers become scratch of one chunk's size. They are new
//! ones in every chunk, so that those of one chunk that do not live at once share memory too, and the next chunk takes
//! it over.

use std::collections::HashMap;

use crate::plan::{BufferId, BufferSpec, Kernel, Place, Plan, Tiled, View};

/// Puts in the place of each tiled kernel its kernels, for as many tiles at a time as hold `bytes` of local values.
pub(super) fn cut(plan: &mut Plan, bytes: usize) {
    for kernel in std::mem::take(&mut plan.kernels) {
        match kernel {
            Kernel::Tiled(tiled) => launch(plan, &tiled, bytes),
            kernel => plan.kernels.push(kernel),
        }
    }
}

fn launch(plan: &mut Plan, tiled: &Tiled, bytes: usize) {
    let held: usize = tiled.locals.iter().map(|local| 4 * part(plan, tiled, *local)).sum();
    for tiles in boxes(&tiled.dims, bytes / held.max(1)) {
        let count: usize = tiles.iter().map(|(start, end)| end - start).product();
        let mut held: HashMap<BufferId, BufferId> = HashMap::new();
        for &local in &tiled.locals {
            held.insert(local, BufferId(plan.buffers.len() as u32));
            let shape = [count * part(plan, tiled, local)].into();
            let dtype = plan.buffers[local.index()].dtype;
            plan.buffers.push(BufferSpec::new(shape, dtype, Place::Slot(0)));
        }
        for kernel in &tiled.kernels {
            let mut kernel = kernel.clone();
            for view in kernel.views_mut() {
                *view = match held.get(&view.buffer) {
                    Some(&buffer) => View { buffer, offset: view.offset, ..within(view, &tiles) },
                    None => within(view, &tiles),
                };
            }
            if let Kernel::Row(program) = &mut kernel {
                program.rows = program.rows / tiled.tiles() * count;
            }
            plan.kernels.push(kernel);
        }
    }
}

/// Elements of a local buffer that belong to one tile.
fn part(plan: &Plan, tiled: &Tiled, local: BufferId) -> usize {
    plan.buffers[local.index()].shape.numel() / tiled.tiles()
}

/// The part of a view that belongs to a box of tiles.
fn within(view: &View, tiles: &[(usize, usize)]) -> View {
    let ranges = tiles.iter().enumerate();
    ranges.fold(view.clone(), |view, (axis, &(start, end))| view.slice(axis, start, end))
}

/// Boxes that cover dimensions in row-major order, each of at most `fit` indices and at least one: a range along each
/// dimension.
fn boxes(dims: &[usize], fit: usize) -> Vec<Vec<(usize, usize)>> {
    let Some(mut axis) = dims.len().checked_sub(1) else { return vec![Vec::new()] };
    // Dimensions after it are whole.
    let mut inner = 1;
    while axis > 0 && inner * dims[axis] <= fit {
        inner *= dims[axis];
        axis -= 1;
    }
    let most = (fit / inner).clamp(1, dims[axis]);
    // Boxes of one shape share their code, unless they would have to be much smaller for it.
    let even = (1..=most).rev().find(|&step| dims[axis].is_multiple_of(step)).unwrap_or(1);
    let step = if 2 * even >= most { even } else { most };
    let mut found: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    for (at, &dim) in dims.iter().enumerate() {
        let step = match at.cmp(&axis) {
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Equal => step,
            std::cmp::Ordering::Greater => dim,
        };
        let ranges = |lead: Vec<(usize, usize)>| {
            let range = move |start: usize| [lead.clone(), vec![(start, (start + step).min(dim))]].concat();
            (0..dim).step_by(step).map(range)
        };
        found = found.into_iter().flat_map(ranges).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_cover_every_tile_once_and_in_order() {
        for dims in [vec![], vec![1], vec![7], vec![16, 8], vec![3, 5], vec![2, 3, 4], vec![4, 1, 6]] {
            let all: usize = dims.iter().product();
            for fit in 0..=all + 1 {
                let boxes = boxes(&dims, fit);
                let mut next = 0;
                for tiles in &boxes {
                    let mut inside = vec![0];
                    for (&dim, &(start, end)) in dims.iter().zip(tiles) {
                        inside = inside.into_iter().flat_map(|at| (start..end).map(move |i| at * dim + i)).collect();
                    }
                    assert!(inside.len() <= fit.max(1), "{dims:?} by {fit}: {tiles:?}");
                    assert!(inside.iter().copied().eq(next..next + inside.len()), "{dims:?} by {fit}: {tiles:?}");
                    next += inside.len();
                }
                assert_eq!(next, all);
                assert!(fit < all || boxes.len() == 1);
            }
        }
    }
}
