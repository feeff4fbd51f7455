//! Each function against f64 over every exponent, on every instruction set of this machine.

use super::*;
use crate::cpu::isa::{Isa, Vectorised};

/// Distance of y from the exact value in units in the last place of the exact value.
fn ulps(y: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if rounded.is_nan() || y.is_nan() {
        return if rounded.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || y.is_infinite() {
        return if rounded == y { 0.0 } else { f64::INFINITY };
    }
    let exponent = (rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127 - 23;
    (f64::from(y) - exact).abs() / f64::from(exponent).exp2()
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Log,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
}

struct Apply<'a>(Function, &'a [f32], &'a mut [f32]);

impl Vectorised for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Apply(function, x, y) = self;
        for (x, y) in x.iter().zip(y) {
            *y = match function {
                Function::Exp => exp::<S>(*x),
                Function::Log => log::<S>(*x),
                Function::Sin => sin::<S>(*x),
                Function::Cos => cos::<S>(*x),
                Function::Tanh => tanh::<S>(*x),
                Function::Sigmoid => sigmoid::<S>(*x),
            };
        }
    }
}

type Exact<'a> = &'a dyn Fn(f64) -> f64;

/// Every `step`-th bit pattern and the edges.
fn sweep(step: usize) -> Vec<f32> {
    let edges = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        1.0,
        -1.0,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        88.722_83,
        88.722_84,
        -87.336,
        -103.97,
        -103.98,
        0.625,
        9.01,
        10.0,
        44.0,
        0.707_106_77,
    ];
    edges.into_iter().chain((0..=u32::MAX).step_by(step).map(f32::from_bits)).collect()
}

fn worst(isa: Isa, function: Function, x: &[f32], error: impl Fn(f32, f32) -> f64) -> (f64, f32) {
    let mut y = vec![0.0; x.len()];
    isa.dispatch(Apply(function, x, &mut y));
    let errors = x.iter().zip(&y).map(|(&x, &y)| (error(x, y), x));
    errors.fold((0.0, 0.0), |worst, here| if here.0 > worst.0 { here } else { worst })
}

#[test]
fn errors_stay_within_the_stated_bounds() {
    let x = sweep(8191);
    let sigmoid64 = |x: f64| 1.0 / (1.0 + (-x).exp());
    let cases: [(Function, Exact<'_>, f64); 4] = [
        (Function::Exp, &f64::exp, 2.0),
        (Function::Log, &f64::ln, 2.0),
        (Function::Tanh, &f64::tanh, 3.0),
        (Function::Sigmoid, &sigmoid64, 4.0),
    ];
    for isa in Isa::available() {
        for (function, exact, bound) in &cases {
            let (error, at) = worst(isa, *function, &x, |x, y| ulps(y, exact(f64::from(x))));
            assert!(error <= *bound, "{isa} {function:?}: {error} ulp at {at:e}");
        }
        let cases: [(Function, Exact<'_>); 2] = [(Function::Sin, &f64::sin), (Function::Cos, &f64::cos)];
        for (function, exact) in cases {
            let error = |x: f32, y: f32| {
                let exact = exact(f64::from(x));
                if x.abs() > SIN_LIMIT && x.is_finite() {
                    return 0.0;
                }
                if x.abs() < 0.7 && matches!(function, Function::Sin) {
                    return ulps(y, exact);
                }
                let beyond = ((f64::from(y) - exact).abs() - 1.5e-7).max(0.0);
                if beyond == 0.0 { 0.0 } else { ulps((exact + beyond) as f32, exact) }
            };
            let (error, at) = worst(isa, function, &x, error);
            assert!(error <= 2.0, "{isa} {function:?}: {error} ulp at {at:e}");
        }
    }
}

#[test]
fn signs_of_zero_and_odd_symmetry() {
    for isa in Isa::available() {
        let mut y = [0.0; 2];
        for function in [Function::Sin, Function::Tanh] {
            isa.dispatch(Apply(function, &[-0.0, 0.0], &mut y));
            assert_eq!(y.map(f32::to_bits), [(-0.0f32).to_bits(), 0], "{function:?}");
        }
    }
    assert_eq!((sign(-3.0), sign(0.0), sign(-0.0), sign(7.0)), (-1.0, 0.0, 0.0, 1.0));
    assert!(sign(f32::NAN).is_nan());
    assert_eq!((recip(0.0), recip(-0.0), recip(4.0), recip(f32::INFINITY)), (0.0, 0.0, 0.25, 0.0));
}

#[test]
fn max_and_min_pass_nan_on() {
    for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::NAN, f32::NAN)] {
        assert!(max(a, b).is_nan() && min(a, b).is_nan());
    }
    assert_eq!((max(1.0, 2.0), max(2.0, 1.0), min(1.0, 2.0), min(2.0, 1.0)), (2.0, 2.0, 1.0, 1.0));
}
