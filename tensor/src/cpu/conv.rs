//! Causal depthwise convolution and its two adjoints, vectorised over channels.

use std::array::{from_fn, from_mut};
use std::ops::Range;

use super::isa::{Isa, Simd, Vectorised, mul_add};
use super::team::Team;
use super::{Bases, CpuBuffer};
use crate::Result;
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

    /// `L` channels of row `time`, from channel `first` on: one, or neighbours.
    ///
    /// # Safety
    /// `rows` points to row 0 of a sequence that has them, and nobody writes them meanwhile.
    #[inline(always)]
    unsafe fn block<'a, const L: usize>(&self, rows: *const f32, time: isize, first: usize) -> &'a [f32; L] {
        // SAFETY: the caller's.
        unsafe { &*rows.offset(time * self.time + first as isize * self.channel).cast::<[f32; L]>() }
    }
}

/// Elements of the output in one task.
const TASK: usize = 1 << 15;
/// Most partial filter gradients.
const PARTS: usize = 16;
/// Times of a convolution, or taps of a filter gradient, that are summed together.
const TILE: usize = 3;

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
        let ConvKernel { x, w, out, dims: [_, _, c], .. } = self.kernel;
        let neighbours = (x.channel, w.channel, out.channel) == (1, 1, 1);
        self.all::<S, 32, 8>(self.times.clone(), *c, neighbours);
    }
}

/// Outputs that are computed in tiles of some of them, of a block of channels: times of a convolution, taps of a filter
/// gradient.
trait Blocked {
    /// Outputs `at .. at + T` of the channels `first .. first + L`; of more than one channel, these are neighbours.
    fn tile<S: Simd, const T: usize, const L: usize>(&self, at: usize, first: usize);

    /// These outputs of all channels, in blocks of `LONG`, or of `SHORT` where there are fewer, or one by one.
    #[inline(always)]
    fn all<S: Simd, const LONG: usize, const SHORT: usize>(&self, outputs: Range<usize>, c: usize, neighbours: bool) {
        if neighbours && c >= LONG {
            for first in blocks::<LONG>(c) {
                self.block::<S, LONG>(outputs.clone(), first);
            }
        } else if neighbours && c >= SHORT {
            for first in blocks::<SHORT>(c) {
                self.block::<S, SHORT>(outputs.clone(), first);
            }
        } else {
            for channel in 0..c {
                self.block::<S, 1>(outputs.clone(), channel);
            }
        }
    }

    /// These outputs of the channels `first .. first + L`.
    #[inline(always)]
    fn block<S: Simd, const L: usize>(&self, outputs: Range<usize>, first: usize) {
        let Range { start: mut at, end } = outputs;
        while at + TILE <= end {
            self.tile::<S, TILE, L>(at, first);
            at += TILE;
        }
        for at in at..end {
            self.tile::<S, 1, L>(at, first);
        }
    }
}

/// Where blocks of `L` channels begin that cover `count`, at least `L`: the last overlaps the one before it where they
/// don't divide them.
#[inline(always)]
fn blocks<const L: usize>(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(L).map(move |first| first.min(count - L))
}

impl Blocked for Rows<'_> {
    /// Times: a row of the filter is read once for all of them.
    #[inline(always)]
    fn tile<S: Simd, const T: usize, const L: usize>(&self, t: usize, first: usize) {
        let ConvKernel { x, w, out, dims: [_, n, _], taps, adjoint } = self.kernel;
        let within = |t: usize| if *adjoint { n - t } else { t + 1 }.min(*taps);
        let direction = if *adjoint { 1 } else { -1 };
        // The first product is added to -0, which leaves it as it is: a zero keeps its sign.
        let mut sums = [[if *taps == 0 { 0.0 } else { -0.0 }; L]; T];
        let shared = within(t).min(within(t + T - 1));
        // SAFETY: made by the kernel from the rows of a sequence; `out` overlaps neither.
        unsafe {
            let row = |t: usize, tap: usize| x.block::<L>(self.x, t as isize + direction * tap as isize, first);
            let filter = |tap: usize| w.block::<L>(self.w, tap as isize, first);
            for tap in 0..shared {
                add::<S, T, L>(&mut sums, from_fn(|i| row(t + i, tap)), filter(tap));
            }
            for (i, sum) in sums.iter_mut().enumerate() {
                for tap in shared..within(t + i) {
                    add::<S, 1, L>(from_mut(sum), [row(t + i, tap)], filter(tap));
                }
                let to = (t + i) as isize * out.time + first as isize * out.channel;
                self.out.offset(to).cast::<[f32; L]>().write(*sum);
            }
        }
    }
}

/// sums += a · b. With the lanes inside, the compiler would take them apart instead of vectorising them.
#[inline(always)]
fn add<S: Simd, const T: usize, const L: usize>(sums: &mut [[f32; L]; T], a: [&[f32; L]; T], b: &[f32; L]) {
    for lane in 0..L {
        for i in 0..T {
            sums[i][lane] = mul_add::<S>(a[i][lane], b[lane], sums[i][lane]);
        }
    }
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
    /// # Errors
    /// As [`CpuBuffer::zeroed`].
    pub(super) fn new(grad: &DepthwiseConvFilterGrad) -> Result<Self> {
        let dims = [grad.dy.dims[0], grad.dy.dims[1], grad.dy.dims[2]];
        let taps = grad.out.dims[0];
        let parts = (dims[0] * dims[1] * dims[2]).div_ceil(TASK).clamp(1, PARTS);
        Ok(Self {
            x: Channels::new(&grad.x),
            dy: Channels::new(&grad.dy),
            out: Channels::new(&grad.out),
            dims,
            taps,
            parts,
            partials: CpuBuffer::zeroed(parts * taps * dims[2])?,
        })
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

/// The filter gradient of some steps, `[taps, c]`. Channels go in blocks and some taps of a block through all steps, so
/// that their sums stay in registers.
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
        let FilterGradKernel { x, dy, dims: [_, _, c], taps, .. } = self.kernel;
        self.all::<S, 16, 4>(0..*taps, *c, (x.channel, dy.channel) == (1, 1));
    }
}

impl Blocked for Sums<'_> {
    /// Taps: a row of the output's gradient is read once for all of them.
    #[inline(always)]
    fn tile<S: Simd, const T: usize, const L: usize>(&self, tap: usize, first: usize) {
        let FilterGradKernel { x, dy, dims: [_, n, c], .. } = self.kernel;
        let mut sums = [[0.0; L]; T];
        for (b, times) in sequences(self.steps.clone(), *n) {
            // SAFETY: rows of the views.
            unsafe {
                let [rows, slopes] = [x.at(self.bases, b, 0), dy.at(self.bases, b, 0)];
                let row = |t: usize, tap: usize| x.block::<L>(rows, (t - tap) as isize, first);
                let slope = |t: usize| dy.block::<L>(slopes, t as isize, first);
                let shared = times.start.max(tap + T - 1).min(times.end);
                for (i, sum) in sums.iter_mut().enumerate() {
                    for t in times.start.max(tap + i)..shared {
                        add::<S, 1, L>(from_mut(sum), [row(t, tap + i)], slope(t));
                    }
                }
                for t in shared..times.end {
                    add::<S, T, L>(&mut sums, from_fn(|i| row(t, tap + i)), slope(t));
                }
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            // SAFETY: `out` holds a row of c sums for each tap.
            unsafe { self.out.add((tap + i) * c + first).cast::<[f32; L]>().write(*sum) };
        }
    }
}
