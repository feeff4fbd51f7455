//! Launches of the row programs of the models, forward and backward: the fuser finds them, whatever they are called.

use primer_autodiff::grad_tensors;
use primer_tensor::gpu::{GpuOptions, Variants};
use primer_tensor::passes::{PlanLimits, plan};
use primer_tensor::plan::PlanReport;
use primer_tensor::{CompareOp, DType, Device, Program, Tensor};

use crate::devices::gpu;

/// The adapter with the kernels for each class of adapters.
fn adapters() -> [Device; 3] {
    let Device::Gpu(adapter) = gpu(GpuOptions::default()) else { panic!("no adapter") };
    let variants = [Variants::SOFTWARE, Variants::INTEGRATED, Variants::DISCRETE];
    variants.map(|variants| Device::Gpu(adapter.clone().with_variants(variants)))
}

/// What is wrong with a program that should be one pass over memory, and on a GPU `finishing` launches after it.
fn flaws(outputs: &[Tensor], finishing: usize, devices: &[Device]) -> Vec<String> {
    let program = Program::trace(outputs, &[]).unwrap();
    let mut wrong = Vec::new();
    let kernels = plan(&program, PlanLimits { buffers: 23, ..PlanLimits::default() }).unwrap().kernels.len();
    if kernels != 1 {
        wrong.push(format!("{kernels} kernels in the plan of a GPU"));
    }
    for device in devices {
        let expected = if matches!(device, Device::Gpu(_)) { 1 + finishing } else { 1 };
        let PlanReport { launches, bytes, .. } = *device.compile(&program).unwrap().report().expect("a plan's");
        if launches != expected {
            wrong.push(format!("{launches} launches, not {expected}, on {}", device.signature()));
        }
        // Every input is read once and every output written once; what there is one of a row may be read twice.
        let inputs = program.graph.inputs().iter().map(|info| program.graph.shape(info.node).numel());
        let elements = inputs.chain(outputs.iter().map(|output| output.shape().numel())).sum::<usize>();
        let once = 4 * elements as u64;
        if !(once..=once + once / 20).contains(&bytes) {
            wrong.push(format!("{bytes} bytes, where inputs and outputs hold {once}, on {}", device.signature()));
        }
    }
    wrong
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
    let devices: Vec<Device> = adapters().into_iter().chain([Device::cpu_with_threads(1)]).collect();
    let mut wrong = Vec::new();
    for (name, (y, leaves)) in cases {
        let forward = flaws(std::slice::from_ref(&y), 0, &devices);
        wrong.extend(forward.into_iter().map(|what| format!("{name}: {what}")));
        let upstream = Tensor::data("dy", y.shape(), DType::F32);
        let gradients = grad_tensors(&(&y * &upstream).sum(), &leaves).unwrap();
        // The sums over rows of all parameters' gradients are finished by one launch more.
        let backward = flaws(&gradients, usize::from(leaves.len() > 1), &devices);
        wrong.extend(backward.into_iter().map(|what| format!("{name}, backward: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
