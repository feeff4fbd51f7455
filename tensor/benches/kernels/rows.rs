//! Row programs: elementwise chains, reductions along rows, forward and backward, and sums over rows.

use primer_tensor::{DType, Tensor};

use crate::{Family, leaf};

const ROWS: usize = 2048;
const WIDTH: usize = 256;

/// (x − μ) / σ with σ² = mean (x − μ)² + ε, and 1/σ.
fn standardized(x: &Tensor) -> (Tensor, Tensor) {
    let centred = x - x.mean_axis(1);
    let inverse = (centred.square().mean_axis(1) + 1e-6).sqrt().recip();
    (&centred * &inverse, inverse)
}

fn layer_norm() -> Tensor {
    let (normal, _) = standardized(&leaf("x", [ROWS, WIDTH]));
    normal * leaf("gain", [WIDTH]) + leaf("bias", [WIDTH])
}

/// The gradients in x, gain and bias.
fn layer_norm_backward() -> [Tensor; 3] {
    let upstream = leaf("dy", [ROWS, WIDTH]);
    let (normal, inverse) = standardized(&leaf("x", [ROWS, WIDTH]));
    let inner = &upstream * leaf("gain", [WIDTH]);
    let along = (&inner * &normal).mean_axis(1);
    let dx = (&inner - inner.mean_axis(1) - &normal * along) * inverse;
    [dx, (&upstream * normal).sum_axis(0), upstream.sum_axis(0)]
}

fn rms_norm() -> Tensor {
    let x = leaf("x", [ROWS, WIDTH]);
    &x / (x.square().mean_axis(1) + 1e-6).sqrt() * leaf("gain", [WIDTH])
}

fn softmax_backward(rows: usize, width: usize) -> Tensor {
    let (weights, upstream) = (leaf("weights", [rows, width]), leaf("dy", [rows, width]));
    let mean = (&weights * &upstream).sum_axis(1);
    weights * (upstream - mean)
}

/// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
fn gelu(x: &Tensor) -> Tensor {
    let inner = (x + x.square() * x * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

/// New weights and moments.
fn adamw(shape: [usize; 2]) -> [Tensor; 3] {
    let [weight, gradient] = ["weight", "gradient"].map(|name| leaf(name, shape));
    let (first, second) = (leaf("first moment", shape), leaf("second moment", shape));
    let first = first * 0.9 + &gradient * 0.1;
    let second = second * 0.98 + gradient.square() * 0.02;
    let step = (&first * 1.1) / ((&second * 1.2).sqrt() + 1e-8) + &weight * 0.01;
    [&weight - step * 1e-3, first, second]
}

pub fn cases(family: &mut Family<'_>) {
    family.case("layer norm 2048x256", &[layer_norm()]);
    family.case("layer norm backward 2048x256", &layer_norm_backward());
    family.case("RMS norm 2048x256", &[rms_norm()]);
    family.case("softmax 16384x128", &[leaf("x", [16_384, 128]).softmax()]);
    family.case("softmax backward 16384x128", &[softmax_backward(16_384, 128)]);
    family.case("softmax of few long rows 16x32768", &[leaf("x", [16, 32_768]).softmax()]);
    let targets = Tensor::data("targets", [ROWS], DType::U32);
    family.case("cross entropy 2048x1024", &[leaf("x", [ROWS, 1024]).cross_entropy(&targets)]);

    let wide = leaf("x", [ROWS, 1024]);
    family.case("squared ReLU 2048x1024", &[wide.relu().square()]);
    family.case("gelu 2048x1024", &[gelu(&wide)]);
    family.case("adamw 1024x256", &adamw([1024, 256]));

    family.case("sum over rows 2048x256", &[leaf("x", [ROWS, WIDTH]).sum_axis(0)]);
    family.case("sum over rows 2048x1024", &[wide.sum_axis(0)]);
    family.case("sum of all 2048x1024", &[wide.sum()]);
    family.case("largest of each row 2048x1024", &[wide.max_axis(1)]);
}
