//! A plan by itself.

use std::time::Duration;

use super::kernels::{Bases, Kernels};
use super::{CpuBuffer, CpuDevice};
use crate::plan::{BufferId, Plan};
use crate::{Error, Result};

/// A compiled plan with a buffer of its own for each of the plan's, wherever the plan places it.
pub struct PlanRunner {
    kernels: Kernels,
    buffers: Vec<CpuBuffer>,
    bases: Bases,
}

impl PlanRunner {
    pub(super) fn new(device: &CpuDevice, plan: &Plan) -> Result<Self> {
        let kernels = Kernels::new(device, plan, 0)?;
        let buffers = plan.buffers.iter().map(|spec| CpuBuffer::zeroed(spec.shape.numel()));
        let mut buffers = buffers.collect::<Result<Vec<_>>>()?;
        let mut bases = Bases::new(buffers.len());
        for (position, buffer) in buffers.iter_mut().enumerate() {
            bases.set(position, buffer.as_mut_ptr());
        }
        Ok(Self { kernels, buffers, bases })
    }

    /// Fills a buffer.
    ///
    /// # Errors
    /// [`Error::MissingInput`] where there is no such buffer, [`Error::DataLength`] for another number of elements.
    pub fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<()> {
        let name = || format!("buffer {}", buffer.index());
        let to = self.buffers.get_mut(buffer.index()).ok_or_else(|| Error::MissingInput { name: name() })?;
        if values.len() != to.len() {
            return Err(Error::DataLength { name: name(), found: values.len(), shape: [to.len()].into() });
        }
        to.as_mut_slice().copy_from_slice(values);
        Ok(())
    }

    /// Fills a buffer of indices.
    ///
    /// # Errors
    /// As [`PlanRunner::write`].
    pub fn write_indices(&mut self, buffer: BufferId, values: &[u32]) -> Result<()> {
        self.write(buffer, bytemuck::cast_slice(values))
    }

    /// Executes the plan's kernels.
    pub fn run(&mut self) {
        // SAFETY: the bases point to this runner's own buffers of the plan's lengths, and the maker of the runner
        // vouched for the plan.
        unsafe { self.kernels.run(&self.bases) };
    }

    /// As [`PlanRunner::run`]; also a line for each kernel and the time that it took.
    pub fn profile(&mut self) -> Vec<(String, Duration)> {
        // SAFETY: as above.
        unsafe { self.kernels.run_timed(&self.bases) }
    }

    /// The elements of a buffer, none where there is no such buffer.
    pub fn read(&self, buffer: BufferId) -> &[f32] {
        self.buffers.get(buffer.index()).map_or(&[], CpuBuffer::as_slice)
    }
}
