//! Register memory, one piece for each member of the team.

use std::cell::UnsafeCell;

use super::CpuBuffer;
use super::row::Arg;
use crate::Result;

/// What one thread needs while it runs tasks.
pub(super) struct Arena {
    pub args: Vec<Arg>,
    pub memory: CpuBuffer,
}

/// An arena for each member of a team.
pub(super) struct Arenas(Vec<UnsafeCell<Arena>>);

// SAFETY: a member runs one task at a time, and only that task uses the member's arena (see `Arenas::of`). The pointers
// in an arena are meaningful only within a task.
unsafe impl Sync for Arenas {}
// SAFETY: as above.
unsafe impl Send for Arenas {}

impl Arenas {
    /// # Errors
    /// As [`CpuBuffer::zeroed`].
    pub(super) fn new(members: usize, values: usize, elements: usize) -> Result<Self> {
        let arena = |_| {
            let memory = CpuBuffer::zeroed(elements)?;
            Ok(UnsafeCell::new(Arena { args: vec![Arg::NULL; values], memory }))
        };
        Ok(Self((0..members).map(arena).collect::<Result<_>>()?))
    }

    /// The arena of a member.
    ///
    /// # Safety
    /// The caller is the member's running task and takes it once.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the member's one running task")]
    pub(super) unsafe fn of(&self, member: usize) -> &mut Arena {
        // SAFETY: the caller's.
        unsafe { &mut *self.0[member].get() }
    }
}
