//! Fusion: which nodes share a row program.
//!
//! Walking the graph forward, a node joins the kernel that produces one of its operands if it fits that kernel's space
//! of rows and nothing else it needs depends on that kernel. Joining saves writing and reading the operand.

use std::collections::HashMap;

use super::canonicalize::is_column_sum;
use super::reach::Reach;
use super::views::node_of;
use super::{PlanLimits, alias};
use crate::graph::{Graph, NodeId, Op};
use crate::plan::{Extent, View};
use crate::{DType, Program};

/// The largest number of nodes that one row program takes.
const MAX_MEMBERS: usize = 192;

/// What one unit of the schedule computes.
#[derive(Clone, Debug)]
pub(super) enum Unit {
    /// A row program over these nodes, in order.
    Rows(Space, Vec<NodeId>),
    /// A node with a kernel (or two) of its own.
    Single(NodeId),
    /// The elements of this root, gathered into a buffer of its own.
    Copy(NodeId),
    /// Part of another unit now.
    Absorbed,
}

/// Rows and their length; no length is fixed while all members have one element a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Space {
    pub(super) rows: usize,
    pub(super) length: Option<usize>,
}

/// The grouping of a graph.
pub(super) struct Groups {
    pub(super) units: Vec<Unit>,
    /// The unit that computes each node; views and inlined nodes have none.
    pub(super) unit_of: Vec<Option<usize>>,
    /// Nodes that other row programs compute again instead of reading them; see `recompute`.
    pub(super) recomputed: Vec<bool>,
    pub(super) reach: Reach,
}

/// Whether the node is computed anew in every kernel that uses it: constants, counters and comparisons.
pub(super) fn is_inline(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(node.op, Op::Constant(..) | Op::Iota { .. }) || node.dtype == DType::Bool
}

/// The space that a node needs, seen as a member of a row program.
pub(super) fn space_of(graph: &Graph, id: NodeId) -> Option<Space> {
    let node = graph.node(id);
    let full = |shape: &crate::Shape| {
        let rows = shape.iter().rev().skip(1).product();
        Space { rows, length: (shape.last() != 1).then_some(shape.last()) }
    };
    match &node.op {
        Op::Reduce { axis, .. } => {
            let shape = graph.shape(node.operands[0]);
            (*axis + 1 == shape.rank() || is_column_sum(shape, *axis)).then(|| full(shape))
        }
        op if op.is_elementwise() && node.dtype != DType::Bool => Some(full(&node.shape)),
        _ => None,
    }
}

impl Space {
    /// The space that holds both, if there is one.
    fn join(self, other: Space) -> Option<Space> {
        let length = match (self.length, other.length) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        (self.rows == other.rows).then_some(Space { rows: self.rows, length })
    }
}

/// Groups all live nodes of a program.
pub(super) fn group(program: &Program, views: &[View], live: &[bool], limits: PlanLimits) -> Groups {
    let graph = &program.graph;
    let mut grouping = Grouping {
        graph,
        views,
        limits,
        users: users(program, live),
        readers: HashMap::new(),
        units: Vec::new(),
        unit_of: vec![None; live.len()],
        reach: Reach::default(),
    };
    for id in graph.ids().filter(|id| live[id.index()]) {
        let is_input = matches!(graph.node(id).op, Op::Input(_));
        let holds_itself = node_of(views[id.index()].buffer) == id;
        if holds_itself && !is_input && !is_inline(graph, id) {
            grouping.place(id);
        }
    }
    let Grouping { units, unit_of, reach, .. } = grouping;
    Groups { units, unit_of, recomputed: vec![false; live.len()], reach }
}

/// Whether the node is a sum over rows, which leaves its kernel and cannot be used inside it.
pub(super) fn is_column(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(node.op, Op::Reduce { axis, .. } if axis + 1 != graph.shape(node.operands[0]).rank())
}

/// The operands whose values a row program needs: inlined operands are replaced by their own.
pub(super) fn value_operands(graph: &Graph, id: NodeId) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut pending: Vec<NodeId> = graph.node(id).operands.clone();
    while let Some(operand) = pending.pop() {
        if is_inline(graph, operand) {
            pending.extend(&graph.node(operand).operands);
        } else {
            found.push(operand);
        }
    }
    found.reverse();
    found
}

impl Groups {
    /// [`value_operands`] once the groups are settled: what this member's unit computes again is replaced by its
    /// operands too.
    pub(super) fn operands(&self, graph: &Graph, id: NodeId) -> Vec<NodeId> {
        let extent = alias::operand_extent(graph, id);
        let unit = self.unit_of[id.index()];
        let mut found = Vec::new();
        let mut pending = value_operands(graph, id);
        while let Some(operand) = pending.pop() {
            match self.again(graph, operand, extent, unit) {
                Some(node) => pending.extend(value_operands(graph, node)),
                None => found.push(operand),
            }
        }
        found.reverse();
        found
    }

    /// The node that `operand` shows, if a member of `unit` computes it again.
    pub(super) fn again(&self, graph: &Graph, operand: NodeId, extent: Extent, unit: Option<usize>) -> Option<NodeId> {
        let in_rows = |unit: usize| matches!(self.units[unit], Unit::Rows(..));
        let node = alias::member(graph, operand, extent)?;
        let elsewhere = self.unit_of[node.index()] != unit && unit.is_some_and(in_rows);
        (self.recomputed[node.index()] && elsewhere).then_some(node)
    }

    /// The materialised nodes that a node reads, through views and what is computed in place.
    pub(super) fn sources(&self, graph: &Graph, views: &[View], id: NodeId) -> Vec<NodeId> {
        shown(views, self.operands(graph, id))
    }
}

/// The materialised nodes that the operands show, each once.
fn shown(views: &[View], operands: Vec<NodeId>) -> Vec<NodeId> {
    let mut found: Vec<NodeId> = Vec::new();
    for operand in operands {
        let source = node_of(views[operand.index()].buffer);
        if !found.contains(&source) {
            found.push(source);
        }
    }
    found
}

/// The materialised nodes that must have been computed before `operand` is read: what its barriers wait for.
pub(super) fn awaited(graph: &Graph, views: &[View], operand: NodeId) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut id = operand;
    while node_of(views[id.index()].buffer) != id {
        let node = graph.node(id);
        if node.op == Op::Barrier {
            found.push(node_of(views[node.operands[1].index()].buffer));
        }
        id = node.operands[0];
    }
    found
}

/// For each node, the nodes that use it, and `None` where the program itself does.
fn users(program: &Program, live: &[bool]) -> Vec<Vec<Option<NodeId>>> {
    let mut users = vec![Vec::new(); live.len()];
    for id in program.graph.ids().filter(|id| live[id.index()]) {
        for operand in &program.graph.node(id).operands {
            users[operand.index()].push(Some(id));
        }
    }
    for root in program.roots() {
        users[root.index()].push(None);
    }
    users
}

/// The grouping while it grows.
struct Grouping<'a> {
    graph: &'a Graph,
    views: &'a [View],
    limits: PlanLimits,
    users: Vec<Vec<Option<NodeId>>>,
    /// The row programs that read a materialised node.
    readers: HashMap<NodeId, Vec<usize>>,
    units: Vec<Unit>,
    unit_of: Vec<Option<usize>>,
    reach: Reach,
}

impl Grouping<'_> {
    /// Finds the unit of the next node and links it to what the node reads.
    fn place(&mut self, id: NodeId) {
        let space = space_of(self.graph, id);
        let home = space.and_then(|space| self.join_one(id, space)).unwrap_or_else(|| {
            self.units.push(match space {
                Some(space) => Unit::Rows(space, vec![id]),
                None => Unit::Single(id),
            });
            let unit = self.reach.add();
            self.unit_of[id.index()] = Some(unit);
            unit
        });
        for source in shown(self.views, value_operands(self.graph, id)) {
            if let Some(unit) = self.unit_of[source.index()]
                && unit != home
            {
                self.reach.link(home, unit);
            }
            if space.is_some() {
                self.readers.entry(source).or_default().push(home);
            }
        }
        for unit in self.awaited_units(id).filter(|&unit| unit != home) {
            self.reach.link(home, unit);
        }
    }

    /// The units that must come before the node's own: those of what its operands' barriers wait for.
    fn awaited_units(&self, id: NodeId) -> impl Iterator<Item = usize> + use<> {
        let operands = value_operands(self.graph, id).into_iter();
        let nodes = operands.flat_map(|operand| awaited(self.graph, self.views, operand));
        nodes.filter_map(|node| self.unit_of[node.index()]).collect::<Vec<_>>().into_iter()
    }

    /// Joins the first candidate that takes the node, and lets the other candidates merge into it.
    fn join_one(&mut self, id: NodeId, space: Space) -> Option<usize> {
        let mut home = None;
        for unit in self.candidates(id) {
            match home {
                None if self.try_join(unit, id, space) => home = Some(unit),
                // What `id` reads isn't linked to its home yet.
                Some(first) if first != unit && self.reads_allow(unit, id) => self.try_merge(first, unit),
                _ => {}
            }
        }
        home
    }

    /// The units that compute an operand of the node; then, whichever comes first, a column sum and those that read
    /// what it sums.
    fn candidates(&self, id: NodeId) -> Vec<usize> {
        let extent = alias::operand_extent(self.graph, id);
        let mut candidates: Vec<usize> = Vec::new();
        for operand in value_operands(self.graph, id) {
            if let Some(member) = alias::member(self.graph, operand, extent)
                && let Some(unit) = self.unit_of[member.index()]
                && !candidates.contains(&unit)
            {
                candidates.push(unit);
            }
        }
        for operand in value_operands(self.graph, id) {
            let source = node_of(self.views[operand.index()].buffer);
            let readers = self.readers.get(&source).into_iter().flatten().copied();
            candidates.extend(readers.filter(|&unit| is_column(self.graph, id) || self.has_sum_of(unit, source)));
        }
        candidates
    }

    /// Whether a unit has a column sum of what is in memory for `source`.
    fn has_sum_of(&self, unit: usize, source: NodeId) -> bool {
        let Unit::Rows(_, members) = &self.units[unit] else { return false };
        let sums = |id: NodeId| node_of(self.views[self.graph.node(id).operands[0].index()].buffer) == source;
        members.iter().any(|&member| is_column(self.graph, member) && sums(member))
    }

    fn try_join(&mut self, unit: usize, id: NodeId, space: Space) -> bool {
        let Unit::Rows(have, members) = &self.units[unit] else { return false };
        let Some(joined) = have.join(space) else { return false };
        if members.len() >= MAX_MEMBERS {
            return false;
        }
        if !self.reads_allow(unit, id) {
            return false;
        }
        let mut members = members.clone();
        members.push(id);
        if self.buffers(&members) > self.limits.buffers {
            return false;
        }
        self.unit_of[id.index()] = Some(unit);
        self.units[unit] = Unit::Rows(joined, members);
        true
    }

    /// Whether `id` may be in `unit` by what it reads, members in step with it or what doesn't depend on the unit, and
    /// by what it waits for.
    fn reads_allow(&self, unit: usize, id: NodeId) -> bool {
        let extent = alias::operand_extent(self.graph, id);
        let waits = self.awaited_units(id).any(|other| self.reach.depends(other, unit));
        !waits
            && value_operands(self.graph, id).into_iter().all(|operand| {
                let inside = alias::member(self.graph, operand, extent)
                    .is_some_and(|m| self.unit_of[m.index()] == Some(unit) && !is_column(self.graph, m));
                let source = node_of(self.views[operand.index()].buffer);
                let other = self.unit_of[source.index()];
                inside || other.is_none_or(|other| other != unit && !self.reach.depends(other, unit))
            })
    }

    fn try_merge(&mut self, a: usize, b: usize) {
        let (Unit::Rows(space_a, members_a), Unit::Rows(space_b, members_b)) = (&self.units[a], &self.units[b]) else {
            return;
        };
        let Some(space) = space_a.join(*space_b) else { return };
        if members_a.len() + members_b.len() > MAX_MEMBERS || self.reach.depends(a, b) || self.reach.depends(b, a) {
            return;
        }
        let mut members: Vec<NodeId> = members_a.iter().chain(members_b).copied().collect();
        members.sort_unstable();
        if self.buffers(&members) > self.limits.buffers {
            return;
        }
        for member in &members {
            self.unit_of[member.index()] = Some(a);
        }
        self.reach.absorb(a, b);
        self.units[a] = Unit::Rows(space, members);
        self.units[b] = Unit::Absorbed;
    }

    /// An upper bound of the buffers that a kernel over `members`, in ascending order, binds.
    fn buffers(&self, members: &[NodeId]) -> usize {
        if self.limits.buffers == usize::MAX {
            return 0;
        }
        let inside = |id: NodeId| members.binary_search(&id).is_ok();
        let mut loads: Vec<NodeId> = Vec::new();
        let mut stores = 0;
        for &member in members {
            for operand in value_operands(self.graph, member) {
                let source = node_of(self.views[operand.index()].buffer);
                if !inside(source) && !loads.contains(&source) {
                    loads.push(source);
                }
            }
            let used_outside = self.users[member.index()].iter().any(|user| !user.is_some_and(inside));
            stores += usize::from(used_outside);
        }
        loads.len() + stores
    }
}
