//! What moves, repeats or drops elements.

use primer_tensor::{Graph, NodeId, ReduceOp, Result, Shape, UnaryOp};

use super::super::leaves::Leaves;
use super::{Table, shape};

pub(super) fn layout(table: &mut Table) {
    type Build = fn(&mut Graph, NodeId) -> Result<NodeId>;
    let cases: [(&str, Shape, Build); 32] = [
        ("reshape", shape([6, 10]), |g, x| g.reshape(x, [4, 15])),
        ("reshape of a scalar", shape([]), |g, x| g.reshape(x, [1, 1])),
        ("reshape to a scalar", shape([1, 1]), |g, x| g.reshape(x, Shape::scalar())),
        ("reshape of a vector", shape([12]), |g, x| g.reshape(x, [3, 4])),
        ("reshape of 4 axes", shape([2, 3, 4, 5]), |g, x| g.reshape(x, [8, 15])),
        ("permute [1,0]", shape([5, 33]), |g, x| g.permute(x, &[1, 0])),
        ("permute [0,2,1,3]", shape([2, 3, 4, 5]), |g, x| g.permute(x, &[0, 2, 1, 3])),
        ("permute [2,0,1]", shape([3, 4, 5]), |g, x| g.permute(x, &[2, 0, 1])),
        ("broadcast", shape([2, 1, 3, 1]), |g, x| g.broadcast_to(x, [2, 4, 3, 5])),
        ("broadcast a scalar", shape([]), |g, x| g.broadcast_to(x, [3, 70])),
        ("slice 0", shape([7, 5]), |g, x| g.slice(x, 0, 2, 6)),
        ("slice 1", shape([7, 5]), |g, x| g.slice(x, 1, 1, 2)),
        ("slice of a vector", shape([9]), |g, x| g.slice(x, 0, 2, 7)),
        ("slice to one element", shape([1, 5]), |g, x| g.slice(x, 1, 2, 3)),
        ("slice of 3 axes", shape([3, 5, 4]), |g, x| g.slice(x, 1, 1, 4)),
        ("pad 0", shape([3, 5]), |g, x| g.pad(x, 0, 2, 1)),
        ("pad 1", shape([3, 5]), |g, x| g.pad(x, 1, 0, 4)),
        ("pad of one element", shape([1]), |g, x| g.pad(x, 0, 1, 2)),
        ("pad of a vector", shape([9]), |g, x| g.pad(x, 0, 0, 3)),
        ("pad of 3 axes", shape([2, 3, 4]), |g, x| g.pad(x, 1, 1, 2)),
        ("reverse 0", shape([7, 5]), |g, x| g.reverse(x, 0)),
        ("reverse 1", shape([2, 7, 5]), |g, x| g.reverse(x, 1)),
        ("reverse of one element", shape([3, 1]), |g, x| g.reverse(x, 1)),
        ("reverse of a vector", shape([9]), |g, x| g.reverse(x, 0)),
        ("reverse of 4 axes", shape([2, 3, 4, 5]), |g, x| g.reverse(x, 2)),
        ("permute 6 axes", shape([2, 1, 3, 2, 2, 3]), |g, x| g.permute(x, &[5, 3, 0, 1, 4, 2])),
        ("broadcast 5 axes", shape([2, 1, 2, 1, 3]), |g, x| g.broadcast_to(x, [2, 3, 2, 2, 3])),
        ("slice of 4 axes", shape([2, 4, 3, 5]), |g, x| g.slice(x, 2, 1, 3)),
        ("pad of 4 axes", shape([2, 2, 3, 2]), |g, x| g.pad(x, 0, 1, 2)),
        ("transpose in place", shape([7, 7]), |g, x| g.permute(x, &[1, 0])),
        ("reverse of a slice of a permutation", shape([4, 3, 5]), |g, x| {
            let x = g.permute(x, &[2, 0, 1])?;
            let x = g.slice(x, 0, 1, 4)?;
            g.reverse(x, 0)
        }),
        ("reshape of a permutation, twice", shape([4, 3, 2]), |g, x| {
            let x = g.permute(x, &[1, 0, 2])?;
            let x = g.reshape(x, [6, 4])?;
            let x = g.permute(x, &[1, 0])?;
            g.reshape(x, [24])
        }),
    ];
    for (name, dims, build) in cases {
        table.case(name, |l| {
            let x = l.float(&dims, -1.0, 1.0);
            build(&mut l.graph, x)
        });
        // The same as a view of something computed, read by something that computes.
        table.case(format!("{name}, inside"), |l| {
            let x = l.float(&dims, -1.0, 1.0);
            let x = l.graph.unary(UnaryOp::Tanh, x)?;
            let y = build(&mut l.graph, x)?;
            l.graph.mul(y, y)
        });
    }
    // Read in another order than it would be written in, and more than one block of it: what must not happen in place.
    let crossed: [(&str, Shape, Build); 6] = [
        ("tanh of a transpose", shape([70, 70]), |g, x| {
            let y = g.permute(x, &[1, 0])?;
            g.unary(UnaryOp::Tanh, y)
        }),
        ("tanh of a reverse", shape([5000]), |g, x| {
            let y = g.reverse(x, 0)?;
            g.unary(UnaryOp::Tanh, y)
        }),
        ("a matrix and its transpose", shape([66, 66]), |g, x| {
            let y = g.permute(x, &[1, 0])?;
            g.sub(x, y)
        }),
        ("a matrix and its rows in reverse", shape([70, 66]), |g, x| {
            let y = g.reverse(x, 0)?;
            g.add(x, y)
        }),
        ("a matrix and its first row", shape([70, 66]), |g, x| {
            let first = g.slice(x, 0, 0, 1)?;
            g.mul(x, first)
        }),
        ("a matrix less the maximum of its columns", shape([70, 66]), |g, x| {
            let most = g.reduce(ReduceOp::Max, x, 0)?;
            g.sub(x, most)
        }),
    ];
    for (name, dims, build) in crossed {
        table.case(name, |l| {
            let x = l.float(&dims, -1.0, 1.0);
            build(&mut l.graph, x)
        });
    }
    let empty: [(&str, Shape, Build); 7] = [
        ("reshape", shape([0, 3]), |g, x| g.reshape(x, [5, 0])),
        ("permute", shape([2, 0, 3]), |g, x| g.permute(x, &[2, 0, 1])),
        ("broadcast", shape([1, 3]), |g, x| g.broadcast_to(x, [0, 3])),
        ("slice", shape([4, 3]), |g, x| g.slice(x, 0, 2, 2)),
        ("pad", shape([0, 3]), |g, x| g.pad(x, 0, 1, 2)),
        ("reverse", shape([3, 0]), |g, x| g.reverse(x, 1)),
        ("concat", shape([3, 0]), |g, x| {
            let whole = g.full(1.5, [3, 2])?;
            g.concat(&[x, whole, x], 1)
        }),
    ];
    for (name, dims, build) in empty {
        table.empty(name, |l| {
            let x = l.float(&dims, -1.0, 1.0);
            build(&mut l.graph, x)
        });
    }
    for (a, b, axis) in [
        (shape([1]), shape([1]), 0),
        (shape([3]), shape([4]), 0),
        (shape([2, 3, 4]), shape([2, 1, 4]), 1),
        (shape([2, 1, 3, 5]), shape([2, 4, 3, 5]), 1),
        (shape([2, 1, 2, 3, 2]), shape([2, 1, 2, 1, 2]), 3),
    ] {
        table.case(format!("concat of {a} and {b}"), |l| {
            let (a, b) = (l.float(&a, -1.0, 1.0), l.float(&b, -1.0, 1.0));
            l.graph.concat(&[a, b], axis)
        });
    }
    for dims in [shape([5, 33]), shape([1, 1])] {
        table.case(format!("barrier {dims}"), |l| barrier(l, &dims, false));
        table.case(format!("barrier {dims}, inside"), |l| barrier(l, &dims, true));
    }
    table.empty("barrier", |l| barrier(l, &shape([3, 0]), true));
    for axis in 0..2 {
        table.case(format!("concat over {axis}"), |l| {
            let a = l.float(&shape([3, 4]), -1.0, 1.0);
            let b = if axis == 0 { shape([2, 4]) } else { shape([3, 1]) };
            let b = l.float(&b, -1.0, 1.0);
            let b = l.graph.unary(UnaryOp::Exp, b)?;
            l.graph.concat(&[a, b, a], axis)
        });
    }
}

/// A matrix, transposed once another value is there; with `inside`, of something computed and read by something that
/// computes.
fn barrier(l: &mut Leaves, dims: &Shape, inside: bool) -> Result<NodeId> {
    let mut x = l.float(dims, -1.0, 1.0);
    let after = l.float(&shape([3]), -1.0, 1.0);
    let after = l.graph.unary(UnaryOp::Tanh, after)?;
    if inside {
        x = l.graph.unary(UnaryOp::Tanh, x)?;
    }
    let y = l.graph.barrier(x, after)?;
    let y = l.graph.permute(y, &[1, 0])?;
    if inside { l.graph.mul(y, y) } else { Ok(y) }
}
