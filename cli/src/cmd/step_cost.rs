//! What a training step costs, counted on its plans for a CPU.

use crate::failure::Outcome;
use primer_models::RunConfig;
use primer_models::train::{apply_program, step_program};
use primer_tensor::Device;

/// The cost of one step of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCost {
    /// Floating-point operations: forward, backward and optimizer, over all batches of the step.
    pub flops: f64,
    /// Bytes held at once.
    pub bytes: u64,
}

impl StepCost {
    /// Counts it; nothing of the model is allocated.
    ///
    /// # Errors
    /// A model that can't be planned.
    pub fn of(config: &RunConfig) -> Outcome<Self> {
        let cpu = Device::cpu();
        let batch = cpu.cost(&step_program(config)?)?;
        let Some(apply) = apply_program(config)? else {
            return Ok(Self { flops: batch.flops as f64, bytes: batch.peak_bytes() });
        };
        let apply = cpu.cost(&apply)?;
        Ok(Self {
            flops: batch.flops as f64 * config.train.accumulate as f64 + apply.flops as f64,
            // Both programs are ready all the time. They share the weights and the sums of gradients; the second one
            // has the moments besides.
            bytes: batch.peak_bytes() + apply.peak_bytes() - batch.state_bytes.min(apply.state_bytes),
        })
    }
}
