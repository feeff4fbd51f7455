//! What one run of a plan costs.

use super::{Kernel, Place, Plan};

/// Counts of one run, from the plan alone.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct PlanReport {
    /// Kernels launched.
    pub launches: usize,
    /// Floating-point operations of matrix products.
    pub matmul_flops: u64,
    /// All floating-point operations.
    pub flops: u64,
    /// Bytes moved: each distinct element of each kernel's views once.
    pub bytes: u64,
    /// Bytes of scratch memory.
    pub scratch_bytes: u64,
    /// Bytes of scratch memory for one tile at a time; once a device has compiled the plan, for all its threads.
    pub tile_bytes: u64,
    /// Bytes of the state entries that the program reads or writes.
    pub state_bytes: u64,
}

impl PlanReport {
    pub(crate) fn of(plan: &Plan) -> Self {
        let states = plan.buffers.iter().filter(|b| matches!(b.place, Place::State(_)));
        Self {
            launches: plan.kernels.len(),
            matmul_flops: plan.kernels.iter().map(Kernel::matmul_flops).sum(),
            flops: plan.kernels.iter().map(Kernel::flops).sum(),
            bytes: plan.kernels.iter().map(Kernel::bytes).sum(),
            scratch_bytes: 4 * plan.slots.iter().sum::<usize>() as u64,
            tile_bytes: plan.kernels.iter().map(|kernel| tile_bytes(plan, kernel)).max().unwrap_or(0),
            state_bytes: 4 * states.map(|b| b.shape.numel()).sum::<usize>() as u64,
        }
    }

    /// Bytes needed while the program runs: state and scratch.
    pub fn peak_bytes(&self) -> u64 {
        self.scratch_bytes + self.tile_bytes + self.state_bytes
    }
}

/// What one tile of a kernel holds.
fn tile_bytes(plan: &Plan, kernel: &Kernel) -> u64 {
    let Kernel::Tiled(tiled) = kernel else { return 0 };
    let elements: usize = tiled.locals.iter().map(|local| plan.buffers[local.index()].shape.numel()).sum();
    4 * (elements / tiled.tiles().max(1)) as u64
}
