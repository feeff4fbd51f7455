//! Causal depthwise convolution and its two adjoints, vectorised over channels.

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
            for step in task * share..((task + 1) * share).min(steps) {
                let (b, t) = (step / n, step % n);
                // SAFETY: rows of the views; `out`'s row is this task's own.
                unsafe {
                    let out = self.out.at(bases, b, t);
                    for channel in 0..if self.taps == 0 { c as isize } else { 0 } {
                        *out.offset(channel * self.out.channel) = 0.0;
                    }
                    for tap in 0..self.taps {
                        let source = if self.adjoint { Some(t + tap).filter(|&s| s < n) } else { t.checked_sub(tap) };
                        let Some(source) = source else { break };
                        isa.dispatch(Product {
                            out,
                            out_stride: self.out.channel,
                            x: self.x.at(bases, b, source),
                            x_stride: self.x.channel,
                            y: self.w.at(bases, 0, tap),
                            y_stride: self.w.channel,
                            count: c,
                            add: tap > 0,
                        });
                    }
                }
            }
        });
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
            // SAFETY: each part writes its own partial sums; rows lie within the views.
            unsafe {
                let mine = partials.0.add(part * taps * c);
                std::slice::from_raw_parts_mut(mine, taps * c).fill(0.0);
                for step in (part * share).min(steps)..((part + 1) * share).min(steps) {
                    let (b, t) = (step / n, step % n);
                    for tap in 0..taps.min(t + 1) {
                        isa.dispatch(Product {
                            out: mine.add(tap * c),
                            out_stride: 1,
                            x: this.x.at(bases, b, t - tap),
                            x_stride: this.x.channel,
                            y: this.dy.at(bases, b, t),
                            y_stride: this.dy.channel,
                            count: c,
                            add: true,
                        });
                    }
                }
            }
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

/// out (+)= x·y over `count` channels; `out` overlaps neither.
struct Product {
    out: *mut f32,
    out_stride: isize,
    x: *const f32,
    x_stride: isize,
    y: *const f32,
    y_stride: isize,
    count: usize,
    add: bool,
}

impl Vectorised for Product {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        if (self.out_stride, self.x_stride, self.y_stride) == (1, 1, 1) {
            // SAFETY: made by the kernels above from rows of views.
            let (out, x, y) = unsafe {
                (
                    std::slice::from_raw_parts_mut(self.out, self.count),
                    std::slice::from_raw_parts(self.x, self.count),
                    std::slice::from_raw_parts(self.y, self.count),
                )
            };
            if self.add {
                for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *o = mul_add::<S>(x, y, *o);
                }
            } else {
                for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *o = x * y;
                }
            }
            return;
        }
        for i in 0..self.count as isize {
            // SAFETY: as above.
            unsafe {
                let product = *self.x.offset(i * self.x_stride) * *self.y.offset(i * self.y_stride);
                let out = self.out.offset(i * self.out_stride);
                *out = if self.add { *out + product } else { product };
            }
        }
    }
}
