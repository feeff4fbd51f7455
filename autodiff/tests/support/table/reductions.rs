//! Reductions and recurrences.

use primer_tensor::ReduceOp;

use super::{Table, shape};

pub(super) fn reductions(table: &mut Table) {
    for op in ReduceOp::ALL {
        for (dims, axis) in [
            (shape([1]), 0),
            (shape([5]), 0),
            (shape([2, 6]), 0),
            (shape([2, 6]), 1),
            (shape([3, 4, 5]), 0),
            (shape([3, 4, 5]), 1),
            (shape([3, 4, 5]), 2),
            (shape([70, 3]), 0),
            (shape([3, 70]), 1),
            (shape([1, 300]), 1),
            (shape([300, 1]), 0),
            (shape([2, 3, 4, 5]), 1),
            (shape([2, 2, 1, 3, 5]), 3),
        ] {
            table.case(format!("{} {dims} over {axis}", op.name()), |l| {
                // A product of 300 such factors stays within the range of f32.
                let (low, high) = if op == ReduceOp::Prod { (0.8, 1.2) } else { (-2.0, 2.0) };
                let x = l.float(&dims, low, high);
                l.graph.reduce(op, x, axis)
            });
        }
        for (dims, axis) in [(shape([3, 0]), 1), (shape([0, 3]), 0), (shape([0, 3]), 1), (shape([2, 0, 3]), 1)] {
            table.empty(format!("{} {dims} over {axis}", op.name()), |l| {
                let x = l.float(&dims, -2.0, 2.0);
                l.graph.reduce(op, x, axis)
            });
        }
        table.case(format!("{} with ties and zeros", op.name()), |l| {
            let values = [0.0, 2.0, 2.0, -1.0, -1.0, 0.0, 0.0, 3.0, 5.0, 5.0, 5.0, 5.0];
            let x = l.values(&shape([3, 4]), &values);
            l.graph.reduce(op, x, 1)
        });
    }
    for (dims, axis) in
        [(shape([1]), 0), (shape([70]), 0), (shape([3, 33]), 1), (shape([9, 5]), 0), (shape([2, 7, 3, 2]), 1)]
    {
        for (reverse, start) in [(false, 0.0), (true, 1.0), (false, -0.5)] {
            table.case(format!("linrec {dims} over {axis}, reverse {reverse}, start {start}"), |l| {
                let (a, b) = (l.float(&dims, -1.0, 1.0), l.float(&dims, -1.0, 1.0));
                l.graph.linrec(a, b, axis, reverse, start)
            });
        }
    }
    for (dims, axis) in [(shape([0]), 0), (shape([3, 0]), 0), (shape([3, 0]), 1)] {
        table.empty(format!("linrec {dims} over {axis}"), |l| {
            let (a, b) = (l.float(&dims, -1.0, 1.0), l.float(&dims, -1.0, 1.0));
            l.graph.linrec(a, b, axis, false, 1.0)
        });
    }
    table.case("linrec of a value and itself", |l| {
        let x = l.float(&shape([4, 6]), -1.0, 1.0);
        l.graph.linrec(x, x, 1, true, 0.5)
    });
    table.case("cumulative product with zeros", |l| {
        let x = l.values(&shape([2, 4]), &[2.0, 0.0, 3.0, 4.0, 1.5, 2.0, 0.0, 0.0]);
        let zero = l.graph.full(0.0, [2, 4])?;
        l.graph.linrec(x, zero, 1, false, 1.0)
    });
}
