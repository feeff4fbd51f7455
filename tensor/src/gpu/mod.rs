//! Adapters reached through wgpu.

use crate::plan::PlanReport;
use crate::{Data, Error, Program, Result, State};

/// One adapter.
#[derive(Clone)]
pub struct GpuDevice;

/// Elements in device memory.
pub struct GpuBuffer;

/// A program planned for an adapter.
pub struct GpuExecutable {
    program: Program,
    report: PlanReport,
}

fn none(wanted: &str) -> Error {
    Error::NoDevice { wanted: wanted.into(), reason: "no adapter".into() }
}

impl GpuDevice {
    /// The first adapter that isn't software.
    pub fn first_real() -> Result<Self> {
        Err(none("gpu"))
    }

    /// The software adapter.
    pub fn software() -> Result<Self> {
        Err(none("software"))
    }

    /// Adapter `index` in the order that `devices` lists.
    pub fn nth(index: usize) -> Result<Self> {
        Err(none(&format!("gpu:{index}")))
    }

    pub(crate) fn upload(&self, _values: &[f32]) -> Result<GpuBuffer> {
        Err(none("gpu"))
    }

    pub(crate) fn download(&self, _buffer: &GpuBuffer) -> Result<Vec<f32>> {
        Err(none("gpu"))
    }

    pub(crate) fn compile(&self, program: &Program) -> Result<GpuExecutable> {
        Ok(GpuExecutable { program: program.clone(), report: PlanReport::default() })
    }
}

impl GpuExecutable {
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

impl std::fmt::Display for GpuDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("gpu")
    }
}
