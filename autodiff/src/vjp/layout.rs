//! Rules of what moves, repeats or drops elements: each has a primitive as its adjoint.

use primer_tensor::{Graph, NodeId, Op, Result};

use super::Use;

pub(super) fn vjp(graph: &mut Graph, op: &Op, at: &Use) -> Result<NodeId> {
    let shape = graph.shape(at.x()).clone();
    let g = at.cotangent;
    match op {
        Op::Permute(perm) => {
            let mut inverse = vec![0; perm.len()];
            for (to, &from) in perm.iter().enumerate() {
                inverse[from] = to;
            }
            graph.permute(g, &inverse)
        }
        Op::Broadcast(_) => graph.sum_to(g, shape),
        Op::Slice { axis, start, end } => graph.pad(g, *axis, *start, shape[*axis] - end),
        Op::Pad { axis, before, .. } => graph.slice(g, *axis, *before, before + shape[*axis]),
        Op::Concat { axis } => {
            let start: usize = at.operands[..at.operand].iter().map(|&part| graph.shape(part)[*axis]).sum();
            graph.slice(g, *axis, start, start + shape[*axis])
        }
        Op::Reverse { axis } => graph.reverse(g, *axis),
        // Reshape, the only one left: the same elements again.
        _ => graph.reshape(g, shape),
    }
}
