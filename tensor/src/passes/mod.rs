//! From a program to a plan.

use crate::plan::Plan;
use crate::{Program, Result};

/// What a device can take in one kernel.
#[derive(Clone, Copy, Debug)]
pub struct PlanLimits {
    /// Distinct buffers that one kernel may bind.
    pub buffers: usize,
}

/// Plans a program.
///
/// # Errors
/// None today beyond those of the graph's own rules.
pub fn plan(_program: &Program, _limits: PlanLimits) -> Result<Plan> {
    unreachable!("replaced in the next commit")
}
