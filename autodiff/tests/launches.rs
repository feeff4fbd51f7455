//! Launches of the row programs of the models, forward and backward: the fuser finds them, whatever they are called.

use primer_autodiff::grad_tensors;
use primer_tensor::passes::{PlanLimits, plan};
use primer_tensor::{CompareOp, DType, Device, Program, Tensor};

/// Kernels in the plan of a program, as a GPU plans it, and launches on the software adapter.
fn counts(outputs: &[Tensor]) -> (usize, usize) {
    let program = Program::trace(outputs, &[]).unwrap();
    let kernels = plan(&program, PlanLimits { buffers: 23, ..PlanLimits::default() }).unwrap().kernels.len();
    let gpu = Device::parse("software", None).or_else(|_| Device::parse("gpu", None));
    let gpu = gpu.expect("an adapter; `cargo xtask test --setup` installs one");
    let executable = gpu.compile(&program).unwrap();
    (kernels, executable.report().expect("a plan's").launches)
}

const ROWS: usize = 64;
const LENGTH: usize = 96;

fn x() -> Tensor {
    Tensor::data("x", [ROWS, LENGTH], DType::F32)
}

fn parameter(name: &str) -> Tensor {
    Tensor::data(name, [LENGTH], DType::F32)
}

/// (x − μ) / √(v + ε)·γ + β, with v as the layer norm or as Primer's norm has it.
fn centred_norm(primer: bool) -> (Tensor, Vec<Tensor>) {
    let (x, gain, bias) = (x(), parameter("gain"), parameter("bias"));
    let centred = &x - x.mean_axis(1);
    let variance = if primer { (&x * &centred).mean_axis(1) } else { centred.square().mean_axis(1) };
    (centred / (variance + 1e-6).sqrt() * &gain + &bias, vec![x, gain, bias])
}

fn rms_norm() -> (Tensor, Vec<Tensor>) {
    let (x, gain) = (x(), parameter("gain"));
    (&x / (x.square().mean_axis(1) + 1e-6).sqrt() * &gain, vec![x, gain])
}

/// Attention weights of queries that see no later key.
fn masked_softmax() -> (Tensor, Vec<Tensor>) {
    let scores = Tensor::data("x", [2, 3, 32, 32], DType::F32);
    let [query, key] = [2, 3].map(|axis| Tensor::iota(scores.shape(), axis, DType::U32));
    let hidden = query.compare(CompareOp::Less, &key).select(&Tensor::constant(f64::NEG_INFINITY), &scores);
    (hidden.softmax(), vec![scores])
}

fn cross_entropy() -> (Tensor, Vec<Tensor>) {
    let logits = x();
    (logits.cross_entropy(&Tensor::data("targets", [ROWS], DType::U32)), vec![logits])
}

#[test]
fn a_row_program_is_one_launch_forward_and_one_backward() {
    let softmax = (x().softmax(), vec![x()]);
    let cases = [
        ("layer norm", centred_norm(false)),
        ("Primer's norm", centred_norm(true)),
        ("RMS norm", rms_norm()),
        ("softmax", softmax),
        ("masked softmax", masked_softmax()),
        ("cross entropy", cross_entropy()),
    ];
    let mut wrong = Vec::new();
    for (name, (y, leaves)) in cases {
        let forward = counts(std::slice::from_ref(&y));
        let upstream = Tensor::data("dy", y.shape(), DType::F32);
        let gradients = grad_tensors(&(&y * &upstream).sum(), &leaves).unwrap();
        let backward = counts(&gradients);
        // The sums over rows of all parameters' gradients are finished by one launch more.
        let finishing = usize::from(leaves.len() > 1);
        if (forward, backward) != ((1, 1), (1, 1 + finishing)) {
            wrong.push(format!("{name}: kernels and launches {forward:?} forward, {backward:?} backward"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
