//! A plan's kernels, compiled for the CPU.

use std::time::{Duration, Instant};

use super::CpuDevice;
use super::arena::Arenas;
use super::conv::{ConvKernel, FilterGradKernel};
use super::indexed::{GatherKernel, ScatterKernel};
use super::isa::Isa;
use super::linrec::LinRecKernel;
use super::matmul::MatMulKernel;
use super::random::RandomKernel;
use super::row::RowKernel;
use super::team::Team;
use super::tiled::TiledKernel;
use crate::plan::{Kernel, Plan, Tiled, View};
use crate::{Error, Result};

/// Where each buffer of a plan begins during a run.
pub(super) struct Bases(Vec<*mut f32>);

// SAFETY: kernels write disjoint parts from different threads; see each kernel's `run`.
unsafe impl Sync for Bases {}
// SAFETY: the pointers are used only while the owner of what they point to is borrowed.
unsafe impl Send for Bases {}

impl Bases {
    pub(super) fn new(buffers: usize) -> Self {
        Self(vec![std::ptr::NonNull::dangling().as_ptr(); buffers])
    }

    pub(super) fn set(&mut self, buffer: usize, start: *mut f32) {
        self.0[buffer] = start;
    }

    #[inline(always)]
    pub(super) fn get(&self, buffer: usize) -> *mut f32 {
        self.0[buffer]
    }
}

pub(super) enum Compiled {
    MatMul(MatMulKernel),
    Row(Box<RowKernel>),
    Conv(ConvKernel),
    FilterGrad(FilterGradKernel),
    Gather(GatherKernel),
    Scatter(ScatterKernel),
    Random(RandomKernel),
    LinRec(LinRecKernel),
    Tiled(TiledKernel),
}

/// All kernels of a plan with the memory that their threads need.
pub(super) struct Kernels {
    device: CpuDevice,
    kernels: Vec<Compiled>,
    labels: Vec<String>,
    arenas: Arenas,
}

/// Bytes of registers a thread that no budget asks about.
const REGISTERS: u64 = 4 << 20;

impl Kernels {
    /// The kernels of a plan, of which `planned` bytes are buffers and tiles; registers come on top.
    ///
    /// # Errors
    /// [`Error::Device`] where a view reaches past its buffer; [`Error::MemoryBudget`] before registers are allocated;
    /// [`Error::OutOfMemory`].
    pub(super) fn new(device: &CpuDevice, plan: &Plan, planned: u64) -> Result<Self> {
        plan.check_views()?;
        for (position, kernel) in plan.kernels.iter().enumerate() {
            if let Kernel::Tiled(tiled) = kernel {
                check_tiles(position, plan, tiled)?;
            }
        }
        let kernels = plan.kernels.iter().map(|kernel| compile(kernel, plan, device)).collect::<Result<Vec<_>>>()?;
        let (values, elements) = arena_of(&kernels);
        // Where a row is reduced, a register holds the whole of it. Those of short rows count for nothing.
        let registers = (4 * elements as u64).saturating_sub(REGISTERS).saturating_mul(device.threads() as u64);
        device.budget().check(planned.saturating_add(registers))?;
        let labels = plan.kernels.iter().map(label).collect();
        let arenas = Arenas::new(device.threads(), values, elements)?;
        Ok(Self { device: device.clone(), kernels, labels, arenas })
    }

    /// Executes all kernels in order.
    ///
    /// # Safety
    /// `bases` points to memory of the plan's buffers, which no one else uses during the call.
    pub(super) unsafe fn run(&mut self, bases: &Bases) {
        for kernel in &mut self.kernels {
            // SAFETY: the caller's; `new` has checked the views.
            unsafe { execute(kernel, bases, self.device.team(), self.device.isa(), &self.arenas) };
        }
    }

    /// As [`Kernels::run`]; also a line for each kernel and the time that it took.
    ///
    /// # Safety
    /// As for [`Kernels::run`].
    pub(super) unsafe fn run_timed(&mut self, bases: &Bases) -> Vec<(String, Duration)> {
        let mut times = Vec::with_capacity(self.kernels.len());
        for (kernel, label) in self.kernels.iter_mut().zip(&self.labels) {
            let start = Instant::now();
            // SAFETY: as above.
            unsafe { execute(kernel, bases, self.device.team(), self.device.isa(), &self.arenas) };
            times.push((label.clone(), start.elapsed()));
        }
        times
    }
}

/// Values and elements of register memory that a thread needs for any of the kernels.
pub(super) fn arena_of(kernels: &[Compiled]) -> (usize, usize) {
    kernels.iter().fold((0, 0), |(values, elements), kernel| match kernel {
        Compiled::Row(row) => {
            let (v, e) = row.arena();
            (values.max(v), elements.max(e))
        }
        _ => (values, elements),
    })
}

/// # Errors
/// [`Error::OutOfMemory`] for what the kernel keeps between runs.
pub(super) fn compile(kernel: &Kernel, plan: &Plan, device: &CpuDevice) -> Result<Compiled> {
    Ok(match kernel {
        Kernel::MatMul(product) if product.epilogue.is_some() => {
            unreachable!("`CpuDevice::compile` plans without epilogues")
        }
        Kernel::MatMul(product) => Compiled::MatMul(MatMulKernel::new(product, device.isa())),
        Kernel::Row(program) => Compiled::Row(Box::new(RowKernel::new(program)?)),
        Kernel::DepthwiseConv(conv) => Compiled::Conv(ConvKernel::new(conv)),
        Kernel::DepthwiseConvFilterGrad(grad) => Compiled::FilterGrad(FilterGradKernel::new(grad)?),
        Kernel::Gather { table, indices, out } => Compiled::Gather(GatherKernel::new(table, indices, out)),
        Kernel::ScatterAdd { indices, updates, out } => Compiled::Scatter(ScatterKernel::new(indices, updates, out)),
        Kernel::Random { key, out, stream } => Compiled::Random(RandomKernel::new(key, out, *stream)),
        Kernel::LinRec { a, b, out, reverse, start } => {
            Compiled::LinRec(LinRecKernel::new(a, b, out, *reverse, *start))
        }
        Kernel::Tiled(tiled) => Compiled::Tiled(TiledKernel::new(tiled, plan, device)?),
    })
}

/// # Safety
/// As for [`Kernels::run`].
pub(super) unsafe fn execute(kernel: &mut Compiled, bases: &Bases, team: &Team, isa: Isa, arenas: &Arenas) {
    // SAFETY: the caller's.
    unsafe {
        match kernel {
            Compiled::MatMul(kernel) => kernel.run(bases, team),
            Compiled::Row(kernel) => kernel.run(bases, team, arenas, isa),
            Compiled::Conv(kernel) => kernel.run(bases, team, isa),
            Compiled::FilterGrad(kernel) => kernel.run(bases, team, isa),
            Compiled::Gather(kernel) => kernel.run(bases, team),
            Compiled::Scatter(kernel) => kernel.run(bases, team),
            Compiled::Random(kernel) => kernel.run(bases, team, isa),
            Compiled::LinRec(kernel) => kernel.run(bases, team, isa),
            Compiled::Tiled(kernel) => kernel.run(bases, team, isa),
        }
    }
}

/// What a profile calls a kernel: its family and size.
fn label(kernel: &Kernel) -> String {
    match kernel {
        Kernel::MatMul(product) => {
            let (batch, m, n, k) = product.dims();
            format!("matmul {batch}x[{m},{k}]x[{k},{n}]")
        }
        Kernel::Row(program) => {
            format!("row [{},{}] {} instructions", program.rows, program.length, program.body.len())
        }
        Kernel::DepthwiseConv(conv) => format!("conv {:?}", conv.out.dims),
        Kernel::DepthwiseConvFilterGrad(grad) => format!("conv filter grad {:?}", grad.dy.dims),
        Kernel::Gather { out, .. } => format!("gather {:?}", out.dims),
        Kernel::ScatterAdd { updates, .. } => format!("scatter {:?}", updates.dims),
        Kernel::Random { out, .. } => format!("random {:?}", out.dims),
        Kernel::LinRec { out, .. } => format!("linrec {:?}", out.dims),
        Kernel::Tiled(tiled) => {
            let parts: Vec<String> = tiled.on_tile(|view| tiled.part(view)).iter().map(label).collect();
            format!("{} tiles of {}", tiled.tiles(), parts.join(", "))
        }
    }
}

/// All views have the tiles' dimensions, and those of local buffers stay within their tile's part.
fn check_tiles(position: usize, plan: &Plan, tiled: &Tiled) -> Result<()> {
    let fits = |view: &&View| match plan.buffers.get(view.buffer.index()) {
        Some(spec) if tiled.locals.contains(&view.buffer) => tiled.is_in_parts(view, spec.shape.numel()),
        _ => view.dims.starts_with(&tiled.dims),
    };
    let mut views = tiled.kernels.iter().flat_map(|k| k.reads().into_iter().chain(k.writes()));
    match views.find(|view| !fits(view)) {
        Some(view) => Err(Error::Device { message: format!("kernel {position}: {view:?} has no part for each tile") }),
        None => Ok(()),
    }
}
