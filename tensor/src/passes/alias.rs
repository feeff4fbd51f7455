//! How a value inside a row program may be named from another node: through reshapes that keep the rows, and through
//! repetition along the row.

use super::group::{is_inline, space_of};
use crate::graph::{Graph, NodeId, Op};
use crate::plan::Extent;

/// The extent at which a node reads its operands when it is a member of a row program.
pub(super) fn operand_extent(graph: &Graph, user: NodeId) -> Extent {
    let node = graph.node(user);
    let shape = match node.op {
        Op::Reduce { .. } => graph.shape(node.operands[0]),
        _ => &node.shape,
    };
    if shape.last() == 1 { Extent::Row } else { Extent::Full }
}

/// The node whose value `operand` is, element for element (or repeated along the row), if a row program could hold that
/// node.
pub(super) fn member(graph: &Graph, operand: NodeId, extent: Extent) -> Option<NodeId> {
    let mut id = strip_reshapes(graph, operand);
    if extent == Extent::Full {
        let node = graph.node(id);
        if matches!(node.op, Op::Broadcast(_)) && repeats_last_axis_only(graph, id) {
            id = strip_reshapes(graph, node.operands[0]);
        }
    }
    (space_of(graph, id).is_some() && !is_inline(graph, id)).then_some(id)
}

/// Whether a broadcast repeats along the last axis and no other.
pub(super) fn repeats_last_axis_only(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let from = graph.shape(node.operands[0]);
    let last = node.shape.rank() - 1;
    from.last() == 1 && node.shape.last() != 1 && from[..last] == node.shape[..last]
}

/// The operand of reshapes that keep the last dimension.
fn strip_reshapes(graph: &Graph, mut id: NodeId) -> NodeId {
    loop {
        let node = graph.node(id);
        match node.op {
            Op::Reshape(_) if graph.shape(node.operands[0]).last() == node.shape.last() => id = node.operands[0],
            _ => return id,
        }
    }
}

/// The constant that a node repeats, if it is one.
pub(super) fn constant(graph: &Graph, mut id: NodeId) -> Option<f64> {
    loop {
        let node = graph.node(id);
        match &node.op {
            Op::Constant(value, _) => return Some(value.get()),
            Op::Reshape(_) | Op::Broadcast(_) => id = node.operands[0],
            _ => return None,
        }
    }
}

/// The counter whose values a node shows in row order, and the extent at which it counts.
pub(super) fn counter(graph: &Graph, operand: NodeId, extent: Extent) -> Option<(NodeId, Extent)> {
    let mut id = strip_reshapes(graph, operand);
    let mut at = extent;
    if extent == Extent::Full && matches!(graph.node(id).op, Op::Broadcast(_)) && repeats_last_axis_only(graph, id) {
        id = strip_reshapes(graph, graph.node(id).operands[0]);
        at = Extent::Row;
    }
    matches!(graph.node(id).op, Op::Iota { .. }).then_some((id, at))
}
