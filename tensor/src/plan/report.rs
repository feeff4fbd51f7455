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
    /// Bytes moved between memory and kernels: for each kernel, each distinct element of each view that it reads or writes, once.
    /// Two views of one element count twice; what a tiled kernel holds between its own kernels does not count.
    pub bytes: u64,
    /// Bytes of scratch memory.
    pub scratch_bytes: u64,
    /// Bytes of scratch memory for one tile at a time; once a device has compiled the plan, for all its threads.
    pub tile_bytes: u64,
    /// Bytes of the state entries that the program reads or writes.
    pub state_bytes: u64,
    /// Bytes of the data inputs.
    pub data_bytes: u64,
}

impl PlanReport {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            launches: plan.kernels.len(),
            matmul_flops: plan.kernels.iter().map(Kernel::matmul_flops).sum(),
            flops: plan.kernels.iter().map(Kernel::flops).sum(),
            bytes: plan.kernels.iter().map(Kernel::bytes).sum(),
            scratch_bytes: 4 * plan.slots.iter().sum::<usize>() as u64,
            tile_bytes: plan.kernels.iter().map(|kernel| tile_bytes(plan, kernel)).max().unwrap_or(0),
            state_bytes: plan.named_bytes(|place| matches!(place, Place::State(_))),
            data_bytes: plan.named_bytes(|place| matches!(place, Place::Data(_))),
        }
    }

    /// Bytes held at once while the program runs: state, data inputs and scratch. What threads need to compute, such as registers
    /// and packed operands of products, comes on top: some megabytes a thread.
    pub fn peak_bytes(&self) -> u64 {
        self.scratch_bytes + self.tile_bytes + self.state_bytes + self.data_bytes
    }
}

/// What one tile of a kernel holds.
fn tile_bytes(plan: &Plan, kernel: &Kernel) -> u64 {
    let Kernel::Tiled(tiled) = kernel else { return 0 };
    let elements: usize = tiled.locals.iter().map(|local| plan.buffers[local.index()].shape.numel()).sum();
    4 * (elements / tiled.tiles().max(1)) as u64
}
