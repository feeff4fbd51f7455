//! The inner loops: one elementwise function over a block.

use std::slice::{from_raw_parts, from_raw_parts_mut};

use crate::cpu::isa::Simd;

/// Where a value of the current block is: row r begins at `ptr + r·stride`. A value of a lower extent than the
/// instruction that reads it has one element a row there.
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

/// One element a row: the fold of the row, which is `identity` where the row is empty.
///
/// # Safety
/// All rows of `a` are readable, `rows` elements of `out` writable, and the two do not overlap.
#[inline(always)]
pub(super) unsafe fn reduce<S: Simd>(
    over: Extent2,
    a: Operand,
    out: Arg,
    identity: f32,
    f: impl Fn(f32, f32) -> f32 + Copy,
) {
    // Two loops, the first along rows and the second across them, since each of them vectorises and the two in one do
    // not.
    let mut partial: [Eight; 32] = [[identity; PARTIALS]; 32];
    for from in (0..over.rows).step_by(partial.len()) {
        let partial = &mut partial[..(over.rows - from).min(32)];
        // SAFETY: the caller's.
        let out = unsafe { from_raw_parts_mut(out.ptr.add(from), partial.len()) };
        for (r, to) in partial.iter_mut().enumerate() {
            // SAFETY: the caller's.
            *to = partials::<S>(unsafe { a.row(from + r, over.width) }, identity, f);
        }
        for (o, partial) in out.iter_mut().zip(&*partial) {
            *o = join(partial, f);
        }
    }
}

/// One element a row: Σ of the row.
///
/// # Safety
/// As for [`reduce`].
#[inline(always)]
pub(super) unsafe fn reduce_sum<S: Simd>(over: Extent2, a: Operand, out: Arg) {
    // SAFETY: the caller's.
    unsafe {
        if over.width <= BASE {
            return reduce::<S>(over, a, out, 0.0, |x, y| x + y);
        }
        for row in 0..over.rows {
            *out.ptr.add(row) = sum::<S>(a.row(row, over.width));
        }
    }
}

/// Longest stretch that is summed without splitting: each accumulator takes at most 64–256 terms.
const BASE: usize = 4096;

/// Σ in a fixed order that depends on the length only: pairwise over stretches, several accumulators within one.
#[inline(always)]
pub(super) fn sum<S: Simd>(x: &[f32]) -> f32 {
    let add = |a, b| a + b;
    // The partial sums of stretches meet like the carries of a binary counter: 64 levels hold any length.
    let mut levels = [0.0f32; 64];
    let mut count = 0usize;
    for stretch in x.chunks(BASE) {
        let mut carry = join(&partials::<S>(stretch, 0.0, add), add);
        let mut level = 0;
        while count >> level & 1 == 1 {
            carry += levels[level];
            level += 1;
        }
        levels[level] = carry;
        count += 1;
    }
    (0..64).filter(|level| count >> level & 1 == 1).map(|level| levels[level]).fold(0.0, add)
}

/// Accumulators that are left of a row when it has been read.
const PARTIALS: usize = 8;

/// So many accumulators. Functions take and give them by value, so that they stay in vector registers.
type Eight = [f32; PARTIALS];

/// The fold of every eighth element, with several accumulators.
#[inline(always)]
fn partials<S: Simd>(x: &[f32], identity: f32, f: impl Fn(f32, f32) -> f32) -> Eight {
    match S::LANES {
        16 => partials_of::<2>(x, identity, f),
        32 => partials_of::<4>(x, identity, f),
        _ => partials_of::<8>(x, identity, f),
    }
}

/// As [`partials`], with `N` times eight accumulators, of which a row that is shorter needs the first eight alone.
#[inline(always)]
fn partials_of<const N: usize>(x: &[f32], identity: f32, f: impl Fn(f32, f32) -> f32) -> Eight {
    let (eights, rest) = x.as_chunks::<PARTIALS>();
    let (wholes, eights) = eights.as_chunks::<N>();
    let mut first = [identity; PARTIALS];
    let mut all = [first; N];
    for whole in wholes {
        all = std::array::from_fn(|i| each(all[i], whole[i], &f));
    }
    if !wholes.is_empty() {
        first = all[0];
    }
    for eight in eights {
        first = each(first, *eight, &f);
    }
    if !rest.is_empty() {
        let mut last = [identity; PARTIALS];
        if let Some(end) = x.last_chunk::<PARTIALS>() {
            // A whole vector that ends with the row; what was read before counts as nothing.
            let read = PARTIALS - rest.len();
            last = std::array::from_fn(|i| if i < read { identity } else { end[i] });
        } else {
            last[..rest.len()].copy_from_slice(rest);
        }
        first = each(first, last, &f);
    }
    if wholes.is_empty() {
        return first;
    }
    all[0] = first;
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            all[i] = each(all[i], all[i + half], &f);
        }
        half /= 2;
    }
    all[0]
}

#[inline(always)]
fn each(a: Eight, b: Eight, f: &impl Fn(f32, f32) -> f32) -> Eight {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// The fold of the partial results, by halves.
#[inline(always)]
fn join(x: &Eight, f: impl Fn(f32, f32) -> f32) -> f32 {
    f(f(f(x[0], x[4]), f(x[2], x[6])), f(f(x[1], x[5]), f(x[3], x[7])))
}
