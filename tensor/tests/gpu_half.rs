//! Half precision: operands of products in 16 bits, sums in 32.

use half::f16;
use primer_tensor::gpu::{GpuDevice, GpuOptions, MatMulVariant, Variants};
use primer_tensor::passes::TileLimits;
use primer_tensor::{DType, Device, Error, Tensor};

use crate::cpu_tiles::{check_within, run};
use crate::gpu_support::{Case, Values, noise, open};

fn data(name: &str, shape: &[usize]) -> Tensor {
    Tensor::data(name, shape, DType::F32)
}

/// For each kind of kernel, the device and the same with operands in half precision.
fn devices() -> Vec<[GpuDevice; 2]> {
    let pair = |options: GpuOptions| {
        let device = open(options);
        let half = device.clone().with_half_operands().expect("the adapter has f16");
        [device, half]
    };
    let variants = MatMulVariant::ALL.map(|matmul| Variants { matmul, invocations: 1024, ..Variants::DISCRETE });
    let options = variants.map(|variants| GpuOptions { variants: Some(variants), ..GpuOptions::default() });
    let checked = GpuOptions { runtime_checks: true, ..options[3] };
    options.into_iter().chain([checked]).map(pair).collect()
}

fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs.iter().map(|output| output.iter().map(|x| x.to_bits()).collect()).collect()
}

/// What is multiplied is rounded to f16, and nothing else is: the bits are those of f32 kernels on rounded operands.
#[test]
fn operands_are_rounded_and_nothing_else_is() {
    let devices = devices();
    // Odd lengths, whole vectors and not, whole tiles and not, long sums that are taken in parts.
    let shapes = [(1, 1, 1, 1), (1, 3, 5, 7), (2, 9, 1, 2), (2, 64, 64, 64), (1, 130, 129, 33), (1, 24, 20, 1024)];
    for (batch, m, n, k) in shapes {
        let (a, b) = (data("a", &[batch, m, k]), data("b", &[batch, k, n]));
        let at = data("at", &[batch, k, m]);
        let (x, y) = (noise(1, batch * m * k), noise(2, batch * k * n));
        let rounded = |values: &[f32]| Values::F32(values.iter().map(|&x| f16::from_f32(x).to_f32()).collect());
        // A sign is changed in memory, so that products read what another kernel has stored.
        let product = (-&a).matmul(&-&b);
        let outputs = [
            product.clone(),
            (&product + 0.25).relu().square() * 0.5,
            (-&at).matmul_t(true, &-&b, false),
            (-&a).permute(&[0, 2, 1]).matmul_t(true, &-&b, false),
        ];
        let case = |outputs: &[Tensor], round: &dyn Fn(&[f32]) -> Values| {
            Case::new(outputs).with(&a, round(&x)).with(&b, round(&y)).with(&at, round(&x))
        };
        for [whole, half] in &devices {
            for output in &outputs {
                let output = std::slice::from_ref(output);
                let (expected_plan, expected) = case(output, &rounded).run(whole);
                let (plan, found) = case(output, &|values| Values::F32(values.to_vec())).run(half);
                assert_eq!(bits(&found), bits(&expected), "{batch} of {m} × {k} × {n}: {}", half.variants());
                let bytes = |plan: &primer_tensor::Executable| plan.report().expect("planned").bytes;
                assert!(bytes(&plan) < bytes(&expected_plan), "operands take half the traffic");
                // Again, the same.
                assert_eq!(bits(&case(output, &|values| Values::F32(values.to_vec())).run(half).1), bits(&found));
            }
        }
    }
}

/// What f16 can't count, f32 sums do; what f16 can't hold is infinite or zero.
#[test]
fn sums_are_f32_and_the_range_is_that_of_f16() {
    let k = 65_536;
    let (a, b) = (data("a", &[2, k]), data("b", &[k, 3]));
    let ones = Case::new([(-&a).matmul(&-&b)]);
    let ones = ones.with(&a, Values::F32(vec![1.0; 2 * k])).with(&b, Values::F32(vec![1.0; 3 * k]));
    let values = [65_504.0, 65_519.0, 65_520.0, 1e5, f32::INFINITY, f32::NAN, 6e-8, 2.9e-8, 1e-30, -65_504.0];
    let x = data("x", &[values.len(), 1]);
    let one = Tensor::state("one", [1, 1]);
    let range = Case::new([(-&x).matmul(&one.exp())]);
    let range = range.with(&x, Values::F32(values.to_vec())).with(&one, Values::F32(vec![0.0]));
    for [_, half] in devices() {
        let (_, found) = ones.run(&half);
        assert_eq!(found[0], [k as f32; 6], "{}", half.variants());
        let found = range.run(&half).1.swap_remove(0);
        let expected = values.map(|x| -f16::from_f32(x).to_f32());
        for ((x, found), expected) in values.iter().zip(found).zip(expected) {
            let same = found == expected || found.is_nan() && expected.is_nan();
            // Subnormals may flush.
            assert!(same || found == 0.0 && x.abs() < 6.2e-5, "{x:e}: {found:e}, expected {expected:e}");
        }
    }
}

#[test]
fn attention_and_its_gradient_stay_within_half_precision() {
    let tiles = Some(TileLimits { bytes: 64 << 10, rows: usize::MAX, fewest: 2, chunk: Some(4 * 3 * 67 * 67) });
    let [chunks, whole] = [tiles, None].map(|tiles| open(GpuOptions { tiles, ..GpuOptions::default() }));
    for device in [chunks, whole] {
        let (exact, full) = run(&Device::Gpu(device.clone()), 67);
        check_within(67, &exact, 1e-5);
        let (found, half) = run(&Device::Gpu(device.with_half_operands().expect("the adapter has f16")), 67);
        check_within(67, &found, 4e-3);
        assert!(found != exact && half.bytes < full.bytes && half.scratch_bytes < full.scratch_bytes, "{half:?}");
    }
}

#[test]
fn who_has_no_f16_says_so() {
    let plain = open(GpuOptions { default_limits: true, ..GpuOptions::default() });
    for device in [Device::Gpu(plain), Device::cpu_with_threads(1), Device::reference()] {
        let error = device.with_half_operands().err().expect("no f16");
        assert!(matches!(&error, Error::Unsupported { what: "f16", .. }), "{error}");
    }
    // A tuning never asks for it, and a device without it isn't given it.
    let wanted = GpuOptions {
        default_limits: true,
        variants: Some(Variants { half_operands: true, ..Variants::DISCRETE }),
        ..GpuOptions::default()
    };
    assert!(!open(wanted).variants().half_operands);
    let half = open(GpuOptions::default()).with_half_operands().expect("the adapter has f16");
    assert!(Device::Gpu(half).signature().ends_with("operands f16"));
}
