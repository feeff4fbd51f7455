//! Graph → graph: dead code goes, and every reduction runs over the last axis or is a column sum.

use crate::graph::{BinaryOp, Graph, NodeId, Op, ReduceOp};
use crate::{Program, Result, Shape};

/// The program without dead nodes and in the form that the planner expects:
/// no `stop_gradient`; a sum of parts padded to the whole, as the gradients of slices are, is a concat; no reduction
/// over an axis of length 1; a reduction runs over the last axis, or is a sum over the only axis longer than 1 before
/// it (a column sum); other sums over a short axis are additions.
///
/// # Errors
/// None beyond those of the graph's own rules.
pub fn canonicalize(program: &Program) -> Result<Program> {
    let live = program.graph.live(program.roots());
    let mut graph = Graph::new();
    let mut map: Vec<Option<NodeId>> = vec![None; live.len()];
    for info in program.graph.inputs() {
        // Every input stays: it is part of the program's interface even where nothing reads it.
        let node = program.graph.node(info.node);
        map[info.node.index()] = Some(graph.input(&info.name, info.kind, &node.shape, node.dtype)?);
    }
    for id in program.graph.ids() {
        if !live[id.index()] || map[id.index()].is_some() {
            continue;
        }
        let node = program.graph.node(id);
        let operands: Vec<NodeId> =
            node.operands.iter().map(|o| map[o.index()].expect("operands of a live node are live")).collect();
        map[id.index()] = Some(rewrite(&mut graph, &node.op, &operands)?);
    }
    let mapped = |id: &NodeId| map[id.index()].expect("roots are live");
    let outputs = program.outputs.iter().map(mapped).collect();
    let states = program.updates.iter().map(|(state, value)| (mapped(state), mapped(value))).collect();
    Program::new(graph, outputs, states)
}

/// Longest axis before the last whose sum becomes additions: these go along the last axis, where a reduction over so
/// short a row would have every operand's channels strided.
const ADDED: usize = 16;

/// Whether reducing `shape` over `axis` sums the rows of a matrix: axes before it, and between it and the last, have
/// length 1.
pub(super) fn is_column_sum(shape: &Shape, axis: usize) -> bool {
    let last = shape.rank() - 1;
    axis < last && shape.iter().enumerate().all(|(i, &dim)| i == axis || i == last || dim == 1)
}

fn rewrite(graph: &mut Graph, op: &Op, operands: &[NodeId]) -> Result<NodeId> {
    match op {
        Op::StopGradient => Ok(operands[0]),
        Op::Reduce { op, axis } => reduce(graph, *op, *axis, operands[0]),
        Op::Reshape(shape) => graph.reshape(operands[0], shape),
        Op::Binary(BinaryOp::Add) => match joined(graph, operands) {
            Some((axis, parts)) => graph.concat(&parts, axis),
            None => graph.push(op.clone(), operands),
        },
        _ => graph.push(op.clone(), operands),
    }
}

/// The parts of a sum of pads along one axis, in order, if they fill the axis without overlapping.
fn joined(graph: &Graph, operands: &[NodeId]) -> Option<(usize, Vec<NodeId>)> {
    let mut parts: Vec<(usize, NodeId)> = Vec::new();
    let (mut along, mut length) = (None, 0);
    let mut pending = operands.to_vec();
    while let Some(id) = pending.pop() {
        let node = graph.node(id);
        match node.op {
            Op::Binary(BinaryOp::Add) => pending.extend(&node.operands),
            Op::Pad { axis, before, .. } if along.is_none_or(|a| a == axis) => {
                along = Some(axis);
                parts.push((before, node.operands[0]));
                length += graph.shape(node.operands[0])[axis];
                // What overlaps is more than the axis. Its leaves may be very many.
                let whole = graph.shape(id)[axis];
                if length > whole || parts.len() > whole {
                    return None;
                }
            }
            _ => return None,
        }
    }
    let axis = along?;
    parts.sort_unstable();
    let mut end = 0;
    for &(start, part) in &parts {
        if start != end {
            return None;
        }
        end += graph.shape(part)[axis];
    }
    (end == graph.shape(operands[0])[axis]).then(|| (axis, parts.into_iter().map(|(_, part)| part).collect()))
}

fn reduce(graph: &mut Graph, op: ReduceOp, axis: usize, x: NodeId) -> Result<NodeId> {
    let shape = graph.shape(x).clone();
    let last = shape.rank() - 1;
    if shape[axis] == 1 {
        return Ok(x);
    }
    if axis == last || (op == ReduceOp::Sum && shape[last] > 1 && is_column_sum(&shape, axis)) {
        return graph.reduce(op, x, axis);
    }
    let before_the_last = shape[axis + 1..].iter().any(|&dim| dim > 1);
    if op == ReduceOp::Sum && before_the_last && (2..=ADDED).contains(&shape[axis]) {
        let mut sum = graph.slice(x, axis, 0, 1)?;
        for i in 1..shape[axis] {
            let part = graph.slice(x, axis, i, i + 1)?;
            sum = graph.add(sum, part)?;
        }
        return Ok(sum);
    }
    let order: Vec<usize> = (0..=last).filter(|&i| i != axis).chain([axis]).collect();
    let moved = if shape[axis + 1..].iter().all(|&dim| dim == 1) {
        graph.reshape(x, order.iter().map(|&i| shape[i]).collect::<Shape>())?
    } else {
        graph.permute(x, &order)?
    };
    let reduced = graph.reduce(op, moved, last)?;
    graph.reshape(reduced, shape.with_dim(axis, 1))
}
