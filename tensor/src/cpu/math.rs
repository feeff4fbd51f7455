//! Elementwise functions as our own f32 polynomials, written to vectorise: no branches, no calls, selection by
//! comparison.
//!
//! Polynomials are near-minimax fits (Chebyshev interpolation in extended precision). Errors are in units in the last
//! place (ulp) against the correctly rounded f64 result, measured by the test below over every exponent; subnormal
//! results are counted in the spacing of subnormals.
//!
//! | function | domain | largest error |
//! |---|---|---|
//! | [`exp`] | all; overflows to ∞ above 88.7228, falls to 0 below −103.97 | 2 ulp |
//! | [`log`] | all; NaN below 0, −∞ at ±0 | 2 ulp |
//! | [`sin`], [`cos`] | \|x\| ≤ 1e5 (beyond: [`sin_cos_exact`] must be used) | 2 ulp + 1.5e-7 absolute |
//! | [`tanh`] | all | 3 ulp |
//! | [`sigmoid`] | all | 4 ulp |

use super::isa::{Simd, mul_add};

/// Adding it rounds an f32 below 2²² to the nearest integer, kept in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_115_23; // the first 12 bits
const LN2_LOW: f32 = 3.194_618_3e-5;
/// Largest |x| that [`sin`] and [`cos`] reduce well.
pub(super) const SIN_LIMIT: f32 = 1e5;

#[inline(always)]
fn select(cond: bool, a: f32, b: f32) -> f32 {
    if cond { a } else { b }
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// (eʳ, n) with x = n·ln 2 + r, |r| ≤ ln 2 / 2, for |x| ≤ 105.
#[inline(always)]
fn exp_parts<S: Simd>(x: f32) -> (f32, i32) {
    let shifted = mul_add::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let whole = shifted - ROUND;
    let r = mul_add::<S>(whole, -LN2_LOW, mul_add::<S>(whole, -LN2_HIGH, x));
    let p = 1.989_108e-4;
    let p = mul_add::<S>(p, r, 1.393_373_1e-3);
    let p = mul_add::<S>(p, r, 8.333_31e-3);
    let p = mul_add::<S>(p, r, 4.166_646_3e-2);
    let p = mul_add::<S>(p, r, 0.166_666_67);
    let p = mul_add::<S>(p, r, 0.5);
    (1.0 + mul_add::<S>(p * r, r, r), n)
}

/// eˣ
#[inline(always)]
pub(super) fn exp<S: Simd>(x: f32) -> f32 {
    // NaN fails both comparisons and passes through.
    let clamped = select(x > 89.0, 89.0, x);
    let clamped = select(clamped < -104.0, -104.0, clamped);
    let (y, n) = exp_parts::<S>(clamped);
    // Below, the result is 0, and must not pass through subnormal products: they are two orders of magnitude slower,
    // and half of a masked softmax is there.
    let y = select(x < -103.98, 0.0, y);
    // Two factors, so that subnormal results are reached with one rounding.
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// ln x
#[inline(always)]
pub(super) fn log<S: Simd>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = select(tiny, x * 8_388_608.0, x);
    // m in [√½, √2): subtracting the bits of √½ carries into the exponent.
    let bits = scaled.to_bits() as i32;
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = shifted >> 23;
    let m = f32::from_bits((bits.wrapping_sub(e << 23)) as u32);
    let e = e as f32 - select(tiny, 23.0, 0.0);
    let f = m - 1.0;
    let p = 6.971_612e-2;
    let p = mul_add::<S>(p, f, -0.114_797_34);
    let p = mul_add::<S>(p, f, 0.116_854_2);
    let p = mul_add::<S>(p, f, -0.124_256_87);
    let p = mul_add::<S>(p, f, 0.142_490_58);
    let p = mul_add::<S>(p, f, -0.166_678_02);
    let p = mul_add::<S>(p, f, 0.200_007_16);
    let p = mul_add::<S>(p, f, -0.249_999_97);
    let p = mul_add::<S>(p, f, 0.333_333_3);
    let f2 = f * f;
    let tail = mul_add::<S>(e, LN2_LOW, mul_add::<S>(p * f, f2, -0.5 * f2));
    let y = mul_add::<S>(e, LN2_HIGH, f + tail);
    let y = select(x == 0.0, f32::NEG_INFINITY, y);
    let y = select(x == f32::INFINITY, x, y);
    select(x >= 0.0, y, f32::NAN)
}

/// Where x lies: (r, number of the quarter turn) with x = quarter·π/2 + r, |r| ≤ π/4.
#[inline(always)]
fn quarter_turns<S: Simd>(x: f32) -> (f32, i32) {
    let shifted = mul_add::<S>(x, std::f32::consts::FRAC_2_PI, ROUND);
    let quarter = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let n = shifted - ROUND;
    // π/2 in parts of 8 bits, so that the products with n < 2¹⁶ are exact with or without a fused multiply-add.
    let r = mul_add::<S>(n, -1.570_312_5, x);
    let r = mul_add::<S>(n, -4.825_592e-4, r);
    let r = mul_add::<S>(n, -1.266_598_7e-6, r);
    let r = mul_add::<S>(n, -9.895_302e-10, r);
    (mul_add::<S>(n, -2.563_344e-12, r), quarter)
}

/// sin r or cos r by the parity of `quarter`, negated by its second bit.
#[inline(always)]
fn turn<S: Simd>(r: f32, quarter: i32) -> f32 {
    let z = r * r;
    let s = mul_add::<S>(2.724_931_4e-6, z, -1.984_008_3e-4);
    let s = mul_add::<S>(s, z, 8.333_332e-3);
    let s = mul_add::<S>(s, z, -0.166_666_67);
    let sin = mul_add::<S>(s * z, r, r);
    let c = mul_add::<S>(-2.730_044_7e-7, z, 2.480_059_6e-5);
    let c = mul_add::<S>(c, z, -1.388_888_8e-3);
    let c = mul_add::<S>(c, z, 4.166_666_8e-2);
    let cos = mul_add::<S>(c * z, z, mul_add::<S>(-0.5, z, 1.0));
    let y = select(quarter & 1 == 0, sin, cos);
    f32::from_bits(y.to_bits() ^ (((quarter & 2) as u32) << 30))
}

/// sin x
#[inline(always)]
pub(super) fn sin<S: Simd>(x: f32) -> f32 {
    let (r, quarter) = quarter_turns::<S>(x);
    // r = x − 0 loses the sign of −0.
    select(x == 0.0, x, turn::<S>(r, quarter))
}

/// cos x
#[inline(always)]
pub(super) fn cos<S: Simd>(x: f32) -> f32 {
    let (r, quarter) = quarter_turns::<S>(x);
    turn::<S>(r, quarter.wrapping_add(1))
}

/// Replaces the results of [`sin`] or [`cos`] where |x| is beyond [`SIN_LIMIT`], by the f64 function.
pub(super) fn sin_cos_exact(x: &[f32], y: &mut [f32], exact: fn(f64) -> f64) {
    for (x, y) in x.iter().zip(y) {
        if x.abs() > SIN_LIMIT {
            *y = exact(f64::from(*x)) as f32;
        }
    }
}

/// tanh x
#[inline(always)]
pub(super) fn tanh<S: Simd>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = 2.292_744_8e-3;
    let p = mul_add::<S>(p, z, -8.343_945e-3);
    let p = mul_add::<S>(p, z, 2.176_892e-2);
    let p = mul_add::<S>(p, z, -5.395_926e-2);
    let p = mul_add::<S>(p, z, 0.133_333_04);
    let p = mul_add::<S>(p, z, -0.333_333_34);
    let small = mul_add::<S>(p * z, x, x);
    // From 9.02 on the result rounds to 1; the clamp keeps the exponential finite.
    let (y, n) = exp_parts::<S>(2.0 * select(a > 10.0, 10.0, a));
    let large = 1.0 - 2.0 / mul_add::<S>(y, power_of_two(n), 1.0);
    // The sign of x, so that −0 keeps its own.
    let y = select(a > 0.625, large, small).to_bits() & 0x7fff_ffff;
    f32::from_bits(y | (x.to_bits() & 0x8000_0000))
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(x: f32) -> f32 {
    let e = exp::<S>(-x.abs());
    let y = 1.0 / (1.0 + e);
    select(x < 0.0, e * y, y)
}

/// −1, 0 or 1; NaN stays NaN, ±0 gives 0.
#[inline(always)]
pub(super) fn sign(x: f32) -> f32 {
    let y = select(x > 0.0, 1.0, select(x < 0.0, -1.0, 0.0));
    select(x.is_nan(), x, y)
}

/// 1/x, and 0 at ±0.
#[inline(always)]
pub(super) fn recip(x: f32) -> f32 {
    select(x == 0.0, 0.0, 1.0 / x)
}

/// The larger; NaN if either is NaN.
#[inline(always)]
pub(super) fn max(a: f32, b: f32) -> f32 {
    // A NaN in b fails the comparison and is taken.
    select(a.is_nan(), a, select(a > b, a, b))
}

/// The smaller; NaN if either is NaN.
#[inline(always)]
pub(super) fn min(a: f32, b: f32) -> f32 {
    select(a.is_nan(), a, select(a < b, a, b))
}

/// All bits where x is neither infinite nor NaN.
#[inline(always)]
pub(super) fn is_finite(x: f32) -> u32 {
    mask(x.to_bits() & 0x7f80_0000 != 0x7f80_0000)
}

/// A truth value as a register holds it: all bits or none.
#[inline(always)]
pub(super) fn mask(x: bool) -> u32 {
    (x as u32).wrapping_neg()
}

#[cfg(test)]
mod tests;
