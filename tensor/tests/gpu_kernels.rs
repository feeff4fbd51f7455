//! Every kernel family in both sets of variants, against the oracle.

use primer_tensor::gpu::{GpuDevice, GpuOptions, Variants};
use primer_tensor::{BinaryOp, CompareOp, DType, ReduceOp, Tensor, UnaryOp};

use crate::gpu_support::{Case, Values, noise, open};

fn data(name: &str, shape: &[usize]) -> Tensor {
    Tensor::data(name, shape, DType::F32)
}

/// The device as it is, without and with all run-time checks; one that runs the kernels for large GPUs within WebGPU's
/// default limits; one that runs those for small GPUs, with subgroups and all run-time checks.
fn devices() -> [GpuDevice; 4] {
    use std::sync::OnceLock;
    static OPENED: OnceLock<[GpuDevice; 4]> = OnceLock::new();
    let checked = GpuOptions { runtime_checks: true, ..GpuOptions::default() };
    let large = GpuOptions {
        // Few invocations, so that small products and sums take the kernels for large ones.
        variants: Some(Variants { invocations: 1024, ..Variants::DISCRETE }),
        default_limits: true,
        ..GpuOptions::default()
    };
    let small = GpuOptions { variants: Some(Variants::INTEGRATED), ..checked };
    OPENED.get_or_init(|| [GpuOptions::default(), checked, large, small].map(open)).clone()
}

fn check(case: &Case) {
    case.check_on(&devices());
}

const EDGES: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.3,
    -0.7,
    1e-3,
    -2.5,
    9.0,
    15.0,
    -15.0,
    43.9,
    88.5,
    -88.5,
    104.5,
    -104.5,
    1e4,
    -12345.678,
    3.3e7,
    1e38,
    -1e38,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

#[test]
fn unary_functions_at_edge_values() {
    let x = data("x", &[EDGES.len()]);
    let outputs: Vec<Tensor> = UnaryOp::ALL.iter().map(|&op| x.unary(op)).collect();
    let case = Case::new(outputs).with(&x, Values::F32(EDGES.to_vec()));
    for device in devices() {
        let (_, found) = case.run(&device);
        for (op, found) in UnaryOp::ALL.iter().zip(found) {
            for (&x, found) in EDGES.iter().zip(found) {
                let exact = primer_tensor::reference::unary(*op, f64::from(x));
                let expected = exact as f32;
                let tolerance = match op {
                    UnaryOp::Sin | UnaryOp::Cos => 2.4e-7,
                    _ => 5.0 * f32::EPSILON * expected.abs() + f32::MIN_POSITIVE,
                };
                let same = if expected.is_nan() {
                    found.is_nan()
                } else {
                    found == expected || (found - expected).abs() <= tolerance
                };
                assert!(same, "{op:?}({x:e}) = {found:e} ({:08x}), expected {expected:e}", found.to_bits());
            }
        }
    }
}

#[test]
fn unary_functions_over_their_range() {
    let points: Vec<f32> = (0..4000).map(|i| (i as f32 - 2000.0) * 0.01 * (1.0 + (i % 7) as f32)).collect();
    let x = data("x", &[points.len()]);
    let outputs: Vec<Tensor> = UnaryOp::ALL.iter().map(|&op| x.unary(op)).collect();
    let (_, found) = Case::new(outputs).with(&x, Values::F32(points.clone())).run(&devices()[0]);
    for (op, found) in UnaryOp::ALL.iter().zip(found) {
        for (&x, found) in points.iter().zip(found) {
            let expected = primer_tensor::reference::unary(*op, f64::from(x)) as f32;
            let tolerance = match op {
                UnaryOp::Sin | UnaryOp::Cos => 2.4e-7,
                _ => 5.0 * f32::EPSILON * expected.abs() + f32::MIN_POSITIVE,
            };
            let same =
                expected.is_nan() && found.is_nan() || found == expected || (found - expected).abs() <= tolerance;
            assert!(same, "{op:?}({x:e}) = {found:e}, expected {expected:e}");
        }
    }
}

#[test]
fn binary_functions_at_edge_values() {
    let n = EDGES.len();
    let (a, b) = (data("a", &[n, n]), data("b", &[n, n]));
    // What a GPU does with NaN in max and min is its own affair.
    let ops = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div];
    let mut outputs: Vec<Tensor> = ops.iter().map(|&op| a.binary(op, &b)).collect();
    let (one, zero) = (Tensor::constant(1.0), Tensor::constant(0.0));
    for op in [CompareOp::Less, CompareOp::Equal] {
        outputs.push(a.compare(op, &b).select(&one, &zero));
    }
    outputs.push(a.is_finite().select(&b, &one));
    let left: Vec<f32> = EDGES.iter().flat_map(|&x| vec![x; n]).collect();
    let right: Vec<f32> = EDGES.iter().cycle().take(n * n).copied().collect();
    check(&Case::new(outputs).with(&a, Values::F32(left)).with(&b, Values::F32(right)));
    let (a, b) = (data("a", &[400]), data("b", &[400]));
    check(&Case::new([a.maximum(&b), a.minimum(&b)]));
}

#[test]
fn row_programs_with_reductions() {
    // Softmax, a norm with parameters' gradients, every reduction; lengths around the workgroup, few rows and many.
    for (rows, length) in [(1, 1), (3, 7), (70, 40), (5, 300), (2, 1025), (33, 64)] {
        let (x, gain) = (data("x", &[rows, length]), data("gain", &[length]));
        let mut outputs = vec![x.softmax(), x.logsumexp()];
        for op in ReduceOp::ALL {
            outputs.push(x.reduce(op, 1));
        }
        check(&Case::new(outputs));
        let centred = &x - &x.mean_axis(1);
        let scaled = &centred / &(centred.square().mean_axis(1) + 1e-6).sqrt();
        let normed = &scaled * &gain;
        check(&Case::new([normed, scaled.sum_axis(0), (&scaled * &x).sum_axis(0)]));
    }
}

#[test]
fn rows_of_every_length() {
    // Around a workgroup, and far past it; one row and several. Each output's passes end in other reductions.
    for (rows, length) in [(1, 1), (1, 255), (2, 256), (1, 257), (1, 70_000), (3, 70_000)] {
        let (x, gain) = (data("x", &[rows, length]), data("gain", &[length]));
        let centred = &x - &x.mean_axis(1);
        let normed = &centred / &(centred.square().mean_axis(1) + 1e-6).sqrt();
        let outputs = [
            x.sum_axis(1),
            x.reduce(ReduceOp::Max, 1),
            x.softmax(),
            (&normed * &gain).exp(),
            (&normed * &x).sum_axis(0),
            normed.sum_axis(0),
        ];
        // Positive, since a sum that cancels has no accuracy to speak of.
        let positive = noise(3, rows * length).iter().map(|x| x + 1.5).collect();
        check(&Case::new(outputs).with(&x, Values::F32(positive)));
    }
}

#[test]
fn a_long_state_is_normalised_in_place() {
    let (w, r) = (Tensor::state("w", [2, 40_000]), Tensor::state("r", [2, 1]));
    let scaled = &w / &(w.square().sum_axis(1).sqrt() + &r);
    check(&Case::new([]).update(&w, &scaled).update(&r, &(&r * 0.5 + &w.mean_axis(1))));
}

#[test]
fn a_scalar_sum_of_millions_of_elements() {
    let x = data("x", &[1 << 22]);
    let positive: Vec<f32> = noise(4, 1 << 22).iter().map(|x| x + 1.5).collect();
    let case = Case::new([x.sum()]).with(&x, Values::F32(positive));
    for device in devices() {
        let executable = case.check(&device);
        // The parts, and their sum.
        assert_eq!(executable.report().map(|report| report.launches), Some(2), "{}", device.variants());
    }
}

#[test]
fn column_sums_without_reductions() {
    for (rows, length) in [(1, 5), (100, 3), (257, 130), (4000, 2), (100_000, 1)] {
        let (x, y) = (data("x", &[rows, length]), data("y", &[rows, 1]));
        let z = &x * &y;
        check(&Case::new([z.sum_axis(0), z.square().sum_axis(0), z.exp()]));
    }
}

#[test]
fn all_elements_to_one() {
    let x = data("x", &[3, 50, 41]);
    check(&Case::new([x.square().sum(), x.mean(), (&x - &x.mean()).square().mean()]));
}

#[test]
fn views_on_every_side() {
    let x = data("x", &[2, 3, 4, 5]);
    let y = data("y", &[1, 3, 1, 5]);
    let turned = x.permute(&[3, 1, 0, 2]);
    check(&Case::new([
        &turned + 1.0,
        turned.reshape([15, 8]).exp(),
        (&x.slice(2, 1, 3) * 2.0).reverse(3),
        x.reverse(0).reverse(3).sum_axis(3),
        &x + &y,
        x.pad(1, 1, 2),
        Tensor::concat(&[x.clone(), x.slice(2, 0, 1), x.reverse(2)], 2),
        turned.softmax(),
        x.permute(&[0, 2, 1, 3]).reshape([8, 15]).sum_axis(0),
        x.reshape([120]).slice(0, 7, 64),
    ]));
    let deep = data("deep", &[2, 1, 3, 2, 2, 3]);
    check(&Case::new([deep.permute(&[5, 3, 0, 1, 4, 2]).square().sum_axis(2)]));
}

#[test]
fn counters_and_masks() {
    let x = data("x", &[2, 6, 6]);
    let queries = Tensor::iota(x.shape(), 1, DType::U32);
    let keys = Tensor::iota(x.shape(), 2, DType::U32);
    let masked = queries.compare(CompareOp::Less, &keys).select(&Tensor::constant(f64::NEG_INFINITY), &x);
    check(&Case::new([masked.softmax(), Tensor::iota([4, 5], 0, DType::F32) + 0.5, keys.to_f32() * 2.0]));
}

#[test]
fn matrix_products() {
    for (m, k, n) in [(1, 1, 1), (3, 5, 7), (64, 64, 64), (65, 17, 33), (130, 40, 9), (8, 100, 200), (40, 1, 70)] {
        let (a, b) = (data("a", &[m, k]), data("b", &[k, n]));
        let (at, bt) = (data("at", &[k, m]), data("bt", &[n, k]));
        check(&Case::new([a.matmul(&b), at.matmul_t(true, &bt, true), a.matmul_t(false, &bt, true)]));
    }
    // Large tiles, with operands dense along either dimension or none, in whole vectors and not.
    for (m, k, n) in [(128, 64, 128), (132, 20, 256), (129, 7, 131), (256, 1, 132)] {
        let (a, b) = (data("a", &[2, m, k]), data("b", &[2, k, n]));
        let (at, bt) = (data("at", &[2, k, m]), data("bt", &[2, n, k]));
        let sparse = data("sparse", &[2, m, k, 2]).slice(3, 1, 2).reshape([2, m, k]);
        let same = data("same", &[2, m, k]);
        check(&Case::new([
            a.matmul(&b),
            at.matmul_t(true, &bt, true),
            a.matmul_t(false, &bt, true),
            at.matmul_t(true, &b, false),
            sparse.matmul(&b),
            same.matmul_t(false, &same, true),
            same.slice(1, 1, m).matmul_t(false, &same, true),
        ]));
    }
    // Without subgroups.
    let plain = open(GpuOptions { default_limits: true, variants: Some(Variants::SOFTWARE), ..GpuOptions::default() });
    Case::new([data("row", &[2, 1025]).softmax(), data("row", &[2, 1025]).sum_axis(0)]).check(&plain);
    for (m, k, n) in [(17, 9, 20), (3, 5, 2)] {
        Case::new([data("a", &[2, m, k]).matmul_t(false, &data("b", &[2, n, k]), true)]).check(&plain);
    }
    // Attention's: heads cut out of one matrix and put back.
    let (q, k) = (data("q", &[2, 9, 3 * 4]), data("k", &[2, 9, 3 * 4]));
    let heads = |x: &Tensor| x.reshape([2, 9, 3, 4]).permute(&[0, 2, 1, 3]);
    let weights = heads(&q).matmul_t(false, &heads(&k), true);
    let mixed = weights.softmax().matmul(&heads(&k)).permute(&[0, 2, 1, 3]).reshape([2, 9, 12]);
    check(&Case::new([weights, mixed]));
}

/// A gradient of weights has few elements, each of them a long sum.
#[test]
fn long_sums_of_few_elements_are_taken_in_parts() {
    let gpu = open(GpuOptions { variants: Some(Variants::DISCRETE), ..GpuOptions::default() });
    // Sums of small whole numbers are exact in whatever order.
    let whole = |count: usize| Values::F32(noise(3, count).iter().map(|x| (4.0 * x).round()).collect());
    // An odd length is not cut, nor a short one.
    for (m, k, n, launches) in [(64, 1024, 48, 2), (5, 2048, 3, 2), (70, 1032, 9, 2), (9, 1001, 9, 1), (3, 500, 3, 1)] {
        let (a, b) = (data("a", &[m, k]), data("b", &[k, n]));
        let case = Case::new([a.matmul(&b)]).with(&a, whole(m * k)).with(&b, whole(k * n));
        let executable = case.check(&gpu);
        assert_eq!(executable.report().expect("planned").launches, launches, "{m} × {k} × {n}");
        let (at, bt) = (data("at", &[2, k, m]), data("bt", &[2, n, k]));
        let case = Case::new([at.matmul_t(true, &bt, true), at.reverse(1).matmul_t(true, &bt, true)]);
        case.with(&at, whole(2 * k * m)).with(&bt, whole(2 * n * k)).check(&gpu);
    }
    let (x, g) = (data("x", &[2048, 32]), data("g", &[2048, 16]));
    let w = Tensor::state("w", [32, 16]);
    let case = Case::new([]).update(&w, &(&w - x.matmul_t(true, &g, false) * 0.5));
    case.with(&x, whole(2048 * 32)).with(&g, whole(2048 * 16)).with(&w, whole(32 * 16)).check(&gpu);
}

#[test]
fn what_follows_a_product_is_done_in_its_kernel() {
    // Sizes that fill tiles, vectors and neither; two products of a batch.
    // A single row, as in decoding, and few columns, both too few for a tile, but rows of whole vectors.
    for (batch, m, n, k) in [(1, 3, 5, 7), (2, 70, 65, 9), (2, 130, 132, 40), (1, 1, 256, 64), (1, 100, 4, 8)] {
        let (a, b) = (data("a", &[batch, m, k]), data("b", &[batch, k, n]));
        let (bias, scale, residual) = (data("bias", &[n]), data("scale", &[batch, m, 1]), data("r", &[batch, m, n]));
        let product = a.matmul(&b) * 0.25;
        // Stored as it is, with a row value, in two parts of one tensor, transposed.
        let activated = (&product + &bias).relu().square() * &scale + &residual;
        check(&Case::new([activated.clone(), product.tanh()]));
        check(&Case::new([(&product * &scale).permute(&[0, 2, 1]).exp(), &scale + 1.0]));
        let merged = Tensor::concat(&[activated.clone(), residual.clone()], 1);
        check(&Case::new([merged]));
        let (w, g) = (Tensor::state("w", [batch, m, n]), data("g", &[batch, k, n]));
        check(&Case::new([]).update(&w, &(&w - a.matmul(&g) * 0.1)));
        for device in devices() {
            let (executable, _) = Case::new([activated.clone()]).run(&device);
            let launches = if device.variants().matmul.is_tiled() { 1 } else { 2 };
            assert_eq!(executable.report().map(|report| report.launches), Some(launches), "{}", device.variants());
        }
    }
    // The operands themselves once more, in vectors and not.
    for side in [64, 62, 6] {
        let (x, w) = (data("x", &[side, side]), data("w", &[side, side]));
        let product = x.matmul(&w);
        check(&Case::new([&product + &x]));
        check(&Case::new([product.sigmoid() * &w]));
        check(&Case::new([x.matmul(&x).sigmoid() * &x]));
        check(&Case::new([(w.matmul_t(true, &x, false) + &w * 0.5).tanh()]));
    }
}

#[test]
fn depthwise_convolution_and_its_adjoints() {
    use primer_tensor::{Graph, InputKind, Op, Program};
    for (batch, n, c, width) in [(2, 9, 5, 3), (1, 1, 1, 1), (3, 40, 33, 4), (1, 2, 3, 5)] {
        let mut graph = Graph::default();
        let x = graph.input("x", InputKind::Data, [batch, n, c], DType::F32).unwrap();
        let dy = graph.input("dy", InputKind::Data, [batch, n, c], DType::F32).unwrap();
        let w = graph.input("w", InputKind::Data, [width, c], DType::F32).unwrap();
        let y = graph.push(Op::DepthwiseConv, &[x, w]).unwrap();
        let dx = graph.push(Op::DepthwiseConvInputGrad, &[dy, w]).unwrap();
        let dw = graph.push(Op::DepthwiseConvFilterGrad { width }, &[x, dy]).unwrap();
        let program = Program::new(graph, vec![y, dx, dw], vec![]).unwrap();
        let leaves = [("x", [batch, n, c].to_vec()), ("dy", vec![batch, n, c]), ("w", vec![width, c])];
        let leaves = leaves.into_iter().map(|(name, shape)| (name.to_owned(), data(name, &shape))).collect();
        let raised = Tensor::raise(&program.graph, &leaves);
        check(&Case::new([y, dx, dw].map(|id| raised[id.index()].clone())));
    }
}

#[test]
fn gathers_and_scatters_clamp_and_repeat() {
    use primer_tensor::{Graph, InputKind, Op};
    let mut graph = Graph::default();
    let table = graph.input("table", InputKind::State, [6, 10], DType::F32).unwrap();
    let index = graph.input("index", InputKind::Data, [3, 5], DType::U32).unwrap();
    let updates = graph.input("updates", InputKind::Data, [3, 5, 10], DType::F32).unwrap();
    let rows = graph.push(Op::Gather, &[table, index]).unwrap();
    let sums = graph.push(Op::ScatterAdd { rows: 6 }, &[index, updates]).unwrap();
    let leaves = [
        Tensor::state("table", [6, 10]),
        Tensor::data("index", [3, 5], DType::U32),
        Tensor::data("updates", [3, 5, 10], DType::F32),
    ];
    let named = leaves.iter().map(|t| (t.name().unwrap().to_owned(), t.clone())).collect();
    let raised = Tensor::raise(&graph, &named);
    let indices = vec![0, 5, 5, 2, 0, 0, 1, 3, 4_000_000_000, 2, 6, 5, 0, 0, 1];
    let case = Case::new([raised[rows.index()].clone(), raised[sums.index()].clone()]);
    check(&case.with(&leaves[1], Values::U32(indices)));
}

#[test]
fn linear_recurrences() {
    let (a, b) = (data("a", &[2, 30, 3]), data("b", &[2, 30, 3]));
    let outputs = [
        a.linrec(&b, 1, false, 0.0),
        a.linrec(&b, 1, true, 0.5),
        a.linrec(&b, 2, false, 1.0),
        a.permute(&[1, 0, 2]).linrec(&b.permute(&[1, 0, 2]), 0, true, 0.0),
    ];
    check(&Case::new(outputs));
}

#[test]
fn state_is_updated_in_place() {
    let (w, m) = (Tensor::state("w", [40, 30]), Tensor::state("m", [40, 30]));
    let count = Tensor::state("count", []);
    let g = data("g", &[40, 30]);
    let moment = &m * 0.9 + &g * 0.1;
    let norm = g.square().sum().sqrt();
    let new = &w - &moment / &(&norm + 1.0);
    check(&Case::new([norm]).update(&w, &new).update(&m, &moment).update(&count, &(&count + 1.0)));
    // Two states that change places, and one that is normalised by its own rows.
    let (u, v) = (Tensor::state("u", [8, 70]), Tensor::state("v", [8, 70]));
    check(&Case::new([]).update(&u, &v).update(&v, &u));
    check(&Case::new([]).update(&u, &u.softmax()));
    let r = Tensor::state("r", [300, 1]);
    check(&Case::new([&data("x", &[300, 5]) * &r]).update(&r, &(&r * 0.5)));
}

#[test]
fn dimensions_of_length_zero() {
    let x = data("x", &[0, 4]);
    let y = data("y", &[4, 0]);
    let (a, b) = (data("a", &[3, 0]), data("b", &[0, 5]));
    let mut outputs = vec![x.exp(), x.sum_axis(0), y.exp(), a.matmul(&b), x.matmul(&data("c", &[4, 2]))];
    for op in ReduceOp::ALL {
        outputs.push(y.reduce(op, 1));
    }
    outputs.push(Tensor::concat(&[x, data("z", &[2, 4])], 0));
    check(&Case::new(outputs));
}

#[test]
fn constants_that_literals_cannot_say() {
    let x = data("x", &[5]);
    let values = [f64::from(f32::MAX), f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 1e-38, 0.1, 16_777_216.0];
    check(&Case::new(values.map(|v| &x + &Tensor::constant(v))));
}

#[test]
fn runs_are_bit_identical() {
    let (x, w) = (data("x", &[96, 40]), data("w", &[40, 50]));
    let y = x.matmul(&w).softmax();
    let case = Case::new([y.sum_axis(0), y.square().sum(), y.clone()]).with(&x, Values::F32(noise(9, 96 * 40)));
    for device in devices() {
        let bits = || -> Vec<u32> { case.run(&device).1.concat().iter().map(|x| x.to_bits()).collect() };
        let first = bits();
        assert_eq!(first, bits());
        assert_eq!(first, bits());
    }
}
