//! Gradients where a derivative doesn't exist or could go wrong: ties, singular points, zeros, extremes.

use primer_tensor::{BinaryOp, CompareOp, Graph, NodeId, ReduceOp, Result, UnaryOp};

use crate::support::Case;

/// The gradients of Σ f(x) for one input of those values, first or second order.
fn gradient(values: &[f64], order: usize, f: impl Fn(&mut Graph, NodeId) -> Result<NodeId>) -> Vec<f64> {
    let mut case = Case::new();
    let x = case.input([values.len()], values);
    let mut y = f(&mut case.graph, x).unwrap();
    for _ in 1..order {
        let loss = case.graph.sum_all(y).unwrap();
        y = primer_autodiff::grad_graph(&mut case.graph, loss, &[x]).unwrap()[0];
    }
    case.gradients(y).remove(0)
}

#[test]
fn singular_points_have_no_slope() {
    for op in [UnaryOp::Abs, UnaryOp::Sign, UnaryOp::Sqrt, UnaryOp::Log, UnaryOp::Recip] {
        for order in 1..=3 {
            let found = gradient(&[0.0, -0.0], order, |graph, x| graph.unary(op, x));
            assert_eq!(found, [0.0, 0.0], "{} at 0, order {order}", op.name());
        }
    }
    // Also where the cotangent is infinite: 1/√x, written as a division.
    let found = gradient(&[0.0, 4.0], 1, |graph, x| {
        let root = graph.unary(UnaryOp::Sqrt, x)?;
        let one = graph.constant(1.0);
        graph.div(one, root)
    });
    assert_eq!(found, [0.0, -0.0625]);
    // And where the other side of a selection is infinite or not a number.
    let found = gradient(&[-1.0, 0.0, 1.0], 1, |graph, x| {
        let zero = graph.constant(0.0);
        let positive = graph.compare(CompareOp::Less, zero, x)?;
        let log = graph.unary(UnaryOp::Log, x)?;
        graph.select(positive, log, zero)
    });
    assert_eq!(found, [0.0, 0.0, 1.0]);
}

#[test]
fn ties_of_two_operands_go_to_the_second() {
    let values = [-1.0, 0.0, 1.0];
    let against_zero = |op, zero_first: bool| {
        gradient(&values, 1, move |graph, x| {
            let zero = graph.constant(0.0);
            if zero_first { graph.binary(op, zero, x) } else { graph.binary(op, x, zero) }
        })
    };
    assert_eq!(against_zero(BinaryOp::Max, false), [0.0, 0.0, 1.0], "ReLU");
    assert_eq!(against_zero(BinaryOp::Max, true), [0.0, 1.0, 1.0]);
    assert_eq!(against_zero(BinaryOp::Min, false), [1.0, 0.0, 0.0]);
    assert_eq!(against_zero(BinaryOp::Min, true), [1.0, 1.0, 0.0]);
    // Nothing is lost or counted twice.
    assert_eq!(gradient(&values, 1, |graph, x| graph.binary(BinaryOp::Max, x, x)), [1.0; 3]);
}

#[test]
fn ties_of_a_reduction_share() {
    let values = [2.0, 5.0, 5.0, -1.0, 5.0, -1.0];
    let third = 1.0 / 3.0;
    let found = gradient(&values, 1, |graph, x| graph.reduce(ReduceOp::Max, x, 0));
    assert_eq!(found, [0.0, third, third, 0.0, third, 0.0]);
    let found = gradient(&values, 1, |graph, x| graph.reduce(ReduceOp::Min, x, 0));
    assert_eq!(found, [0.0, 0.0, 0.0, 0.5, 0.0, 0.5]);
}

#[test]
fn products_are_exact_at_zeros() {
    let product = |graph: &mut Graph, x: NodeId| graph.reduce(ReduceOp::Prod, x, 0);
    assert_eq!(gradient(&[2.0, 3.0, 4.0], 1, product), [12.0, 8.0, 6.0]);
    assert_eq!(gradient(&[2.0, 0.0, 4.0], 1, product), [0.0, 8.0, 0.0]);
    assert_eq!(gradient(&[0.0, 3.0, 0.0], 1, product), [0.0, 0.0, 0.0]);
    // Σᵢⱼ ∂²p/∂xᵢ∂xⱼ of xyz: each row sums the other two.
    assert_eq!(gradient(&[2.0, 0.0, 4.0], 2, product), [4.0, 6.0, 2.0]);
    assert_eq!(gradient(&[0.0, 3.0, 0.0], 2, product), [3.0, 0.0, 3.0]);
}

#[test]
fn cumulative_products_are_exact_at_zeros() {
    let cumulative = |reverse: bool| {
        move |graph: &mut Graph, x: NodeId| {
            let zero = graph.full(0.0, graph.shape(x).clone())?;
            graph.linrec(x, zero, 0, reverse, 1.0)
        }
    };
    // a, ab, abc, abcd: ∂a = 1 + b + bc + bcd, and so on.
    assert_eq!(gradient(&[2.0, 0.0, 3.0, 5.0], 1, cumulative(false)), [1.0, 38.0, 0.0, 0.0]);
    assert_eq!(gradient(&[5.0, 3.0, 0.0, 2.0], 1, cumulative(true)), [0.0, 0.0, 38.0, 1.0]);
    assert_eq!(gradient(&[0.0, 0.0, 0.0, 0.0], 1, cumulative(false)), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn extremes_stay_finite() {
    let values = [-1e300, -1e4, -88.0, -1e-300, 1e-300, 88.0, 1e4, 1e300];
    for op in [UnaryOp::Tanh, UnaryOp::Sigmoid, UnaryOp::Sin, UnaryOp::Cos, UnaryOp::Abs] {
        for order in 1..=2 {
            let found = gradient(&values, order, |graph, x| graph.unary(op, x));
            assert!(found.iter().all(|g| g.is_finite()), "{}, order {order}: {found:?}", op.name());
        }
    }
    // −1/x² underflows to 0 at 1e300, though x² alone would overflow.
    let found = gradient(&[1e300], 1, |graph, x| graph.unary(UnaryOp::Recip, x));
    assert_eq!(found, [0.0]);
    // The logarithm of a sum of exponentials, its maximum subtracted.
    let found = gradient(&[1e4, 0.0, -1e4], 1, |graph, x| {
        let max = graph.reduce(ReduceOp::Max, x, 0)?;
        let max = graph.stop_gradient(max)?;
        let shifted = graph.sub(x, max)?;
        let e = graph.unary(UnaryOp::Exp, shifted)?;
        let total = graph.reduce(ReduceOp::Sum, e, 0)?;
        graph.unary(UnaryOp::Log, total)
    });
    assert_eq!(found, [1.0, 0.0, 0.0]);
}

#[test]
fn not_a_number_reaches_no_neighbour() {
    let found = gradient(&[1.0, f64::NAN], 1, |graph, x| graph.mul(x, x));
    assert_eq!(found[0], 2.0);
    assert!(found[1].is_nan());
    let found = gradient(&[1.0, f64::NAN], 1, |graph, x| graph.reduce(ReduceOp::Max, x, 0));
    assert_eq!(found, [0.0, 0.0], "no element equals a maximum that is no number");
}
