//! Several kernels tile by tile: threads share the tiles, and each runs all kernels on one before it takes the next.

use std::cell::UnsafeCell;
use std::collections::HashMap;

use super::arena::Arenas;
use super::isa::Isa;
use super::kernels::{Bases, Compiled, arena_of, compile, execute};
use super::team::Team;
use super::{CpuBuffer, CpuDevice};
use crate::Result;
use crate::plan::{BufferId, Plan, Tiled, View};

/// A compiled [`Tiled`] kernel.
pub(super) struct TiledKernel {
    tiled: Tiled,
    views: Vec<TileView>,
    members: Vec<UnsafeCell<Member>>,
}

/// Where a view of a kernel begins in each tile.
struct TileView {
    view: View,
    /// The position in a member's memory, if the buffer is local.
    local: Option<usize>,
}

/// What one thread needs. Its kernels see each of their views as a buffer that begins where the tile's part does.
struct Member {
    kernels: Vec<Compiled>,
    bases: Bases,
    memory: CpuBuffer,
    arenas: Arenas,
    alone: Team,
}

// SAFETY: a member runs one task at a time, and only that task uses the member's part.
unsafe impl Sync for TiledKernel {}
// SAFETY: as above; nothing is bound to a thread.
unsafe impl Send for TiledKernel {}

/// Elements of a cache line: local tensors begin on one.
const LINE: usize = 16;

impl TiledKernel {
    /// # Errors
    /// As [`CpuBuffer::zeroed`].
    pub(super) fn new(tiled: &Tiled, plan: &Plan, device: &CpuDevice) -> Result<Self> {
        let mut elements = 0;
        let mut starts = HashMap::new();
        for &local in &tiled.locals {
            starts.insert(local, elements);
            let part = plan.buffers[local.index()].shape.numel() / tiled.tiles().max(1);
            elements += part.next_multiple_of(LINE);
        }
        let mut views = Vec::new();
        let kernels = tiled.on_tile(|view| {
            views.push(TileView { view: view.clone(), local: starts.get(&view.buffer).copied() });
            View { buffer: BufferId(views.len() as u32 - 1), offset: 0, ..tiled.part(view) }
        });
        let members = (0..device.threads()).map(|_| {
            let kernels = kernels.iter().map(|kernel| compile(kernel, plan, device)).collect::<Result<Vec<_>>>()?;
            let (values, registers) = arena_of(&kernels);
            Ok(UnsafeCell::new(Member {
                kernels,
                bases: Bases::new(views.len()),
                memory: CpuBuffer::zeroed(elements)?,
                arenas: Arenas::new(1, values, registers)?,
                alone: Team::new(1),
            }))
        });
        Ok(Self { tiled: tiled.clone(), members: members.collect::<Result<_>>()?, views })
    }

    /// Executes the kernels on all tiles.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses what is written.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team, isa: Isa) {
        team.run(self.tiled.tiles(), &|tile, member| {
            // SAFETY: this is the member's one running task.
            let Member { kernels, bases: parts, memory, arenas, alone } = unsafe { &mut *self.members[member].get() };
            for (position, TileView { view, local }) in self.views.iter().enumerate() {
                // SAFETY: the position of the first element of the tile's part; local memory holds all local parts.
                let start = unsafe {
                    match local {
                        Some(local) => memory.as_mut_ptr().add(local + view.offset),
                        None => {
                            let start = view.offset as isize + self.tiled.start(view, tile);
                            bases.get(view.buffer.index()).offset(start)
                        }
                    }
                };
                parts.set(position, start);
            }
            for kernel in kernels {
                // SAFETY: the views lie within the parts; tiles write disjoint ones.
                unsafe { execute(kernel, parts, alone, isa, arenas) };
            }
        });
    }
}
