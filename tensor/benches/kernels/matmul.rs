//! Batched matrix products: those of a model's layers with their gradients, square, tall and narrow, many small ones.

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
    for Product { batch, m, n, k, transpose_a, transpose_b } in PRODUCTS {
        let shape = |rows, cols, transposed| if transposed { [batch, cols, rows] } else { [batch, rows, cols] };
        let a = leaf("a", shape(m, k, transpose_a));
        let b = leaf("b", shape(k, n, transpose_b));
        let mark = |transposed, mark| if transposed { mark } else { "" };
        let name = format!("{batch}x{m}x{n}x{k}{}{}", mark(transpose_a, " aT"), mark(transpose_b, " bT"));
        family.product(&name, &[a.matmul_t(transpose_a, &b, transpose_b)], 2 * batch * m * n * k);
    }
    let (x, weights, bias) = (leaf("x", [2048, 256]), leaf("w", [256, 1024]), leaf("bias", [1024]));
    let activated = (x.matmul(&weights) + bias).relu().square();
    family.product("1x2048x1024x256, bias and squared ReLU", &[activated], 2 * 2048 * 1024 * 256);
}
