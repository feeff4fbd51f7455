//! Where values are written: into state, into the layout of their one reader, or into scratch.

use std::collections::HashMap;

use super::group::{Groups, Unit, awaited, is_column, is_inline};
use super::views::{buffer_of, node_of};
use crate::Program;
use crate::graph::{Graph, NodeId, Op};
use crate::plan::View;

/// The decisions beyond "each node in a buffer of its own".
#[derive(Default)]
pub(super) struct Storage {
    /// Nodes written straight into the state entry of this input node.
    pub(super) in_state: HashMap<NodeId, NodeId>,
    /// Nodes written in another node's layout: a view of that node's buffer in the node's own shape.
    pub(super) laid_out: HashMap<NodeId, View>,
    /// `(state input, value)`: copied after everything else.
    pub(super) copied_last: Vec<(NodeId, NodeId)>,
}

/// Decides the storage and adds the dependencies that it needs to the schedule.
pub(super) fn assign(program: &Program, views: &[View], live: &[bool], groups: &mut Groups) -> Storage {
    let mut storage = Storage::default();
    let graph = &program.graph;
    for root in roots_to_copy(program, views) {
        let unit = groups.reach.add();
        groups.units.push(Unit::Copy(root));
        let source = node_of(views[root.index()].buffer);
        for before in awaited(graph, views, root).into_iter().chain([source]) {
            if let Some(before) = groups.unit_of[before.index()] {
                groups.reach.link(unit, before);
            }
        }
    }
    let readers = readers(graph, views, live, groups);
    for &(state, value) in &program.updates {
        let none = Vec::new();
        if let Some((source, unit)) = direct_source(program, views, groups, &storage, value)
            && reads_in_place(graph, views, groups, unit, state)
        {
            let others: Vec<usize> =
                readers.get(&state).unwrap_or(&none).iter().copied().filter(|&reader| reader != unit).collect();
            if others.iter().all(|&reader| !groups.reach.depends(reader, unit)) {
                for reader in others {
                    groups.reach.link(unit, reader);
                }
                storage.in_state.insert(source, state);
                continue;
            }
        }
        storage.copied_last.push((state, value));
    }
    lay_out(program, views, live, groups, &mut storage);
    storage
}

/// Outputs that aren't a whole computed buffer, and new values that are another input's old one.
fn roots_to_copy(program: &Program, views: &[View]) -> Vec<NodeId> {
    let graph = &program.graph;
    let mut roots = Vec::new();
    for (i, root) in program.roots().enumerate() {
        let view = &views[root.index()];
        let source = node_of(view.buffer);
        let whole = view.is_contiguous() && view.offset == 0 && graph.shape(source).numel() == view.numel();
        let is_input = matches!(graph.node(source).op, Op::Input(_));
        let is_output = i < program.outputs.len();
        let copy = is_input || (is_output && (!whole || is_inline(graph, source)));
        if copy && !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots
}

/// The units that read each input.
fn readers(graph: &Graph, views: &[View], live: &[bool], groups: &Groups) -> HashMap<NodeId, Vec<usize>> {
    let mut readers: HashMap<NodeId, Vec<usize>> = HashMap::new();
    for id in graph.ids().filter(|id| live[id.index()]) {
        let Some(unit) = groups.unit_of[id.index()] else { continue };
        for source in groups.sources(graph, views, id) {
            if matches!(graph.node(source).op, Op::Input(_)) {
                readers.entry(source).or_default().push(unit);
            }
        }
    }
    for (unit, kind) in groups.units.iter().enumerate() {
        if let Unit::Copy(root) = kind {
            readers.entry(node_of(views[root.index()].buffer)).or_default().push(unit);
        }
    }
    readers
}

/// The node whose kernel could write `value` straight into a state entry, and its unit.
fn direct_source(
    program: &Program,
    views: &[View],
    groups: &Groups,
    storage: &Storage,
    value: NodeId,
) -> Option<(NodeId, usize)> {
    let graph = &program.graph;
    let view = &views[value.index()];
    let source = node_of(view.buffer);
    let unit = groups.unit_of[source.index()]?;
    let fits = matches!(groups.units[unit], Unit::Rows(..))
        && !is_column(graph, source)
        && view.is_contiguous()
        && view.offset == 0
        && view.numel() == graph.shape(source).numel()
        && !storage.in_state.contains_key(&source)
        // An output has a buffer of its own.
        && !program.outputs.iter().any(|o| node_of(views[o.index()].buffer) == source);
    fits.then_some((source, unit))
}

/// Whether a unit reads a state only element by element in the state's own order.
fn reads_in_place(graph: &Graph, views: &[View], groups: &Groups, unit: usize, state: NodeId) -> bool {
    let Unit::Rows(_, members) = &groups.units[unit] else { return false };
    let whole = graph.shape(state).numel();
    members.iter().flat_map(|&m| groups.operands(graph, m)).all(|operand| {
        let view = &views[operand.index()];
        node_of(view.buffer) != state || (view.is_contiguous() && view.numel() == whole)
    })
}

/// A copy or a concat of a value that nobody else reads becomes the layout in which that value is written.
fn lay_out(program: &Program, views: &[View], live: &[bool], groups: &Groups, storage: &mut Storage) {
    let graph = &program.graph;
    let uses = uses(program, views, live, groups);
    let holds_itself = |id: NodeId| live[id.index()] && node_of(views[id.index()].buffer) == id;
    // Users first, so that a value lands where its user's value has been placed.
    for id in graph.ids().rev().filter(|&id| holds_itself(id)) {
        let node = graph.node(id);
        let place = storage.laid_out.get(&id).cloned().unwrap_or_else(|| View::contiguous(buffer_of(id), &node.shape));
        let mut start = 0;
        for operand in &node.operands {
            let view = &views[operand.index()];
            let target = match node.op {
                Op::Reshape(_) => place.reshape(&view.dims),
                Op::Concat { axis } => {
                    let end = start + view.dims[axis];
                    let part = place.slice(axis, start, end);
                    start = end;
                    Some(part)
                }
                _ => break,
            };
            let source = node_of(view.buffer);
            let only_here = uses.get(&source) == Some(&1);
            if only_here
                && can_be_laid_out(graph, views, source)
                && let Some(layout) = target.and_then(|target| inverse(view, &target, graph.shape(source)))
                && (holds_reshape(graph, source).is_none_or(|o| layout.reshape(&views[o.index()].dims).is_some()))
            {
                storage.laid_out.insert(source, layout);
            }
        }
    }
}

/// How often each materialised node is read, by whom doesn't matter; a root is one more reader.
fn uses(program: &Program, views: &[View], live: &[bool], groups: &Groups) -> HashMap<NodeId, usize> {
    let graph = &program.graph;
    let mut uses: HashMap<NodeId, usize> = HashMap::new();
    for id in graph.ids().filter(|id| live[id.index()]) {
        if node_of(views[id.index()].buffer) == id {
            for operand in groups.operands(graph, id) {
                *uses.entry(node_of(views[operand.index()].buffer)).or_default() += 1;
            }
        }
    }
    for root in program.roots() {
        *uses.entry(node_of(views[root.index()].buffer)).or_default() += 1;
    }
    uses
}

/// Whether the node's kernel can write through strides.
fn can_be_laid_out(graph: &Graph, views: &[View], id: NodeId) -> bool {
    let written_through_strides = match &graph.node(id).op {
        Op::MatMul { .. } => true,
        Op::Reshape(_) => node_of(views[id.index()].buffer) == id,
        op => op.is_elementwise(),
    };
    written_through_strides && !is_inline(graph, id)
}

/// The operand of a reshape.
fn holds_reshape(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    matches!(node.op, Op::Reshape(_)).then(|| node.operands[0])
}

/// Where the elements of a node of `shape` lie if `view` shows all of it in another order and its elements lie at
/// `target`.
fn inverse(view: &View, target: &View, shape: &crate::Shape) -> Option<View> {
    let mut order: Vec<usize> = (0..view.dims.len()).collect();
    order.sort_by_key(|&axis| (std::cmp::Reverse(view.strides[axis]), axis));
    let sorted = view.permute(&order);
    let whole = sorted.is_contiguous() && sorted.offset == 0 && sorted.numel() == shape.numel();
    if whole { target.permute(&order).reshape(shape) } else { None }
}
