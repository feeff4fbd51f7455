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
    /// Bytes moved between memory and kernels: for each kernel, each distinct element of each view that it reads or
    /// writes, once. Two views of one element count twice; what a tiled kernel holds between its own kernels does not
    /// count.
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

/// What one kernel of a plan does: the terms of a roofline model (Williams et al. 2009).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelCost {
    /// The position in the plan of the kernel, or of the tiled one that it is a part of.
    pub kernel: usize,
    /// Floating-point operations, as [`Kernel::flops`].
    pub flops: u64,
    /// Bytes read and written, as [`Kernel::bytes`]; for a kernel inside a tiled one, those of its tile too.
    pub bytes: u64,
}

impl Plan {
    /// What each kernel does, in order; those that a tiled one consists of stand in its place.
    pub fn kernel_costs(&self) -> Vec<KernelCost> {
        fn collect(plan: &Plan, at: usize, kernel: &Kernel, costs: &mut Vec<KernelCost>) {
            match kernel {
                Kernel::Tiled(tiled) => tiled.kernels.iter().for_each(|part| collect(plan, at, part, costs)),
                _ => costs.push(KernelCost { kernel: at, flops: kernel.flops(), bytes: kernel.bytes(&plan.buffers) }),
            }
        }
        let mut costs = Vec::new();
        for (at, kernel) in self.kernels.iter().enumerate() {
            collect(self, at, kernel, &mut costs);
        }
        costs
    }
}

impl PlanReport {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            launches: plan.kernels.len(),
            matmul_flops: plan.kernels.iter().map(Kernel::matmul_flops).sum(),
            flops: plan.kernels.iter().map(Kernel::flops).sum(),
            bytes: plan.kernels.iter().map(|kernel| kernel.bytes(&plan.buffers)).sum(),
            scratch_bytes: 4 * plan.slots.iter().sum::<usize>() as u64,
            tile_bytes: plan.kernels.iter().map(|kernel| tile_bytes(plan, kernel)).max().unwrap_or(0),
            state_bytes: plan.named_bytes(|place| matches!(place, Place::State(_))),
            data_bytes: plan.named_bytes(|place| matches!(place, Place::Data(_))),
        }
    }

    /// Bytes held at once while the program runs: state, data inputs and scratch. What threads need to compute, such as
    /// registers and packed operands of products, comes on top: some megabytes a thread.
    pub fn peak_bytes(&self) -> u64 {
        self.scratch_bytes + self.tile_bytes + self.state_bytes + self.data_bytes
    }
}

/// What one tile of a kernel holds.
fn tile_bytes(plan: &Plan, kernel: &Kernel) -> u64 {
    let Kernel::Tiled(tiled) = kernel else { return 0 };
    let bytes: u64 = tiled.locals.iter().map(|local| plan.buffers[local.index()].size()).sum();
    bytes / tiled.tiles().max(1) as u64
}
