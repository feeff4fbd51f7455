//! Elementwise functions, selection, casts, and what has no operand to compute with.

use primer_tensor::{BinaryOp, CompareOp, DType, NodeId, Result, Shape, UnaryOp};

use super::super::leaves::Leaves;
use super::{Table, shape};

pub(super) fn elementwise(table: &mut Table) {
    for op in UnaryOp::ALL {
        let (low, high) = match op {
            UnaryOp::Sqrt | UnaryOp::Log => (0.01, 10.0),
            UnaryOp::Recip => (0.1, 10.0),
            _ => (-4.0, 4.0),
        };
        for dims in [shape([]), shape([1]), shape([7]), shape([130, 9]), shape([2, 3, 33]), shape([2, 1, 3, 5])] {
            table.case(format!("{} {dims}", op.name()), |l| {
                let x = l.float(&dims, low, high);
                l.graph.unary(op, x)
            });
        }
        table.empty(op.name(), |l| {
            let x = l.float(&shape([3, 0]), low, high);
            l.graph.unary(op, x)
        });
    }
    for op in BinaryOp::ALL {
        for (a, b) in [
            (shape([]), shape([])),
            (shape([1]), shape([1])),
            (shape([17]), shape([17])),
            (shape([5, 9]), shape([9])),
            (shape([5, 9]), shape([5, 1])),
            (shape([4, 1, 3]), shape([2, 1])),
            (shape([]), shape([3, 70])),
            (shape([2, 1, 3, 5]), shape([2, 4, 1, 5])),
        ] {
            table.case(format!("{} {a} {b}", op.name()), |l| {
                let (a, b) = (l.float(&a, -2.0, 2.0), l.float(&b, 0.3, 2.0));
                l.graph.binary(op, a, b)
            });
        }
        table.empty(op.name(), |l| {
            let (a, b) = (l.float(&shape([2, 0, 3]), -2.0, 2.0), l.float(&shape([1, 3]), 0.3, 2.0));
            l.graph.binary(op, a, b)
        });
        table.case(format!("{} of a value and itself", op.name()), |l| {
            let x = l.float(&shape([5, 9]), 0.3, 2.0);
            l.graph.binary(op, x, x)
        });
        table.case(format!("{} with ties", op.name()), |l| {
            let a = l.values(&shape([6]), &[0.0, 1.0, -1.0, 2.0, 0.5, -0.5]);
            let b = l.values(&shape([6]), &[1.0, 1.0, -1.0, 1.0, 0.5, 0.5]);
            l.graph.binary(op, a, b)
        });
    }
    for op in [CompareOp::Less, CompareOp::Equal] {
        table.case(format!("select by {op:?}"), |l| {
            let a = l.values(&shape([2, 3]), &[0.0, 1.0, -1.0, 2.0, 0.5, -0.5]);
            let b = l.float(&shape([3]), -1.0, 1.0);
            let c = l.values(&shape([3]), &[0.0, 1.0, -1.0]);
            let cond = l.graph.compare(op, a, c)?;
            l.graph.select(cond, a, b)
        });
    }
    table.case("select by indices", |l| {
        let ids = l.indices(&shape([5, 1]), 4);
        let x = l.float(&shape([5, 4]), -1.0, 1.0);
        let columns = l.graph.iota([5, 4], 1, DType::U32)?;
        let hit = l.graph.compare(CompareOp::Equal, columns, ids)?;
        let zero = l.graph.constant(0.0);
        l.graph.select(hit, x, zero)
    });
    for dims in [shape([1]), shape([3, 5])] {
        table.case(format!("casts {dims}"), |l| casts(l, &dims));
    }
    table.empty("casts", |l| casts(l, &shape([0, 4])));
    table.case("stop_gradient", |l| {
        let x = l.float(&shape([3, 5]), 0.0, 9.0);
        let constant = l.graph.stop_gradient(x)?;
        l.graph.mul(x, constant)
    });
    for dims in [shape([]), shape([1]), shape([3, 70]), shape([2, 1, 3, 5])] {
        table.case(format!("a comparison of {dims} that selects"), |l| {
            let (a, b) = (l.float(&dims, -1.0, 1.0), l.float(&dims, -1.0, 1.0));
            let cond = l.graph.compare(CompareOp::Less, a, b)?;
            l.graph.select(cond, b, a)
        });
    }
    table.empty("select", |l| {
        let x = l.float(&shape([0, 4]), -1.0, 1.0);
        let finite = l.graph.is_finite(x)?;
        let stopped = l.graph.stop_gradient(x)?;
        l.graph.select(finite, x, stopped)
    });
    for dims in [shape([]), shape([7]), shape([3, 70]), shape([2, 1, 3, 5]), shape([0, 3])] {
        table.case(format!("random {dims}"), |l| {
            let key = l.key([7, 11]);
            let x = l.float(&dims, -1.0, 1.0);
            let u = l.graph.random(key, &dims, 3)?;
            l.graph.mul(u, x)
        });
    }
    table.case("random alone, longer than a task, two streams", |l| {
        let key = l.key([u32::MAX, 1]);
        let (a, b) = (l.graph.random(key, [3, 6000], 0)?, l.graph.random(key, [3, 6000], u32::MAX)?);
        l.graph.concat(&[a, b], 0)
    });
    let iotas = (0..4).map(|axis| (shape([2, 3, 4, 5]), axis));
    for (dims, axis) in iotas.chain([(shape([1]), 0)]) {
        table.case(format!("iota {dims} over {axis}"), |l| {
            let count = l.graph.iota(&dims, axis, DType::F32)?;
            let index = l.graph.iota(&dims, axis, DType::U32)?;
            let index = l.graph.cast(index, DType::F32)?;
            l.graph.concat(&[count, index], 0)
        });
    }
    table.empty("iota", |l| l.graph.iota([3, 0, 2], 0, DType::F32));
    table.case("a constant", |l| l.graph.full(0.1, [3, 5]));
}

/// What lies behind the point, by way of an index; times whether it is finite.
fn casts(l: &mut Leaves, dims: &Shape) -> Result<NodeId> {
    let x = l.float(dims, 0.0, 9.0);
    let floor = l.graph.cast(x, DType::U32)?;
    let floor = l.graph.cast(floor, DType::F32)?;
    let part = l.graph.sub(x, floor)?;
    let finite = l.graph.is_finite(x)?;
    let finite = l.graph.cast(finite, DType::F32)?;
    l.graph.mul(part, finite)
}
