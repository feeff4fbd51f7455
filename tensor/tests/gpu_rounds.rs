//! Loops of more rounds than the software adapter lets an invocation run: in full, or refused.

use primer_tensor::gpu::{GpuOptions, Variants};
use primer_tensor::{DType, Device, Error, Graph, InputKind, Op, Tensor};

use crate::gpu_support::{Case, Values, noise, open};

fn data(name: &str, shape: &[usize]) -> Tensor {
    Tensor::data(name, shape, DType::F32)
}

/// Without subgroups and with them.
fn check(case: &Case) {
    case.check_on(&[GpuOptions::default(), GpuOptions { default_limits: true, ..GpuOptions::default() }].map(open));
}

/// 1, 2 or 3, so that long sums are exact in whatever order.
fn whole(count: usize) -> Values {
    Values::F32(noise(3, count).iter().map(|x| (1.4 * x).round() + 2.0).collect())
}

fn product(m: usize, k: usize, n: usize) -> Case {
    let (a, b) = (data("a", &[m, k]), data("b", &[k, n]));
    Case::new([a.matmul(&b)]).with(&a, whole(m * k)).with(&b, whole(k * n))
}

#[test]
fn a_norm_of_wide_rows_with_gradients_of_its_parameters() {
    check(&layer_norm(64, 2048));
}

#[test]
fn products_of_long_inner_dimensions() {
    for k in [70_000, 300_000] {
        check(&product(3, k, 5));
    }
}

#[test]
fn many_long_rows() {
    let x = data("x", &[20, 70_000]);
    check(&Case::new([x.sum_axis(1), x.softmax()]).with(&x, whole(20 * 70_000)));
}

#[test]
fn long_sums_along_a_sequence() {
    let x = data("x", &[2, 70_000, 3]);
    check(&Case::new([x.cumsum(1)]).with(&x, whole(6 * 70_000)));
}

/// Sums of `count` updates of width 3 by index.
fn scattered(count: usize) -> Case {
    let mut graph = Graph::default();
    let index = graph.input("index", InputKind::Data, [count], DType::U32).expect("fits");
    let updates = graph.input("updates", InputKind::Data, [count, 3], DType::F32).expect("fits");
    let sums = graph.push(Op::ScatterAdd { rows: 2 }, &[index, updates]).expect("fits");
    let leaves = [Tensor::data("index", [count], DType::U32), data("updates", &[count, 3])];
    let named = leaves.iter().map(|t| (t.name().expect("a leaf").to_owned(), t.clone())).collect();
    let raised = Tensor::raise(&graph, &named);
    let indices = (0..count as u32).map(|i| u32::from(i % 1000 == 7)).collect();
    let case = Case::new([raised[sums.index()].clone()]).with(&leaves[0], Values::U32(indices));
    case.with(&leaves[1], whole(3 * count))
}

#[test]
fn many_updates_of_few_rows() {
    check(&scattered(70_000));
}

fn layer_norm(rows: usize, width: usize) -> Case {
    let (x, gain) = (data("x", &[rows, width]), data("gain", &[width]));
    let centred = &x - &x.mean_axis(1);
    let normed = &centred / &(centred.square().mean_axis(1) + 1e-6).sqrt();
    Case::new([&normed * &gain, normed.sum_axis(0), (&normed * &x).sum_axis(0)])
}

/// Taps, or their gradient, of a causal depthwise convolution.
fn convolution(op: Op, n: usize, channels: usize, width: usize) -> Case {
    let second = if op == Op::DepthwiseConv { [1, width, channels] } else { [1, n, channels] };
    let second = if op == Op::DepthwiseConv { &second[1..] } else { &second[..] };
    let mut graph = Graph::default();
    let x = graph.input("x", InputKind::Data, [1, n, channels], DType::F32).expect("fits");
    let y = graph.input("y", InputKind::Data, second, DType::F32).expect("fits");
    let out = graph.push(op, &[x, y]).expect("fits");
    let leaves = [("x".to_owned(), data("x", &[1, n, channels])), ("y".to_owned(), data("y", second))];
    let raised = Tensor::raise(&graph, &leaves.into_iter().collect());
    Case::new([raised[out.index()].clone()])
}

/// Every kernel with loops, on devices that let an invocation run through few rounds: more launches, and the same
/// results.
#[test]
fn launches_are_cut_where_loops_must_be_short() {
    let with = |rounds, options: GpuOptions| open(GpuOptions { max_loop_rounds: Some(rounds), ..options });
    let shared = GpuOptions { variants: Some(Variants::INTEGRATED), ..GpuOptions::default() };
    // A sum of 4,096 parts by subgroups of 8 takes 512 rounds.
    let lanes = with(600, GpuOptions::default());
    let plain = with(600, GpuOptions { default_limits: true, ..GpuOptions::default() });
    let devices = [lanes, plain, with(100, shared)];
    let (w, r) = (Tensor::state("w", [2, 40_000]), Tensor::state("r", [2, 1]));
    let scaled = &w / &(w.square().sum_axis(1).sqrt() + &r);
    let in_place = Case::new([]).update(&w, &scaled).update(&r, &(&r * 0.5 + &w.mean_axis(1)));
    let (x, gain) = (data("x", &[700, 2100]), data("gain", &[700, 1]));
    let (a, b) = (data("a", &[2, 3000]), data("b", &[2, 3000]));
    let cases = [
        layer_norm(70, 100),
        layer_norm(70, 700),
        layer_norm(3, 70_000),
        Case::new([x.softmax(), (&x * &gain).sum_axis(0)]),
        product(9, 3000, 10),
        product(130, 3001, 140),
        Case::new([a.linrec(&b, 1, false, 0.5), a.linrec(&b, 1, true, 0.5)]),
        scattered(3000),
        convolution(Op::DepthwiseConvFilterGrad { width: 3 }, 700, 1400, 3),
        in_place,
    ];
    for case in &cases {
        case.check_on(&devices);
    }
}

#[test]
fn a_loop_that_cannot_be_cut_is_refused_and_named() {
    let device = open(GpuOptions { max_loop_rounds: Some(100), ..GpuOptions::default() });
    convolution(Op::DepthwiseConv, 200, 3, 99).check(&device);
    let program = convolution(Op::DepthwiseConv, 200, 3, 100).program();
    let error = Device::Gpu(device).compile(&program).err().expect("too many rounds");
    assert!(matches!(&error, Error::Limit { needed: 101, granted: 100, .. }), "{error:?}");
    assert!(error.to_string().starts_with("kernel conv needs 101 rounds"), "{error}");
}
