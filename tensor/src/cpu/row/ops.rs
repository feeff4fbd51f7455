//! The inner loops: one elementwise function over a block.

use std::slice::{from_raw_parts, from_raw_parts_mut};

use crate::cpu::isa::Simd;

/// Where a value of the current block is: row r begins at `ptr + r·stride`. A value of a lower extent than the instruction that
/// reads it has one element a row there.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Arg {
    pub ptr: *mut f32,
    pub stride: isize,
}

impl Arg {
    pub(in crate::cpu) const NULL: Self = Self { ptr: std::ptr::null_mut(), stride: 0 };
}

/// An operand: a row of elements, or one element for the whole row.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub arg: Arg,
    pub scalar: bool,
}

/// The extent of one loop: `rows` times `width`.
#[derive(Clone, Copy)]
pub(super) struct Extent2 {
    pub rows: usize,
    pub width: usize,
}

impl Operand {
    /// Row `row` of `width` elements.
    ///
    /// # Safety
    /// It is readable for `'a`, and nothing writes it meanwhile. T is a 4-byte plain type.
    #[inline(always)]
    unsafe fn row<'a, T>(&self, row: usize, width: usize) -> &'a [T] {
        // SAFETY: the caller's.
        unsafe { from_raw_parts(self.arg.ptr.offset(row as isize * self.arg.stride).cast(), width) }
    }

    /// The one element of row `row`.
    ///
    /// # Safety
    /// As for [`Operand::row`].
    #[inline(always)]
    unsafe fn one<T: Copy>(&self, row: usize) -> T {
        // SAFETY: the caller's.
        unsafe { *self.arg.ptr.offset(row as isize * self.arg.stride).cast::<T>() }
    }
}

/// # Safety
/// The row is writable and nothing else touches it meanwhile.
#[inline(always)]
unsafe fn out_row<'a, T>(out: Arg, row: usize, width: usize) -> &'a mut [T] {
    // SAFETY: the caller's.
    unsafe { from_raw_parts_mut(out.ptr.offset(row as isize * out.stride).cast(), width) }
}

#[inline(always)]
fn fill1<A: Copy, O>(x: &[A], out: &mut [O], f: impl Fn(A) -> O) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = f(x);
    }
}

#[inline(always)]
fn fill2<A: Copy, B: Copy, O>(x: &[A], y: &[B], out: &mut [O], f: impl Fn(A, B) -> O) {
    for ((o, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *o = f(x, y);
    }
}

#[inline(always)]
fn fill3<A: Copy, B: Copy, C: Copy, O>(x: &[A], y: &[B], z: &[C], out: &mut [O], f: impl Fn(A, B, C) -> O) {
    for (((o, &x), &y), &z) in out.iter_mut().zip(x).zip(y).zip(z) {
        *o = f(x, y, z);
    }
}

/// out = f(a)
///
/// # Safety
/// All rows of `a` are readable, those of `out` writable, and the two do not overlap.
#[inline(always)]
pub(super) unsafe fn map1<A: Copy, O: Copy>(over: Extent2, a: Operand, out: Arg, f: impl Fn(A) -> O) {
    for row in 0..over.rows {
        // SAFETY: the caller's.
        unsafe {
            let o = out_row::<O>(out, row, over.width);
            if a.scalar { o.fill(f(a.one::<A>(row))) } else { fill1(a.row::<A>(row, over.width), o, &f) }
        }
    }
}

/// out = f(a, b)
///
/// # Safety
/// As for [`map1`].
#[inline(always)]
pub(super) unsafe fn map2<A: Copy, O: Copy>(over: Extent2, a: Operand, b: Operand, out: Arg, f: impl Fn(A, A) -> O) {
    let w = over.width;
    // SAFETY: the caller's.
    unsafe {
        match (a.scalar, b.scalar) {
            (false, false) => (0..over.rows)
                .for_each(|row| fill2(a.row::<A>(row, w), b.row::<A>(row, w), out_row::<O>(out, row, w), &f)),
            (false, true) => (0..over.rows).for_each(|row| {
                let y = b.one::<A>(row);
                fill1(a.row::<A>(row, w), out_row::<O>(out, row, w), |x| f(x, y));
            }),
            (true, false) => (0..over.rows).for_each(|row| {
                let x = a.one::<A>(row);
                fill1(b.row::<A>(row, w), out_row::<O>(out, row, w), |y| f(x, y));
            }),
            (true, true) => {
                (0..over.rows).for_each(|row| out_row::<O>(out, row, w).fill(f(a.one::<A>(row), b.one::<A>(row))))
            }
        }
    }
}

/// out = cond ? a : b, by bits. `cond` is a row of masks.
///
/// # Safety
/// As for [`map1`].
#[inline(always)]
pub(super) unsafe fn select(over: Extent2, cond: Operand, a: Operand, b: Operand, out: Arg) {
    let w = over.width;
    let pick = |m: u32, x: u32, y: u32| if m != 0 { x } else { y };
    for row in 0..over.rows {
        // SAFETY: the caller's.
        unsafe {
            let m = cond.row::<u32>(row, w);
            let o = out_row::<u32>(out, row, w);
            match (a.scalar, b.scalar) {
                (false, false) => fill3(m, a.row::<u32>(row, w), b.row::<u32>(row, w), o, pick),
                (false, true) => {
                    let y = b.one::<u32>(row);
                    fill2(m, a.row::<u32>(row, w), o, |m, x| pick(m, x, y));
                }
                (true, false) => {
                    let x = a.one::<u32>(row);
                    fill2(m, b.row::<u32>(row, w), o, |m, y| pick(m, x, y));
                }
                (true, true) => {
                    let (x, y) = (a.one::<u32>(row), b.one::<u32>(row));
                    fill1(m, o, |m| pick(m, x, y));
                }
            }
        }
    }
}

/// One element a row: the reduction of the row.
///
/// # Safety
/// All rows of `a` are readable, `rows` elements of `out` writable, and the two do not overlap.
#[inline(always)]
pub(super) unsafe fn reduce(over: Extent2, a: Operand, out: Arg, f: impl Fn(&[f32]) -> f32) {
    for row in 0..over.rows {
        // SAFETY: the caller's.
        unsafe { *out.ptr.add(row) = f(a.row(row, over.width)) };
    }
}

/// Longest stretch that is summed without splitting: each accumulator takes at most 64–256 terms.
const BASE: usize = 4096;

/// Σ in a fixed order that depends on the length only: pairwise over stretches, several accumulators within one.
#[inline(always)]
pub(super) fn sum<S: Simd>(x: &[f32]) -> f32 {
    if x.len() <= BASE {
        return fold::<S>(x, 0.0, |a, b| a + b);
    }
    // The partial sums of stretches meet like the carries of a binary counter: 64 levels hold any length.
    let mut levels = [0.0f32; 64];
    let mut count = 0usize;
    for stretch in x.chunks(BASE) {
        let mut carry = fold::<S>(stretch, 0.0, |a, b| a + b);
        let mut level = 0;
        while count >> level & 1 == 1 {
            carry += levels[level];
            level += 1;
        }
        levels[level] = carry;
        count += 1;
    }
    (0..64).filter(|level| count >> level & 1 == 1).map(|level| levels[level]).fold(0.0, |a, b| a + b)
}

/// The fold of a row with several accumulators, joined by halves.
#[inline(always)]
pub(super) fn fold<S: Simd>(x: &[f32], identity: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    // The largest instruction set has 64 lanes; the others use a part of the array.
    let mut lanes = [identity; 64];
    let lanes = &mut lanes[..S::LANES];
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = f(*lane, v);
    }
    let mut half = S::LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        for (a, &b) in low.iter_mut().zip(&high[..half]) {
            *a = f(*a, b);
        }
        half /= 2;
    }
    lanes[0]
}
