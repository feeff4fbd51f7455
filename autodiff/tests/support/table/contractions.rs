//! Matrix products, convolutions, rows by index.

use primer_tensor::{Op, Shape};

use super::{Table, shape};

pub(super) fn contractions(table: &mut Table) {
    let sizes = [(1, 1, 1), (3, 5, 7), (1, 40, 6), (6, 40, 1), (17, 1, 9), (17, 33, 9), (32, 32, 32), (65, 34, 66)];
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        for (batch, (m, k, n)) in
            sizes.iter().map(|&size| (vec![], size)).chain([(vec![3], (5, 6, 7)), (vec![2, 3], (4, 9, 4))])
        {
            let of = |rows: usize, columns: usize, transposed: bool| -> Shape {
                batch.iter().copied().chain(if transposed { [columns, rows] } else { [rows, columns] }).collect()
            };
            table.case(format!("matmul {batch:?} {m}x{k}x{n} {ta} {tb}"), |l| {
                let a = l.float(&of(m, k, ta), -1.0, 1.0);
                let b = l.float(&of(k, n, tb), -1.0, 1.0);
                l.graph.matmul_t(a, ta, b, tb)
            });
        }
    }
    table.case("matmul of a value and itself", |l| {
        let x = l.float(&shape([9, 9]), -1.0, 1.0);
        l.graph.matmul(x, x)
    });
    for (m, k, n) in [(0, 3, 4), (3, 0, 4), (3, 4, 0)] {
        table.empty(format!("matmul {m}x{k}x{n}"), |l| {
            let (a, b) = (l.float(&shape([2, m, k]), -1.0, 1.0), l.float(&shape([2, k, n]), -1.0, 1.0));
            l.graph.matmul(a, b)
        });
    }
    for (batch, n, c) in [(0, 4, 3), (2, 0, 3), (2, 4, 0)] {
        let x = shape([batch, n, c]);
        table.empty(format!("depthwise_conv {x}"), |l| {
            let (x, w) = (l.float(&x, -1.0, 1.0), l.float(&shape([3, c]), -1.0, 1.0));
            l.graph.depthwise_conv(x, w)
        });
        table.empty(format!("its gradient in x {x}"), |l| {
            let (x, w) = (l.float(&x, -1.0, 1.0), l.float(&shape([3, c]), -1.0, 1.0));
            l.graph.push(Op::DepthwiseConvInputGrad, &[x, w])
        });
        table.empty(format!("its gradient in w {x}"), |l| {
            let (a, b) = (l.float(&x, -1.0, 1.0), l.float(&x, -1.0, 1.0));
            l.graph.push(Op::DepthwiseConvFilterGrad { width: 3 }, &[a, b])
        });
    }
    for (d, ids) in [(0, shape([3])), (4, shape([0])), (4, shape([2, 0]))] {
        table.empty(format!("gather {ids} of [5,{d}]"), |l| {
            let (t, i) = (l.float(&shape([5, d]), -1.0, 1.0), l.indices(&ids, 5));
            l.graph.gather(t, i)
        });
        table.empty(format!("scatter_add {ids} to [5,{d}]"), |l| {
            let i = l.indices(&ids, 5);
            let updates = l.float(&ids.iter().copied().chain([d]).collect(), -1.0, 1.0);
            l.graph.push(Op::ScatterAdd { rows: 5 }, &[i, updates])
        });
    }
    for (batch, n, c, width) in [(1, 1, 1, 3), (2, 9, 5, 3), (2, 2, 33, 4), (3, 17, 8, 1)] {
        let x = shape([batch, n, c]);
        table.case(format!("depthwise_conv {x} width {width}"), |l| {
            let (x, w) = (l.float(&x, -1.0, 1.0), l.float(&shape([width, c]), -1.0, 1.0));
            l.graph.depthwise_conv(x, w)
        });
        table.case(format!("its gradient in x {x} width {width}"), |l| {
            let (x, w) = (l.float(&x, -1.0, 1.0), l.float(&shape([width, c]), -1.0, 1.0));
            l.graph.push(Op::DepthwiseConvInputGrad, &[x, w])
        });
        table.case(format!("its gradient in w {x} width {width}"), |l| {
            let (a, b) = (l.float(&x, -1.0, 1.0), l.float(&x, -1.0, 1.0));
            l.graph.push(Op::DepthwiseConvFilterGrad { width }, &[a, b])
        });
    }
    for (rows, d, ids) in [(1, 1, shape([1])), (7, 33, shape([2, 5])), (40, 4, shape([70]))] {
        table.case(format!("gather {ids} of [{rows},{d}]"), |l| {
            let (t, i) = (l.float(&shape([rows, d]), -1.0, 1.0), l.indices(&ids, rows));
            l.graph.gather(t, i)
        });
        table.case(format!("scatter_add {ids} to [{rows},{d}]"), |l| {
            let i = l.indices(&ids, rows);
            let updates = l.float(&ids.iter().copied().chain([d]).collect(), -1.0, 1.0);
            l.graph.push(Op::ScatterAdd { rows }, &[i, updates])
        });
    }
}
