//! Batched matrix products: those of a model's layers with their gradients, square, tall and narrow, many small ones.

use primer_tensor::Tensor;

use crate::{Family, leaf};

/// `batch` products `[m, k]·[k, n]`, operands stored transposed where asked for.
struct Product {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
}

impl Product {
    const fn new(batch: usize, m: usize, n: usize, k: usize) -> Self {
        Self { batch, m, n, k, transpose_a: false, transpose_b: false }
    }

    const fn a_transposed(self) -> Self {
        Self { transpose_a: true, ..self }
    }

    const fn b_transposed(self) -> Self {
        Self { transpose_b: true, ..self }
    }

    fn operands(&self) -> [Tensor; 2] {
        let shape =
            |rows, cols, transposed| if transposed { [self.batch, cols, rows] } else { [self.batch, rows, cols] };
        [leaf("a", shape(self.m, self.k, self.transpose_a)), leaf("b", shape(self.k, self.n, self.transpose_b))]
    }

    /// Times the product of `a` and `b`, which are of the operands' shapes.
    fn time(&self, family: &mut Family<'_>, a: &Tensor, b: &Tensor) {
        let Self { batch, m, n, k, transpose_a, transpose_b } = *self;
        let mark = |transposed, mark| if transposed { mark } else { "" };
        let name = format!("{batch}x{m}x{n}x{k}{}{}", mark(transpose_a, " aT"), mark(transpose_b, " bT"));
        family.product(&name, &[a.matmul_t(transpose_a, b, transpose_b)], 2 * batch * m * n * k);
    }
}

const PRODUCTS: [Product; 14] = [
    // A square one: the roof that `primer bench` measures.
    Product::new(1, 1024, 1024, 1024),
    // The feed-forward layer, its gradients in x and in the weights.
    Product::new(1, 2048, 1024, 256),
    Product::new(1, 2048, 256, 1024),
    Product::new(1, 2048, 1024, 256).b_transposed(),
    Product::new(1, 2048, 256, 1024).b_transposed(),
    Product::new(1, 256, 1024, 2048).a_transposed(),
    Product::new(1, 1024, 256, 2048).a_transposed(),
    // Attention: scores, weighted values, a gradient.
    Product::new(128, 128, 128, 32).b_transposed(),
    Product::new(128, 128, 32, 128),
    Product::new(128, 128, 32, 128).a_transposed(),
    // Tall and narrow, and its gradient in the narrow matrix.
    Product::new(1, 16_384, 16, 64),
    Product::new(1, 64, 16, 16_384).a_transposed(),
    // Many small ones, and a row times a matrix, as sampling has it.
    Product::new(1024, 16, 16, 16),
    Product::new(1, 1, 1024, 256),
];

pub fn cases(family: &mut Family<'_>) {
    for product in PRODUCTS {
        let [a, b] = product.operands();
        product.time(family, &a, &b);
    }
    let (x, weights, bias) = (leaf("x", [2048, 256]), leaf("w", [256, 1024]), leaf("bias", [1024]));
    let activated = (x.matmul(&weights) + bias).relu().square();
    family.product("1x2048x1024x256, bias and squared ReLU", &[activated], 2 * 2048 * 1024 * 256);
}

/// Products of what another kernel has stored, as activations are, in the precision of the device.
pub fn stored(family: &mut Family<'_>) {
    for product in &PRODUCTS[..7] {
        let [a, b] = product.operands();
        product.time(family, &-a, &-b);
    }
}
