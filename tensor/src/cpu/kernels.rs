//! A plan's kernels, compiled for the CPU.

use std::time::{Duration, Instant};

use super::arena::Arenas;
use super::conv::{ConvKernel, FilterGradKernel};
use super::indexed::{GatherKernel, ScatterKernel};
use super::linrec::LinRecKernel;
use super::matmul::MatMulKernel;
use super::row::RowKernel;
use super::{CpuBuffer, CpuDevice};
use crate::plan::{Kernel, Plan, View};
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

    pub(super) fn set(&mut self, buffer: usize, to: &mut CpuBuffer) {
        self.0[buffer] = to.as_mut_ptr();
    }

    #[inline(always)]
    pub(super) fn get(&self, buffer: usize) -> *mut f32 {
        self.0[buffer]
    }
}

enum Compiled {
    MatMul(MatMulKernel),
    Row(Box<RowKernel>),
    Conv(ConvKernel),
    FilterGrad(FilterGradKernel),
    Gather(GatherKernel),
    Scatter(ScatterKernel),
    LinRec(LinRecKernel),
}

/// All kernels of a plan with the memory that their threads need.
pub(super) struct Kernels {
    device: CpuDevice,
    kernels: Vec<Compiled>,
    labels: Vec<String>,
    arenas: Arenas,
}

impl Kernels {
    /// # Errors
    /// [`Error::Device`] where a view reaches past its buffer.
    pub(super) fn new(device: &CpuDevice, plan: &Plan) -> Result<Self> {
        let mut kernels = Vec::with_capacity(plan.kernels.len());
        let (mut values, mut elements) = (0, 0);
        for (position, kernel) in plan.kernels.iter().enumerate() {
            for view in kernel.reads().into_iter().chain(kernel.writes()) {
                check(position, plan, view)?;
            }
            kernels.push(compile(kernel));
            if let Some(Compiled::Row(row)) = kernels.last() {
                let (v, e) = row.arena();
                (values, elements) = (values.max(v), elements.max(e));
            }
        }
        let labels = plan.kernels.iter().map(label).collect();
        let arenas = Arenas::new(device.threads(), values, elements);
        Ok(Self { device: device.clone(), kernels, labels, arenas })
    }

    /// Executes all kernels in order.
    ///
    /// # Safety
    /// `bases` points to memory of the plan's buffers, which no one else uses during the call.
    pub(super) unsafe fn run(&mut self, bases: &Bases) {
        for kernel in &mut self.kernels {
            // SAFETY: the caller's; `new` has checked the views.
            unsafe { execute(kernel, bases, &self.device, &self.arenas) };
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
            unsafe { execute(kernel, bases, &self.device, &self.arenas) };
            times.push((label.clone(), start.elapsed()));
        }
        times
    }
}

fn compile(kernel: &Kernel) -> Compiled {
    match kernel {
        Kernel::MatMul(product) => Compiled::MatMul(MatMulKernel::new(product)),
        Kernel::Row(program) => Compiled::Row(Box::new(RowKernel::new(program))),
        Kernel::DepthwiseConv(conv) => Compiled::Conv(ConvKernel::new(conv)),
        Kernel::DepthwiseConvFilterGrad(grad) => Compiled::FilterGrad(FilterGradKernel::new(grad)),
        Kernel::Gather { table, indices, out } => Compiled::Gather(GatherKernel::new(table, indices, out)),
        Kernel::ScatterAdd { indices, updates, out } => Compiled::Scatter(ScatterKernel::new(indices, updates, out)),
        Kernel::LinRec { a, b, out, reverse, start } => {
            Compiled::LinRec(LinRecKernel::new(a, b, out, *reverse, *start))
        }
    }
}

/// # Safety
/// As for [`Kernels::run`].
unsafe fn execute(kernel: &mut Compiled, bases: &Bases, device: &CpuDevice, arenas: &Arenas) {
    let (team, isa) = (device.team(), device.isa());
    // SAFETY: the caller's.
    unsafe {
        match kernel {
            Compiled::MatMul(kernel) => kernel.run(bases, team),
            Compiled::Row(kernel) => kernel.run(bases, team, arenas, isa),
            Compiled::Conv(kernel) => kernel.run(bases, team, isa),
            Compiled::FilterGrad(kernel) => kernel.run(bases, team, isa),
            Compiled::Gather(kernel) => kernel.run(bases, team),
            Compiled::Scatter(kernel) => kernel.run(bases, team),
            Compiled::LinRec(kernel) => kernel.run(bases, team, isa),
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
        Kernel::LinRec { out, .. } => format!("linrec {:?}", out.dims),
    }
}

/// A view lies within its buffer.
fn check(position: usize, plan: &Plan, view: &View) -> Result<()> {
    let fail = |message: String| Err(Error::Device { message: format!("kernel {position}: {message}") });
    let Some(spec) = plan.buffers.get(view.buffer.index()) else {
        return fail(format!("there is no buffer {}", view.buffer.index()));
    };
    if view.dims.len() != view.strides.len() {
        return fail(format!("{view:?} has not one stride a dimension"));
    }
    if view.numel() == 0 {
        return Ok(());
    }
    let (mut low, mut high) = (view.offset as i128, view.offset as i128);
    for (&dim, &stride) in view.dims.iter().zip(&view.strides) {
        let reach = (dim as i128 - 1) * stride as i128;
        if reach < 0 { low += reach } else { high += reach }
    }
    if low < 0 || high >= spec.shape.numel() as i128 {
        return fail(format!("{view:?} reaches past a buffer of shape {}", spec.shape));
    }
    Ok(())
}
