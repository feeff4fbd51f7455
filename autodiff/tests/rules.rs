//! Each primitive's rule, and the rule's own rule, against central differences.

use primer_tensor::{BinaryOp, CompareOp, DType, Graph, NodeId, Op, ReduceOp, Result, Shape, UnaryOp};

use crate::support::Case;

/// Checks first and second order; `build` gets the inputs that `make` created.
fn check(name: &str, make: impl Fn(&mut Case), build: impl Fn(&mut Graph, &[NodeId]) -> Result<NodeId>) {
    for order in 1..=2 {
        let mut case = Case::new();
        make(&mut case);
        let x = case.x.clone();
        let mut y = build(&mut case.graph, &x).unwrap_or_else(|e| panic!("{name}: {e}"));
        if order == 2 {
            y = case.gradient_as_value(y);
        }
        let report = case.check(y);
        assert!(report.max_error() < 1e-6, "{name}, order {order}: {:?}", report.worst());
        assert_eq!(report.discarded, 0, "{name}, order {order}: every probe of this table is smooth");
        assert_eq!(report.probes.len(), case.x.iter().map(|&x| case.graph.shape(x).numel()).sum::<usize>());
        case.graph.verify().unwrap();
    }
}

#[test]
fn unary_functions() {
    for op in UnaryOp::ALL {
        let ranges: &[(f64, f64)] = match op {
            UnaryOp::Sqrt | UnaryOp::Log => &[(0.2, 3.0)],
            UnaryOp::Recip | UnaryOp::Abs | UnaryOp::Sign => &[(0.2, 3.0), (-3.0, -0.2)],
            _ => &[(-3.0, 3.0)],
        };
        for &(low, high) in ranges {
            check(op.name(), |case| _ = case.spread([2, 3], low, high), |graph, x| graph.unary(op, x[0]));
        }
    }
}

#[test]
fn binary_functions() {
    for op in BinaryOp::ALL {
        let make = |case: &mut Case| {
            case.spread([2, 3], -2.0, 2.0);
            case.spread([2, 3], 0.5, 2.0);
        };
        check(op.name(), make, |graph, x| graph.binary(op, x[0], x[1]));
        // One operand broadcast, one used twice.
        let make = |case: &mut Case| {
            case.spread([2, 1, 3], -2.0, 2.0);
            case.spread([4, 1], 0.5, 2.0);
        };
        check(op.name(), make, |graph, x| {
            let y = graph.binary(op, x[0], x[1])?;
            graph.mul(y, x[0])
        });
    }
}

#[test]
fn select_and_what_has_no_gradient() {
    let make = |case: &mut Case| {
        case.spread([3, 4], -1.0, 1.0);
        case.spread([3, 4], -1.0, 1.0);
    };
    check("select", make, |graph, x| {
        let cond = graph.compare(CompareOp::Less, x[0], x[1])?;
        let a = graph.mul(x[0], x[1])?;
        let b = graph.unary(UnaryOp::Exp, x[1])?;
        graph.select(cond, a, b)
    });

    check("barrier", make, |graph, x| {
        let late = graph.barrier(x[0], x[1])?;
        graph.mul(late, late)
    });

    let mut case = Case::new();
    let x = case.spread([4], 1.0, 2.0);
    let rounded = case.graph.cast(x, DType::U32).unwrap();
    let rounded = case.graph.cast(rounded, DType::F32).unwrap();
    let stopped = case.graph.stop_gradient(x).unwrap();
    let finite = case.graph.is_finite(x).unwrap();
    let finite = case.graph.cast(finite, DType::F32).unwrap();
    let sum = case.graph.add(rounded, stopped).unwrap();
    let sum = case.graph.add(sum, finite).unwrap();
    assert_eq!(case.gradients(sum), [vec![0.0; 4]]);
    let scaled = case.graph.mul(sum, x).unwrap();
    let expected = case.evaluate(&[sum]);
    assert_eq!(case.gradients(scaled), expected, "the other factor is a constant");
}

#[test]
fn reductions() {
    for op in ReduceOp::ALL {
        for (shape, axis) in [(vec![4], 0), (vec![2, 3], 0), (vec![2, 3], 1), (vec![2, 3, 2], 1), (vec![3, 1], 1)] {
            let name = format!("{} over axis {axis} of {shape:?}", op.name());
            check(
                &name,
                |case| _ = case.spread(shape.clone(), -2.0, 2.0),
                |graph, x| {
                    let y = graph.reduce(op, x[0], axis)?;
                    graph.mul(y, y)
                },
            );
        }
    }
}

#[test]
fn linear_recurrences() {
    for reverse in [false, true] {
        for start in [0.0, 1.0, -0.7] {
            for (shape, axis) in [(vec![5], 0), (vec![2, 4], 1), (vec![3, 2, 2], 0), (vec![2, 1], 1)] {
                let make = |case: &mut Case| {
                    case.spread(shape.clone(), -1.5, 1.5);
                    case.spread(shape.clone(), -1.0, 1.0);
                };
                let name = format!("linrec axis {axis} of {shape:?}, reverse {reverse}, start {start}");
                check(&name, make, |graph, x| graph.linrec(x[0], x[1], axis, reverse, start));
            }
        }
    }
}

#[test]
fn layout() {
    let one = |name: &str, shape: &[usize], build: &dyn Fn(&mut Graph, NodeId) -> Result<NodeId>| {
        let make = |case: &mut Case| _ = case.spread(shape, -1.0, 1.0);
        check(name, make, |graph, x| {
            let y = build(graph, x[0])?;
            graph.mul(y, y)
        });
    };
    one("reshape", &[2, 6], &|graph, x| graph.reshape(x, [3, 2, 2]));
    one("permute", &[2, 3, 2, 1], &|graph, x| graph.permute(x, &[2, 0, 3, 1]));
    one("broadcast", &[2, 1, 3, 1], &|graph, x| graph.broadcast_to(x, [2, 2, 3, 4]));
    one("broadcast a scalar", &[], &|graph, x| graph.broadcast_to(x, [2, 3]));
    one("slice", &[2, 5, 2], &|graph, x| graph.slice(x, 1, 1, 4));
    one("pad", &[2, 3], &|graph, x| graph.pad(x, 1, 2, 1));
    one("reverse", &[3, 2], &|graph, x| graph.reverse(x, 0));
    one("overlapping slices", &[6], &|graph, x| {
        let a = graph.slice(x, 0, 0, 4)?;
        let b = graph.slice(x, 0, 2, 6)?;
        graph.mul(a, b)
    });
    let make = |case: &mut Case| {
        case.spread([2, 1], -1.0, 1.0);
        case.spread([2, 3], -1.0, 1.0);
    };
    check("concat", make, |graph, x| {
        let y = graph.concat(&[x[0], x[1], x[0]], 1)?;
        graph.mul(y, y)
    });
}

#[test]
fn matrix_products() {
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        for batch in [vec![], vec![2], vec![2, 1]] {
            let of = |rows: usize, columns: usize, transposed: bool| -> Shape {
                let matrix = if transposed { [columns, rows] } else { [rows, columns] };
                batch.iter().copied().chain(matrix).collect()
            };
            let make = |case: &mut Case| {
                case.spread(of(2, 3, transpose_a), -1.0, 1.0);
                case.spread(of(3, 4, transpose_b), -1.0, 1.0);
            };
            let name = format!("matmul of {transpose_a} {transpose_b}, batch {batch:?}");
            check(&name, make, |graph, x| graph.matmul_t(x[0], transpose_a, x[1], transpose_b));
        }
    }
}

#[test]
fn depthwise_convolutions() {
    for (n, width) in [(4, 3), (2, 3), (3, 1)] {
        let make = |case: &mut Case| {
            case.spread([2, n, 2], -1.0, 1.0);
            case.spread([width, 2], -1.0, 1.0);
        };
        check("depthwise_conv", make, |graph, x| graph.depthwise_conv(x[0], x[1]));
        check("its gradient in x", make, |graph, x| graph.push(Op::DepthwiseConvInputGrad, x));
        let make = |case: &mut Case| {
            case.spread([2, n, 2], -1.0, 1.0);
            case.spread([2, n, 2], -1.0, 1.0);
        };
        check("its gradient in w", make, |graph, x| graph.push(Op::DepthwiseConvFilterGrad { width }, x));
    }
}

#[test]
fn rows_by_index() {
    let ids = |graph: &mut Graph| graph.input_named("ids").unwrap().node;
    let make = |case: &mut Case| {
        case.spread([3, 2], -1.0, 1.0);
        case.indices("ids", [2, 2], &[2, 0, 2, 9]); // one repeated, one past the end
    };
    check("gather", make, |graph, x| {
        let ids = ids(graph);
        let rows = graph.gather(x[0], ids)?;
        graph.mul(rows, rows)
    });
    let make = |case: &mut Case| {
        case.spread([2, 2, 3], -1.0, 1.0);
        case.indices("ids", [2, 2], &[1, 3, 1, 9]);
    };
    check("scatter_add", make, |graph, x| {
        let ids = ids(graph);
        let table = graph.push(Op::ScatterAdd { rows: 4 }, &[ids, x[0]])?;
        graph.mul(table, table)
    });
}
