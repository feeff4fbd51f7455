//! Rules of the reductions and of the linear recurrence.

use primer_tensor::{CompareOp, DType, Graph, NodeId, ReduceOp, Result, UnaryOp};

use super::Use;

pub(super) fn reduce(graph: &mut Graph, op: ReduceOp, axis: usize, at: &Use) -> Result<NodeId> {
    let shape = graph.shape(at.x()).clone();
    match op {
        ReduceOp::Sum => graph.broadcast_to(at.cotangent, shape),
        ReduceOp::Max | ReduceOp::Min => {
            let extreme = graph.broadcast_to(at.node, &shape)?;
            let hit = graph.compare(CompareOp::Equal, at.x(), extreme)?;
            let ones = graph.cast(hit, DType::F32)?;
            let ties = graph.reduce(ReduceOp::Sum, ones, axis)?;
            // No tie at all where NaN won: the reciprocal of 0 is 0, so nothing infinite arises.
            let share = graph.unary(UnaryOp::Recip, ties)?;
            let share = graph.mul(at.cotangent, share)?;
            let share = graph.broadcast_to(share, shape)?;
            let zero = graph.constant(0.0);
            graph.select(hit, share, zero)
        }
        ReduceOp::Prod => {
            let before = product_of_others(graph, at.x(), axis, false)?;
            let after = product_of_others(graph, at.x(), axis, true)?;
            let others = graph.mul(before, after)?;
            let g = graph.broadcast_to(at.cotangent, shape)?;
            graph.mul(g, others)
        }
    }
}

/// For each element the product of those before it along `axis` (after it with `reverse`), 1 for the first.
fn product_of_others(graph: &mut Graph, x: NodeId, axis: usize, reverse: bool) -> Result<NodeId> {
    let factors = shifted(graph, x, axis, reverse, 1.0)?;
    let zero = graph.full(0.0, graph.shape(x).clone())?;
    graph.linrec(factors, zero, axis, reverse, 1.0)
}

/// The element visited before each one along `axis` (last to first with `reverse`); `start` for the first visited.
fn shifted(graph: &mut Graph, x: NodeId, axis: usize, reverse: bool, start: f64) -> Result<NodeId> {
    let shape = graph.shape(x).clone();
    let n = shape[axis];
    if n == 0 {
        return Ok(x);
    }
    let kept = if reverse { graph.slice(x, axis, 1, n)? } else { graph.slice(x, axis, 0, n - 1)? };
    if start == 0.0 {
        return if reverse { graph.pad(kept, axis, 0, 1) } else { graph.pad(kept, axis, 1, 0) };
    }
    let edge = graph.full(start, shape.with_dim(axis, 1))?;
    let parts = if reverse { [kept, edge] } else { [edge, kept] };
    graph.concat(&parts, axis)
}

/// s is a recurrence along the axis, its cotangent λ one against it: λᵢ = ḡᵢ + aᵢ₊₁·λᵢ₊₁. Then ∂b = λ and ∂aᵢ =
/// λᵢ·sᵢ₋₁.
pub(super) fn linrec(graph: &mut Graph, axis: usize, reverse: bool, start: f64, at: &Use) -> Result<NodeId> {
    // The next factor seen from each element, nothing after the last.
    let next = shifted(graph, at.operands[0], axis, !reverse, 0.0)?;
    let lambda = graph.linrec(next, at.cotangent, axis, !reverse, 0.0)?;
    if at.operand == 1 {
        return Ok(lambda);
    }
    let previous = shifted(graph, at.node, axis, reverse, start)?;
    graph.mul(lambda, previous)
}
