//! Elementwise functions in WGSL, by our own polynomials.
//!
//! WGSL leaves the precision of its functions to the driver, grants sin and cos on [−π, π] only, and lets a compiler
//! assume that there is no NaN and no infinity. These are built from additions, multiplications and bits: exp, log,
//! tanh, sigmoid, sin and cos are within 4 ulp (sin and cos: within 2⁻²³ absolutely) for every f32, with NaN and
//! infinities as in IEEE 754.
//!
//! exp: x = n·ln 2 + r, Taylor to r⁷ on |r| ≤ ln 2 / 2, scaled by 2ⁿ in two factors.
//! log: x = 2ᵏ·(1 + f) with √½ ≤ 1 + f < √2, by the series of 2·artanh(f / (2 + f)).
//! tanh: expm1(2|x|) / (expm1(2|x|) + 2), |x| clamped where it rounds to 1.
//! sin, cos: x − n·π/2 with π/2 in three parts up to |x| = 10⁴, beyond it by 96 bits of 2/π (Payne and Hanek); Taylor
//! on ±π/4.

use crate::graph::UnaryOp;

/// The functions that `name` calls.
pub(in super::super) fn needs(name: &str) -> &'static [&'static str] {
    match name {
        "exp_f32" => &["is_nan", "exp2_int"],
        "log_f32" => &["from_bits"],
        "tanh_f32" => &["is_nan", "exp2_int"],
        "sigmoid_f32" => &["exp_f32"],
        "sin_f32" | "cos_f32" => &["sin_quadrant"],
        "sin_quadrant" => &["is_finite_f32", "from_bits", "two_over_pi"],
        "sqrt_f32" => &["from_bits"],
        "sign_f32" => &["is_nan"],
        _ => &[],
    }
}

/// The text of a function.
pub(in super::super) fn source(name: &str) -> &'static str {
    match name {
        "from_bits" => "fn from_bits(b: u32) -> f32 { return bitcast<f32>(b); }\n",
        "is_nan" => "fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }\n",
        "is_finite_f32" => {
            "fn is_finite_f32(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }\n"
        }
        "exp2_int" => "fn exp2_int(n: i32) -> f32 { return bitcast<f32>(u32(n + 127) << 23u); }\n",
        "exp_f32" => EXP,
        "log_f32" => LOG,
        "tanh_f32" => TANH,
        "sigmoid_f32" => SIGMOID,
        "sin_f32" => "fn sin_f32(x: f32) -> f32 { return sin_quadrant(x, 0u); }\n",
        "cos_f32" => "fn cos_f32(x: f32) -> f32 { return sin_quadrant(x, 1u); }\n",
        "sin_quadrant" => SIN,
        "two_over_pi" => TWO_OVER_PI,
        "sqrt_f32" => "fn sqrt_f32(x: f32) -> f32 { return select(sqrt(x), from_bits(0x7fc00000u), x < 0.0); }\n",
        "sign_f32" => {
            "fn sign_f32(x: f32) -> f32 { return select(select(select(0.0, -1.0, x < 0.0), 1.0, x > 0.0), x, is_nan(x)); }\n"
        }
        // WGSL's own conversion stops at the largest f32 below 2³².
        "to_u32" => "fn to_u32(x: f32) -> u32 { return select(u32(x), 0xffffffffu, x >= 4294967296.0); }\n",
        "recip_f32" => "fn recip_f32(x: f32) -> f32 { return select(1.0 / x, 0.0, x == 0.0); }\n",
        _ => "",
    }
}

/// The function for a primitive; None for those that WGSL has as an operator or exact builtin.
pub(in super::super) fn unary(op: UnaryOp) -> Option<&'static str> {
    match op {
        UnaryOp::Neg | UnaryOp::Abs => None,
        UnaryOp::Sign => Some("sign_f32"),
        UnaryOp::Sqrt => Some("sqrt_f32"),
        UnaryOp::Exp => Some("exp_f32"),
        UnaryOp::Log => Some("log_f32"),
        UnaryOp::Sin => Some("sin_f32"),
        UnaryOp::Cos => Some("cos_f32"),
        UnaryOp::Tanh => Some("tanh_f32"),
        UnaryOp::Sigmoid => Some("sigmoid_f32"),
        UnaryOp::Recip => Some("recip_f32"),
    }
}

const EXP: &str = "
fn exp_f32(x: f32) -> f32 {
  let y = clamp(x, -104.0, 89.0);
  let n = round(y * 1.44269504);
  let r = (y - n * 0.693359375) - n * -2.12194440e-4;
  let q = 0.5 + r * (0.166666667 + r * (0.0416666667 + r * (0.00833333333 + r * (0.00138888889 + r * 1.98412698e-4))));
  let e = 1.0 + (r + r * r * q);
  let i = i32(n);
  let h = i >> 1u;
  return select((e * exp2_int(h)) * exp2_int(i - h), x, is_nan(x));
}
";

const LOG: &str = "
fn log_f32(x: f32) -> f32 {
  let tiny = x < 1.17549435e-38;
  let b = bitcast<u32>(select(x, x * 33554432.0, tiny));
  let k = i32((b + 0x004afb0du) >> 23u) - 127;
  let f = bitcast<f32>(b - (u32(k) << 23u)) - 1.0;
  let s = f / (2.0 + f);
  let z = s * s;
  let w = z * (0.666666667 + z * (0.4 + z * (0.285714286 + z * (0.222222222 + z * 0.181818182))));
  let e = f32(k) - select(0.0, 25.0, tiny);
  let y = e * 0.693359375 + ((f - s * (f - w)) + e * -2.12194440e-4);
  let nothing = select(from_bits(0x7fc00000u), from_bits(0xff800000u), x == 0.0);
  return select(select(nothing, y, x > 0.0), x, bitcast<u32>(x) == 0x7f800000u);
}
";

const TANH: &str = "
fn tanh_f32(x: f32) -> f32 {
  let y = 2.0 * min(abs(x), 9.02);
  let n = round(y * 1.44269504);
  let r = (y - n * 0.693359375) - n * -2.12194440e-4;
  let q = 0.5 + r * (0.166666667 + r * (0.0416666667 + r * (0.00833333333 + r * (0.00138888889 + r * 1.98412698e-4))));
  let e = exp2_int(i32(n));
  let m = (r + r * r * q) * e + (e - 1.0);
  let t = m / (m + 2.0);
  return select(select(t, -t, x < 0.0), x, is_nan(x) || x == 0.0);
}
";

const SIGMOID: &str = "
fn sigmoid_f32(x: f32) -> f32 {
  let e = exp_f32(-abs(x));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}
";

const SIN: &str = "
fn sin_quadrant(x: f32, shift: u32) -> f32 {
  let a = abs(x);
  var r: f32;
  var quadrant: u32;
  if (a < 1.0e4) {
    let n = round(a * 0.636619772);
    r = ((a - n * 1.5703125) - n * 4.8375129697e-4) - n * 7.5497899549e-8;
    quadrant = u32(n);
  } else {
    let f = two_over_pi(a);
    quadrant = (f + 0x20000000u) >> 30u;
    r = f32(bitcast<i32>(f - (quadrant << 30u))) * 1.46291808e-9;
  }
  let z = r * r;
  let s = r + r * z * (-0.166666667 + z * (0.00833333333 + z * (-1.98412698e-4 + z * 2.75573192e-6)));
  let c = 1.0 + z * (-0.5 + z * (0.0416666667 + z * (-0.00138888889 + z * (2.48015873e-5 + z * -2.75573192e-7))));
  let negative = x < 0.0 && shift == 0u;
  let q = quadrant + shift + select(0u, 2u, negative);
  let y = select(s, c, (q & 1u) == 1u);
  return select(from_bits(0x7fc00000u), select(y, -y, (q & 2u) == 2u), is_finite_f32(x));
}
";

/// (x·2/π mod 4)·2³⁰ for x ≥ 2⁻⁷, from the 24 bits of x and the 64 bits of 2/π that matter.
const TWO_OVER_PI: &str = "
fn two_over_pi(x: f32) -> u32 {
  var bits = array<u32, 8>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu);
  let b = bitcast<u32>(x);
  let at = min((b >> 23u) - 120u, 160u);
  let word = at / 32u;
  let by = at % 32u;
  let m = (b & 0x007fffffu) | 0x00800000u;
  var high = bits[word];
  var low = bits[word + 1u];
  if (by > 0u) {
    high = (high << by) | (low >> (32u - by));
    low = (low << by) | (bits[word + 2u] >> (32u - by));
  }
  let l = m & 0xffffu;
  let h = m >> 16u;
  let cross = (low & 0xffffu) * h;
  let mixed = (low >> 16u) * l;
  let middle = (((low & 0xffffu) * l) >> 16u) + (cross & 0xffffu) + (mixed & 0xffffu);
  return high * m + (low >> 16u) * h + (cross >> 16u) + (mixed >> 16u) + (middle >> 16u);
}
";
