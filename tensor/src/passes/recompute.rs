//! Values computed twice rather than stored: x − mean and W·x + b in the backward pass, and their like.
//!
//! A value that row programs other than its own would read is computed there again if that is cheap: an elementwise
//! chain over values that are in memory anyway. It saves the store, and memory from the forward to the backward pass.

use std::collections::BTreeSet;

use super::alias;
use super::group::{Groups, Unit, is_column, value_operands};
use super::views::node_of;
use crate::graph::{Graph, NodeId, Op, UnaryOp};
use crate::plan::{Extent, View};
use crate::{DType, Program};

/// Longest chain that is computed again.
const MAX_DEPTH: usize = 4;

/// Most full-length operands that computing a value again may read.
const MAX_READS: usize = 2;

/// For every node, whether other row programs compute it again.
pub(super) fn choose(program: &Program, views: &[View], live: &[bool], groups: &Groups) -> Vec<bool> {
    let graph = &program.graph;
    let (needed, blocked) = uses(program, views, live, groups);
    let mut depth = vec![0; live.len()];
    let mut recomputed = vec![false; live.len()];
    for &id in &needed {
        let Some(unit) = groups.unit_of[id.index()] else { continue };
        let candidate = matches!(groups.units[unit], Unit::Rows(..)) && !blocked.contains(&id) && is_cheap(graph, id);
        if !candidate || alias::operand_extent(graph, id) == Extent::Row {
            continue;
        }
        let mut reads: Vec<NodeId> = Vec::new();
        let mut deepest = 0;
        let mut pending = value_operands(graph, id);
        let mut available = true;
        while let Some(operand) = pending.pop() {
            if alias::constant(graph, operand).is_some() {
                continue;
            }
            let view = &views[operand.index()];
            let source = node_of(view.buffer);
            let row = view.strides.last().is_none_or(|&s| s == 0) || graph.shape(source).last() == 1;
            if recomputed[source.index()] && alias::member(graph, operand, Extent::Full) == Some(source) {
                deepest = deepest.max(depth[source.index()]);
                pending.extend(value_operands(graph, source));
                continue;
            }
            let computed_here =
                groups.unit_of[source.index()].is_some_and(|u| matches!(groups.units[u], Unit::Rows(..)));
            available &= row || !computed_here || (needed.contains(&source) && !is_column(graph, source));
            if !row && !reads.contains(&source) {
                reads.push(source);
            }
        }
        if available && deepest < MAX_DEPTH && reads.len() <= MAX_READS {
            recomputed[id.index()] = true;
            depth[id.index()] = deepest + 1;
        }
    }
    recomputed
}

/// The nodes that are read outside their own kernel, and those of them that must be in memory: roots, and what is read
/// through strides or by something other than a row program.
fn uses(program: &Program, views: &[View], live: &[bool], groups: &Groups) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
    let graph = &program.graph;
    let (mut needed, mut blocked) = (BTreeSet::new(), BTreeSet::new());
    for id in graph.ids().filter(|id| live[id.index()]) {
        let Some(unit) = groups.unit_of[id.index()] else { continue };
        let in_rows = matches!(groups.units[unit], Unit::Rows(..));
        let extent = alias::operand_extent(graph, id);
        for operand in value_operands(graph, id) {
            let source = node_of(views[operand.index()].buffer);
            let aligned = in_rows && alias::member(graph, operand, extent) == Some(source);
            if !aligned {
                blocked.insert(source);
            }
            if !aligned || groups.unit_of[source.index()] != Some(unit) {
                needed.insert(source);
            }
        }
    }
    for root in program.roots() {
        let source = node_of(views[root.index()].buffer);
        needed.insert(source);
        blocked.insert(source);
    }
    (needed, blocked)
}

/// Whether a node costs little beside reading and writing it.
fn is_cheap(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op {
        Op::Unary(UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Sqrt | UnaryOp::Recip) => true,
        Op::Binary(_) | Op::Select => true,
        Op::Cast(to) => to == DType::F32,
        _ => false,
    }
}
