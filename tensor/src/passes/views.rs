//! Where each node's elements are found: a view of the node that is materialised.
//!
//! Until the plan is laid out, buffer `i` stands for node `i`.

use crate::graph::{Graph, NodeId, Op};
use crate::plan::{BufferId, View};

/// For every node, a view of the node that holds its elements. A reshape that strides can't express holds its own
/// elements: it is a copy.
pub(super) fn resolve(graph: &Graph) -> Vec<View> {
    let mut views: Vec<View> = Vec::with_capacity(graph.nodes().len());
    for id in graph.ids() {
        let node = graph.node(id);
        let from = node.operands.first().map(|o| &views[o.index()]);
        let view = match (&node.op, from) {
            (Op::Reshape(shape), Some(from)) => from.reshape(shape),
            (Op::Barrier, Some(from)) => Some(from.clone()),
            (Op::Permute(perm), Some(from)) => Some(from.permute(perm)),
            (Op::Broadcast(shape), Some(from)) => Some(from.broadcast(shape)),
            (Op::Slice { axis, start, end }, Some(from)) => Some(from.slice(*axis, *start, *end)),
            (Op::Reverse { axis }, Some(from)) => Some(from.reverse(*axis)),
            _ => None,
        };
        views.push(view.unwrap_or_else(|| View::contiguous(buffer_of(id), &node.shape)));
    }
    views
}

/// The buffer that stands for a node.
pub(super) fn buffer_of(id: NodeId) -> BufferId {
    BufferId(u32::try_from(id.index()).expect("a graph holds fewer than 2^32 nodes"))
}

/// The node for which a buffer stands.
pub(super) fn node_of(buffer: BufferId) -> NodeId {
    NodeId::new(buffer.index())
}
