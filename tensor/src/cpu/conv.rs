//! Causal depthwise convolution and its two adjoints, vectorised over channels.

use std::ops::Range;

use super::isa::{Isa, Simd, Vectorised, mul_add};
use super::team::Team;
use super::{Bases, CpuBuffer};
use crate::plan::{DepthwiseConv, DepthwiseConvFilterGrad, View};

/// A `[batch, n, c]` or `[k, c]` view.
#[derive(Debug)]
struct Channels {
    buffer: usize,
    offset: isize,
    batch: isize,
    time: isize,
    channel: isize,
}

impl Channels {
    fn new(view: &View) -> Self {
        let r = view.dims.len();
        Self {
            buffer: view.buffer.index(),
            offset: view.offset as isize,
            batch: if r == 3 { view.strides[0] } else { 0 },
            time: view.strides[r - 2],
            channel: view.strides[r - 1],
        }
    }

    /// # Safety
    /// The index lies within the view and the view within its buffer.
    unsafe fn at(&self, bases: &Bases, batch: usize, time: usize) -> *mut f32 {
        let at = self.offset + batch as isize * self.batch + time as isize * self.time;
        // SAFETY: the caller's.
        unsafe { bases.get(self.buffer).offset(at) }
    }
}

/// Elements of the output in one task.
const TASK: usize = 1 << 15;
/// Most partial filter gradients.
const PARTS: usize = 16;

/// A compiled convolution or input gradient.
#[derive(Debug)]
pub(super) struct ConvKernel {
    x: Channels,
    w: Channels,
    out: Channels,
    dims: [usize; 3],
    taps: usize,
    adjoint: bool,
}

impl ConvKernel {
    pub(super) fn new(conv: &DepthwiseConv) -> Self {
        Self {
            x: Channels::new(&conv.x),
            w: Channels::new(&conv.w),
            out: Channels::new(&conv.out),
            dims: [conv.out.dims[0], conv.out.dims[1], conv.out.dims[2]],
            taps: conv.w.dims[0],
            adjoint: conv.adjoint,
        }
    }

    /// Executes it.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&self, bases: &Bases, team: &Team, isa: Isa) {
        let [batch, n, c] = self.dims;
        let steps = batch * n;
        let share = (TASK / c.max(1)).clamp(1, steps.max(1));
        team.run(steps.div_ceil(share), &|task, _| {
            for (b, times) in sequences(task * share..((task + 1) * share).min(steps), n) {
                // SAFETY: rows of the views; those of `out` are this task's own.
                let [x, w, out] = unsafe { [self.x.at(bases, b, 0), self.w.at(bases, 0, 0), self.out.at(bases, b, 0)] };
                isa.dispatch(Rows { kernel: self, x, w, out, times });
            }
        });
    }
}

/// Steps, numbered through all sequences of length `n`, as sequences with the times in each.
fn sequences(steps: Range<usize>, n: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let batches = if steps.is_empty() { 0..0 } else { steps.start / n..(steps.end - 1) / n + 1 };
    batches.map(move |b| (b, steps.start.max(b * n) - b * n..steps.end.min((b + 1) * n) - b * n))
}

/// Some times of one sequence. Channels go in blocks and a block through all times, so that its sums stay in registers
/// and its rows in the first-level cache.
struct Rows<'a> {
    kernel: &'a ConvKernel,
    /// The sequence's first rows.
    x: *const f32,
    w: *const f32,
    out: *mut f32,
    times: Range<usize>,
}

impl Vectorised for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let ConvKernel { x, w, out, .. } = self.kernel;
        let mut done = 0;
        if (x.channel, w.channel, out.channel) == (1, 1, 1) {
            done = self.blocks::<S, 32>(done);
            done = self.blocks::<S, 8>(done);
        }
        self.blocks::<S, 1>(done);
    }
}

impl Rows<'_> {
    /// As many whole blocks of `L` channels as there are from channel `from` on; the first channel behind them. Blocks of
    /// more than one channel are of neighbours.
    #[inline(always)]
    fn blocks<S: Simd, const L: usize>(&self, from: usize) -> usize {
        let ConvKernel { x, w, out, dims: [_, n, c], taps, adjoint } = self.kernel;
        let mut first = from;
        while first + L <= *c {
            for t in self.times.clone() {
                let within = if *adjoint { n - t } else { t + 1 };
                let mut sum = [0.0; L];
                for tap in 0..within.min(*taps) {
                    let source = if *adjoint { t + tap } else { t - tap };
                    // SAFETY: made by the kernel from the rows of a sequence; `out` overlaps neither.
                    let (x, w) = unsafe { (block::<L>(self.x, x, source, first), block::<L>(self.w, w, tap, first)) };
                    for i in 0..L {
                        // The first is rounded as a product, so that a zero keeps its sign.
                        sum[i] = if tap == 0 { x[i] * w[i] } else { mul_add::<S>(x[i], w[i], sum[i]) };
                    }
                }
                // SAFETY: as above.
                unsafe {
                    *self.out.offset(t as isize * out.time + first as isize * out.channel).cast::<[f32; L]>() = sum
                };
            }
            first += L;
        }
        first
    }
}

/// `L` neighbouring channels of row `time`, from channel `first` on.
///
/// # Safety
/// `rows` points to rows of the view that have them, which nobody writes meanwhile.
#[inline(always)]
unsafe fn block<'a, const L: usize>(rows: *const f32, view: &Channels, time: usize, first: usize) -> &'a [f32; L] {
    // SAFETY: the caller's.
    unsafe { &*rows.offset(time as isize * view.time + first as isize * view.channel).cast::<[f32; L]>() }
}

/// A compiled filter gradient.
#[derive(Debug)]
pub(super) struct FilterGradKernel {
    x: Channels,
    dy: Channels,
    out: Channels,
    dims: [usize; 3],
    taps: usize,
    parts: usize,
    partials: CpuBuffer,
}

impl FilterGradKernel {
    pub(super) fn new(grad: &DepthwiseConvFilterGrad) -> Self {
        let dims = [grad.dy.dims[0], grad.dy.dims[1], grad.dy.dims[2]];
        let taps = grad.out.dims[0];
        let parts = (dims[0] * dims[1] * dims[2]).div_ceil(TASK).clamp(1, PARTS);
        Self {
            x: Channels::new(&grad.x),
            dy: Channels::new(&grad.dy),
            out: Channels::new(&grad.out),
            dims,
            taps,
            parts,
            partials: CpuBuffer::zeroed(parts * taps * dims[2]),
        }
    }

    /// Executes it.
    ///
    /// # Safety
    /// `bases` points to the buffers of the plan, which the views lie within; no one else uses `out`.
    pub(super) unsafe fn run(&mut self, bases: &Bases, team: &Team, isa: Isa) {
        let [batch, n, c] = self.dims;
        let (steps, taps) = (batch * n, self.taps);
        let share = steps.div_ceil(self.parts);
        let partials = Partials(self.partials.as_mut_ptr());
        let (partials, this) = (&partials, &*self);
        team.run(this.parts, &|part, _| {
            let steps = (part * share).min(steps)..((part + 1) * share).min(steps);
            // SAFETY: each part writes its own partial sums; rows lie within the views.
            isa.dispatch(Sums { kernel: this, bases, steps, out: unsafe { partials.0.add(part * taps * c) } });
        });
        for tap in 0..taps {
            for channel in 0..c {
                // SAFETY: the partial sums are complete; elements of the output's view.
                unsafe {
                    let sum = (0..this.parts).map(|part| *partials.0.add((part * taps + tap) * c + channel)).sum();
                    *this.out.at(bases, 0, tap).offset(channel as isize * this.out.channel) = sum;
                }
            }
        }
    }
}

struct Partials(*mut f32);

// SAFETY: each task writes its own part.
unsafe impl Sync for Partials {}

/// The filter gradient of some steps, `[taps, c]`. Channels go in blocks, and a tap of a block through all steps, so that
/// its sums stay in registers.
struct Sums<'a> {
    kernel: &'a FilterGradKernel,
    bases: &'a Bases,
    steps: Range<usize>,
    out: *mut f32,
}

impl Vectorised for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let FilterGradKernel { x, dy, .. } = self.kernel;
        let mut done = 0;
        if (x.channel, dy.channel) == (1, 1) {
            done = self.blocks::<S, 64>(done);
            done = self.blocks::<S, 16>(done);
        }
        self.blocks::<S, 1>(done);
    }
}

impl Sums<'_> {
    /// As many whole blocks of `L` channels as there are from channel `from` on; the first channel behind them. Blocks of
    /// more than one channel are of neighbours.
    #[inline(always)]
    fn blocks<S: Simd, const L: usize>(&self, from: usize) -> usize {
        let FilterGradKernel { x, dy, dims: [_, n, c], taps, .. } = self.kernel;
        let mut first = from;
        while first + L <= *c {
            for tap in 0..*taps {
                let mut sum = [0.0; L];
                for (b, times) in sequences(self.steps.clone(), *n) {
                    // SAFETY: rows of the views.
                    let [rows, slopes] = unsafe { [x.at(self.bases, b, 0), dy.at(self.bases, b, 0)] };
                    for t in times.start.max(tap)..times.end {
                        // SAFETY: as above.
                        let (row, slope) =
                            unsafe { (block::<L>(rows, x, t - tap, first), block::<L>(slopes, dy, t, first)) };
                        for i in 0..L {
                            sum[i] = mul_add::<S>(row[i], slope[i], sum[i]);
                        }
                    }
                }
                // SAFETY: `out` holds a row of c sums for each tap.
                unsafe { *self.out.add(tap * c + first).cast::<[f32; L]>() = sum };
            }
            first += L;
        }
        first
    }
}
