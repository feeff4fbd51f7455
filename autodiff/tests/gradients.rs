//! What `grad` promises beside the rules: shapes, errors, paths, determinism, the tensor handle, the check itself.

use primer_autodiff::check::Options;
use primer_autodiff::{Error, check_gradient, grad, grad_graph, grad_tensors};
use primer_tensor::{BinaryOp, DType, Device, InputKind, Op, Tensor, UnaryOp};

use crate::support::Case;

#[test]
fn a_loss_is_one_float() {
    let mut case = Case::new();
    let x = case.spread([2, 3], 0.0, 1.0);
    match grad_graph(&mut case.graph, x, &[x]) {
        Err(Error::NotScalar { shape }) => assert_eq!(shape.to_vec(), [2, 3]),
        other => panic!("{other:?}"),
    }
    let ids = case.indices("ids", [1], &[0]);
    let loss = case.graph.sum_all(x).unwrap();
    let result = grad_graph(&mut case.graph, ids, &[x]);
    assert!(matches!(result, Err(Error::NotFloat { what: "the loss", dtype: DType::U32 })), "{result:?}");
    let result = grad_graph(&mut case.graph, loss, &[ids]);
    assert!(matches!(result, Err(Error::NotFloat { dtype: DType::U32, .. })), "{result:?}");
    // One element of any rank is a loss.
    let loss = case.graph.reshape(loss, [1, 1, 1]).unwrap();
    let gradients = grad_graph(&mut case.graph, loss, &[x]).unwrap();
    assert_eq!(case.evaluate(&gradients), [[1.0; 6]]);
}

#[test]
fn what_the_loss_does_not_depend_on_gets_zeros() {
    let mut case = Case::new();
    let x = case.spread([2], 0.0, 1.0);
    let loss = case.graph.sum_all(x).unwrap();
    let late = case.spread([3, 2], 0.0, 1.0);
    let early = case.graph.unary(UnaryOp::Exp, x).unwrap();
    let gradients = grad_graph(&mut case.graph, loss, &[late, x, early]).unwrap();
    assert_eq!(case.evaluate(&gradients), [vec![0.0; 6], vec![1.0; 2], vec![0.0; 2]]);
    assert_eq!(case.graph.shape(gradients[0]).to_vec(), [3, 2]);
}

#[test]
fn by_values_on_the_way() {
    // loss = Σ tanh(x)²: by y = tanh(x) it is 2y, by itself 1.
    let mut case = Case::new();
    let x = case.spread([4], -1.0, 1.0);
    let y = case.graph.unary(UnaryOp::Tanh, x).unwrap();
    let square = case.graph.mul(y, y).unwrap();
    let loss = case.graph.sum_all(square).unwrap();
    let gradients = grad_graph(&mut case.graph, loss, &[y, loss]).unwrap();
    let twice = case.graph.mul_scalar(y, 2.0).unwrap();
    let found = case.evaluate(&[gradients[0], twice, gradients[1]]);
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2], [1.0]);
}

#[test]
fn only_paths_are_visited() {
    // With respect to w alone, a product x·w needs no gradient of x.
    let mut case = Case::new();
    let (x, w) = (case.spread([2, 3], 0.0, 1.0), case.spread([3, 4], 0.0, 1.0));
    let table = case.graph.unary(UnaryOp::Exp, x).unwrap();
    let product = case.graph.matmul(table, w).unwrap();
    let loss = case.graph.sum_all(product).unwrap();
    let products = |case: &Case| case.graph.nodes().iter().filter(|n| matches!(n.op, Op::MatMul { .. })).count();
    grad_graph(&mut case.graph, loss, &[w]).unwrap();
    assert_eq!(products(&case), 2, "the product and one gradient");
    grad_graph(&mut case.graph, loss, &[w, x]).unwrap();
    assert_eq!(products(&case), 3);
}

#[test]
fn equal_graphs_give_equal_gradients() {
    let build = || {
        let mut case = Case::new();
        let x = case.spread([2, 3], 0.0, 1.0);
        let a = case.graph.unary(UnaryOp::Exp, x).unwrap();
        let b = case.graph.binary(BinaryOp::Max, a, x).unwrap();
        let c = case.graph.mul(b, a).unwrap();
        let loss = case.graph.sum_all(c).unwrap();
        let gradients = grad_graph(&mut case.graph, loss, &[x]).unwrap();
        (case.graph.to_string(), gradients)
    };
    assert_eq!(build(), build());
}

#[test]
fn tensors_differentiate_twice() {
    let device = Device::reference();
    let x = Tensor::from_slice(&[1f32, 2., -3.], [3]).unwrap();
    let w = Tensor::from_slice(&[0.5f32], [1]).unwrap();
    let loss = (&x * &x * &x * &w).sum();
    let [dx, dw] = grad(&loss, [&x, &w]).unwrap();
    assert_eq!(dx.to_vec(&device).unwrap(), [1.5, 6.0, 13.5]);
    assert_eq!(dw.to_vec(&device).unwrap(), [-18.0]);
    // ∂/∂x of Σ ∂/∂x = 6wx, and mixed: ∂/∂w of it = Σ 3x².
    let [ddx, dxdw] = grad(&dx.sum(), [&x, &w]).unwrap();
    assert_eq!(ddx.to_vec(&device).unwrap(), [3.0, 6.0, -9.0]);
    assert_eq!(dxdw.to_vec(&device).unwrap(), [42.0]);
    // With respect to a value on the way, and to one that isn't there.
    let square = &x * &x;
    let [by_square, unused] = grad(&(&square * &x).sum(), [&square, &w]).unwrap();
    assert_eq!(by_square.to_vec(&device).unwrap(), [1.0, 2.0, -3.0]);
    assert_eq!(unused.to_vec(&device).unwrap(), [0.0]);
}

#[test]
fn named_tensors_stay_the_same_inputs() {
    let w = Tensor::state("w", [2]);
    let x = Tensor::data("x", [2], DType::F32);
    let loss = (&w * &x).square().mean();
    let gradients = grad_tensors(&loss, std::slice::from_ref(&w)).unwrap();
    let step = &w - &(&gradients[0] * 0.5);
    let program = primer_tensor::Program::trace(&[loss], &[(w, step)]).unwrap();
    let names: Vec<&str> = program.graph.inputs().iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["w", "x"]);
    assert_eq!(program.inputs(InputKind::State).count(), 1);
}

#[test]
fn the_check_finds_a_wrong_gradient() {
    // A stopped factor: the derived gradient is x, the true one 2x.
    let mut case = Case::new();
    let x = case.spread([3], 1.0, 2.0);
    let stopped = case.graph.stop_gradient(x).unwrap();
    let y = case.graph.mul(x, stopped).unwrap();
    let report = case.check(y);
    assert_eq!(report.probes.len(), 3);
    assert!(report.probes.iter().all(|probe| (probe.error - 0.5).abs() < 1e-6), "{report:?}");
}

#[test]
fn the_check_discards_what_is_not_smooth() {
    let mut case = Case::new();
    let x = case.input([4], &[-1.0, 0.0, 1e-4, 1.0]);
    let y = case.graph.unary(UnaryOp::Abs, x).unwrap();
    let report = case.check(y);
    assert_eq!((report.probes.len(), report.discarded), (2, 2), "the kink lies within two stencils");
    assert!(report.max_error() < 1e-9);

    let loss = case.graph.sum_all(y).unwrap();
    let result = check_gradient(&case.graph, loss, &[y], &case.inputs, Options::default());
    assert!(matches!(result, Err(Error::Tensor(primer_tensor::Error::Invalid { .. }))), "{result:?}");
    case.inputs.clear();
    let result = check_gradient(&case.graph, loss, &[x], &case.inputs, Options::default());
    assert!(matches!(result, Err(Error::Tensor(primer_tensor::Error::MissingInput { .. }))), "{result:?}");
}
