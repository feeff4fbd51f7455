//! A program on the CPU.

use std::time::Duration;

use super::kernels::{Bases, Kernels};
use super::{CpuBuffer, CpuDevice};
use crate::passes::{self, PlanLimits, TileLimits};
use crate::plan::{BufferSpec, KernelCost, Place, Plan, PlanReport};
use crate::state::Buffer;
use crate::{Data, Error, Program, Result, State};

/// A program planned for the CPU: scratch is allocated once, and a run allocates nothing.
pub struct CpuExecutable {
    program: Program,
    report: PlanReport,
    costs: Vec<KernelCost>,
    kernels: Kernels,
    specs: Vec<BufferSpec>,
    bases: Bases,
    /// Scratch, by slot.
    slots: Vec<CpuBuffer>,
    /// Data inputs, by buffer.
    inputs: Vec<(usize, CpuBuffer)>,
    outputs: Vec<Output>,
    ran: bool,
}

/// Where an output is read after a run.
enum Output {
    /// The first elements of a slot that is its own.
    Slot { slot: usize, len: usize },
    /// A copy, since an input or a state may change before it is read.
    Copy { buffer: usize, held: CpuBuffer },
}

/// Smaller tensors stay in the caches anyway, and products of fewer rows are slow.
const TILES: TileLimits = TileLimits { bytes: 128 << 10, rows: 32, fewest: 16, chunk: None };

impl CpuDevice {
    /// Plans a program; the report counts the tiles of all threads.
    ///
    /// # Errors
    /// Those of [`passes::plan`].
    pub(crate) fn plan(&self, program: &Program) -> Result<Plan> {
        let mut plan = passes::plan(program, PlanLimits { tiles: Some(TILES), ..PlanLimits::default() })?;
        plan.report.tile_bytes *= self.threads() as u64;
        Ok(plan)
    }

    /// Plans and compiles a program.
    ///
    /// # Errors
    /// Those of [`passes::plan`]; [`Error::MemoryBudget`] before anything is allocated; [`Error::OutOfMemory`] where the
    /// system has less than the budget; [`Error::Device`] where its plan is inconsistent.
    pub(crate) fn compile(&self, program: &Program) -> Result<CpuExecutable> {
        let plan = self.plan(program)?;
        let planned = plan.memory().saturating_add(plan.report.tile_bytes);
        self.budget().check(planned)?;
        let kernels = Kernels::new(self, &plan, planned)?;
        let mut bases = Bases::new(plan.buffers.len());
        let mut slots = plan.slots.iter().map(|&len| CpuBuffer::zeroed(len)).collect::<Result<Vec<_>>>()?;
        let mut inputs = Vec::new();
        for (position, spec) in plan.buffers.iter().enumerate() {
            match &spec.place {
                Place::Slot(slot) => match slots.get_mut(*slot) {
                    Some(memory) if memory.len() >= spec.shape.numel() => bases.set(position, memory.as_mut_ptr()),
                    _ => {
                        let message = format!("buffer {position} of shape {} does not fit slot {slot}", spec.shape);
                        return Err(Error::Device { message });
                    }
                },
                Place::Data(_) => {
                    inputs.push((position, CpuBuffer::zeroed(spec.shape.numel())?));
                    if let Some((_, memory)) = inputs.last_mut() {
                        bases.set(position, memory.as_mut_ptr());
                    }
                }
                Place::State(_) | Place::Tile => {}
            }
        }
        let outputs = plan.outputs.iter().map(|id| {
            let (buffer, spec) = (id.index(), &plan.buffers[id.index()]);
            let len = spec.shape.numel();
            Ok(match spec.place {
                Place::Slot(slot) => Output::Slot { slot, len },
                _ => Output::Copy { buffer, held: CpuBuffer::zeroed(len)? },
            })
        });
        let outputs = outputs.collect::<Result<_>>()?;
        Ok(CpuExecutable {
            program: program.clone(),
            report: plan.report,
            costs: plan.kernel_costs(),
            kernels,
            bases,
            slots,
            inputs,
            outputs,
            specs: plan.buffers,
            ran: false,
        })
    }
}

impl CpuExecutable {
    pub(crate) fn run(&mut self, state: &mut State, inputs: &[(&str, Data<'_>)]) -> Result<()> {
        self.bind(state, inputs)?;
        // SAFETY: slots and inputs are this executable's own; the state is borrowed for the whole call, and `bind` has
        // pointed every state buffer at an entry of its shape.
        unsafe { self.kernels.run(&self.bases) };
        self.keep_outputs();
        Ok(())
    }

    /// Runs the program once; also a line for each kernel and the time that it took.
    ///
    /// # Errors
    /// As [`Executable::run`](crate::Executable::run).
    pub(crate) fn profile(
        &mut self,
        state: &mut State,
        inputs: &[(&str, Data<'_>)],
    ) -> Result<Vec<(String, Duration)>> {
        self.bind(state, inputs)?;
        // SAFETY: as in `run`.
        let times = unsafe { self.kernels.run_timed(&self.bases) };
        self.keep_outputs();
        Ok(times)
    }

    /// Copies the inputs in and finds the state entries.
    fn bind(&mut self, state: &mut State, inputs: &[(&str, Data<'_>)]) -> Result<()> {
        for (position, spec) in self.specs.iter().enumerate() {
            if let Place::State(name) = &spec.place {
                match state.buffer(name, &spec.shape)? {
                    Buffer::Cpu(memory) => self.bases.set(position, memory.as_mut_ptr()),
                    _ => return Err(Error::DeviceMismatch { what: "a state" }),
                }
            }
        }
        for (position, memory) in &mut self.inputs {
            let spec = &self.specs[*position];
            let Place::Data(name) = &spec.place else { continue };
            let Some((_, data)) = inputs.iter().find(|(given, _)| given == name) else {
                return Err(Error::MissingInput { name: name.clone() });
            };
            if data.len() != memory.len() {
                let shape = spec.shape.clone();
                return Err(Error::DataLength { name: name.clone(), found: data.len(), shape });
            }
            match data {
                Data::F32(values) => memory.as_mut_slice().copy_from_slice(values),
                Data::U32(values) => memory.as_mut_slice().copy_from_slice(bytemuck::cast_slice(values)),
            }
        }
        Ok(())
    }

    fn keep_outputs(&mut self) {
        for output in &mut self.outputs {
            if let Output::Copy { buffer, held } = output {
                // SAFETY: the buffer has the output's length, and the state that may hold it is still borrowed by the
                // caller.
                let from = unsafe { std::slice::from_raw_parts(self.bases.get(*buffer).cast_const(), held.len()) };
                held.as_mut_slice().copy_from_slice(from);
            }
        }
        self.ran = true;
    }

    pub(crate) fn output(&mut self, index: usize) -> Result<Vec<f32>> {
        match self.outputs.get(index) {
            Some(Output::Slot { slot, len }) if self.ran => Ok(self.slots[*slot].as_slice()[..*len].to_vec()),
            Some(Output::Copy { held, .. }) if self.ran => Ok(held.as_slice().to_vec()),
            _ => Err(Error::MissingInput { name: format!("output {index} before a run") }),
        }
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn report(&self) -> &PlanReport {
        &self.report
    }

    pub(crate) fn kernel_costs(&self) -> &[KernelCost] {
        &self.costs
    }
}
