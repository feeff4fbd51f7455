//! The choice of a device, and what it compiles.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::cpu::{CpuDevice, CpuExecutable};
use crate::gpu::{GpuDevice, GpuExecutable};
use crate::graph::InputKind;
use crate::memory::MemoryBudget;
use crate::passes::{self, PlanLimits};
use crate::plan::{KernelCost, PlanReport};
use crate::reference::{Precision, ReferenceExecutable};
use crate::state::Buffer;
use crate::{DType, Data, Error, Program, Result, State};

/// Where programs run. Cloning shares the device.
#[derive(Clone)]
pub enum Device {
    /// The f64 interpreter: the oracle.
    Reference(Precision),
    /// Threads of this machine.
    Cpu(CpuDevice),
    /// An adapter reached through wgpu.
    Gpu(GpuDevice),
}

impl Device {
    /// A real GPU if there is one, else the CPU. Never fails; a software adapter is never taken.
    pub fn auto() -> Self {
        match GpuDevice::first_real() {
            Ok(gpu) => Device::Gpu(gpu),
            Err(_) => Self::cpu(),
        }
    }

    /// The CPU with a thread for each core that the process may use.
    pub fn cpu() -> Self {
        Device::Cpu(CpuDevice::new(None))
    }

    /// The CPU with that many threads. Results do not depend on it.
    pub fn cpu_with_threads(threads: usize) -> Self {
        Device::Cpu(CpuDevice::new(Some(threads)))
    }

    /// The f64 interpreter.
    pub fn reference() -> Self {
        Device::Reference(Precision::F64)
    }

    /// The device of that name: `auto`, `cpu`, `gpu`, `gpu:N`, `software` or `reference`.
    ///
    /// # Errors
    /// [`Error::NoDevice`] for an unknown name or an adapter that isn't there.
    pub fn parse(name: &str, threads: Option<usize>) -> Result<Self> {
        match name {
            "auto" => match GpuDevice::first_real() {
                Ok(gpu) => Ok(Device::Gpu(gpu)),
                Err(_) => Ok(Device::Cpu(CpuDevice::new(threads))),
            },
            "cpu" => Ok(Device::Cpu(CpuDevice::new(threads))),
            "gpu" => GpuDevice::first_real().map(Device::Gpu),
            "software" => GpuDevice::software().map(Device::Gpu),
            "reference" => Ok(Self::reference()),
            _ => match name.strip_prefix("gpu:").map(str::parse) {
                Some(Ok(index)) => GpuDevice::nth(index).map(Device::Gpu),
                _ => Err(Error::NoDevice {
                    wanted: name.into(),
                    reason: "the devices are auto, cpu, gpu, gpu:N, software and reference".into(),
                }),
            },
        }
    }

    /// The device, where each program may take that many bytes for its state, inputs and scratch.
    ///
    /// Without it, this is the machine's memory for `cpu` and software adapters, and the adapter's for a GPU whose
    /// driver tells it. The reference has no budget.
    pub fn with_memory_budget(self, bytes: u64) -> Self {
        let budget = MemoryBudget(Some(bytes));
        match self {
            Device::Reference(precision) => Device::Reference(precision),
            Device::Cpu(cpu) => Device::Cpu(cpu.with_budget(budget)),
            Device::Gpu(gpu) => Device::Gpu(gpu.with_budget(budget)),
        }
    }

    /// The device, where what is compiled from now on stores in 16 bits what matrix products alone read: see
    /// [`GpuDevice::with_half_operands`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] for whatever is no GPU with f16.
    pub fn with_half_operands(self) -> Result<Self> {
        match self {
            Device::Gpu(gpu) => gpu.with_half_operands().map(Device::Gpu),
            other => Err(Error::Unsupported { device: other.to_string(), what: "f16" }),
        }
    }

    /// The bytes that each program may take; None where nobody knows.
    pub fn memory_budget(&self) -> Option<u64> {
        match self {
            Device::Reference(_) => None,
            Device::Cpu(cpu) => cpu.budget().0,
            Device::Gpu(gpu) => gpu.budget().0,
        }
    }

    /// What decides the bits of a result, in a line: the device and, for an adapter, the kernels that it runs.
    pub fn signature(&self) -> String {
        match self {
            Device::Gpu(gpu) => format!("{gpu}; {}", gpu.variants()),
            _ => self.to_string(),
        }
    }

    /// What a run of the program would cost on this device, by its plan: nothing is allocated. On a GPU a kernel may
    /// take more than the one launch that is counted here.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the graph breaks one of its invariants.
    pub fn cost(&self, program: &Program) -> Result<PlanReport> {
        match self {
            Device::Reference(_) => Ok(passes::plan(program, PlanLimits::default())?.report),
            Device::Cpu(cpu) => Ok(cpu.plan(program)?.report),
            Device::Gpu(gpu) => Ok(gpu.plan(program)?.report),
        }
    }

    /// Plans a program for this device.
    ///
    /// # Errors
    /// [`Error::TensorSize`], [`Error::Limit`] and [`Error::MemoryBudget`] where it exceeds what the device grants,
    /// before anything is allocated; [`Error::OutOfMemory`], [`Error::Kernel`] and [`Error::Device`] where the driver or
    /// the system refuses it; [`Error::DeviceLost`].
    pub fn compile(&self, program: &Program) -> Result<Executable> {
        Ok(Executable(match self {
            Device::Reference(precision) => Kind::Reference(ReferenceExecutable::new(program, *precision)),
            Device::Cpu(cpu) => Kind::Cpu(Box::new(cpu.compile(program)?)),
            Device::Gpu(gpu) => Kind::Gpu(Box::new(gpu.compile(program)?)),
        }))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Reference(_) => f.write_str("reference (f64)"),
            Device::Cpu(cpu) => cpu.fmt(f),
            Device::Gpu(gpu) => gpu.fmt(f),
        }
    }
}

/// A program planned for a device: compiled once, run thousands of times.
pub struct Executable(Kind);

enum Kind {
    Reference(ReferenceExecutable),
    Cpu(Box<CpuExecutable>),
    Gpu(Box<GpuExecutable>),
}

impl Executable {
    /// Runs the program once: reads `inputs` by name, replaces the state entries that it updates. On a GPU this returns
    /// when the work is queued.
    ///
    /// # Errors
    /// [`Error::MissingInput`], [`Error::DataLength`], [`Error::DataType`], [`Error::MissingState`],
    /// [`Error::StateShape`], [`Error::DeviceMismatch`] before anything is touched; [`Error::OutOfMemory`],
    /// [`Error::Timeout`], [`Error::DeviceLost`] or [`Error::Device`] where the driver fails.
    pub fn run(&mut self, state: &mut State, inputs: &[(&str, Data<'_>)]) -> Result<()> {
        check_inputs(self.program(), inputs)?;
        state.check(self.program().state())?;
        match &mut self.0 {
            Kind::Reference(executable) => {
                let mut held = HashMap::new();
                let names: Vec<_> = executable.program().state().map(|(n, s)| (n.to_owned(), s.clone())).collect();
                for (name, shape) in &names {
                    match state.buffer(name, shape)? {
                        Buffer::Reference(values) => held.insert(name.clone(), values.clone()),
                        _ => return Err(Error::DeviceMismatch { what: "a state" }),
                    };
                }
                executable.run(&mut held, inputs)?;
                for (name, shape) in &names {
                    if let Some(values) = held.remove(name) {
                        *state.buffer(name, shape)? = Buffer::Reference(values);
                    }
                }
                Ok(())
            }
            Kind::Cpu(executable) => executable.run(state, inputs),
            Kind::Gpu(executable) => executable.run(state, inputs),
        }
    }

    /// Runs the program once as [`Executable::run`] does, and tells for each kernel in order what it is and how long it
    /// took. Empty on the GPU and the reference, which have no such clock.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn profile(&mut self, state: &mut State, inputs: &[(&str, Data<'_>)]) -> Result<Vec<(String, Duration)>> {
        if let Kind::Cpu(executable) = &mut self.0 {
            check_inputs(executable.program(), inputs)?;
            state.check(executable.program().state())?;
            return executable.profile(state, inputs);
        }
        self.run(state, inputs)?;
        Ok(Vec::new())
    }

    /// Reads back output `index` of the last run, row-major.
    ///
    /// # Errors
    /// [`Error::MissingInput`] before a first run; [`Error::Device`] where the driver fails.
    pub fn output(&mut self, index: usize) -> Result<Vec<f32>> {
        match &mut self.0 {
            Kind::Reference(executable) => executable.output(index),
            Kind::Cpu(executable) => executable.output(index),
            Kind::Gpu(executable) => executable.output(index),
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        match &self.0 {
            Kind::Reference(executable) => executable.program(),
            Kind::Cpu(executable) => executable.program(),
            Kind::Gpu(executable) => executable.program(),
        }
    }

    /// What a run costs: launches, FLOPs, bytes, memory. None for the reference, which plans nothing.
    pub fn report(&self) -> Option<&PlanReport> {
        match &self.0 {
            Kind::Reference(_) => None,
            Kind::Cpu(executable) => Some(executable.report()),
            Kind::Gpu(executable) => Some(executable.report()),
        }
    }

    /// What each kernel does, in order, those inside tiled kernels too. Empty for the reference, which plans nothing.
    pub fn kernel_costs(&self) -> &[KernelCost] {
        match &self.0 {
            Kind::Reference(_) => &[],
            Kind::Cpu(executable) => executable.kernel_costs(),
            Kind::Gpu(executable) => executable.kernel_costs(),
        }
    }
}

/// Every data input of the program has data of its length and type.
fn check_inputs(program: &Program, inputs: &[(&str, Data<'_>)]) -> Result<()> {
    for info in program.inputs(InputKind::Data) {
        let Some((_, data)) = inputs.iter().find(|(name, _)| *name == info.name) else {
            return Err(Error::MissingInput { name: info.name.clone() });
        };
        let node = program.graph.node(info.node);
        if data.len() != node.shape.numel() {
            let shape = node.shape.clone();
            return Err(Error::DataLength { name: info.name.clone(), found: data.len(), shape });
        }
        let expected = if node.dtype == DType::U32 { DType::U32 } else { DType::F32 };
        if data.dtype() != expected {
            return Err(Error::DataType { name: info.name.clone(), found: data.dtype(), expected });
        }
    }
    Ok(())
}
