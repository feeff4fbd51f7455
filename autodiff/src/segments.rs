//! Which forward values the backward pass computes again instead of keeping them: activation checkpointing (Chen et al.
//! 2016, "Training Deep Nets with Sublinear Memory Cost"; `jax.checkpoint`).

use primer_tensor::{Graph, NodeId, Op, Result};

/// The forward nodes in segments. One begins at each checkpoint, and a node belongs to that of the latest checkpoint it
/// depends on; without one it belongs to none.
pub(crate) struct Segments {
    /// In the order of the graph.
    checkpoints: Vec<NodeId>,
    of: Vec<Option<usize>>,
    /// What the backward pass reads in the place of each node.
    again: Vec<NodeId>,
}

impl Segments {
    /// Of the nodes up to the loss.
    pub(crate) fn new(graph: &Graph, loss: NodeId, checkpoints: &[NodeId]) -> Self {
        let mut checkpoints: Vec<NodeId> = checkpoints.iter().copied().filter(|&id| id <= loss).collect();
        checkpoints.sort_unstable();
        checkpoints.dedup();
        let again: Vec<NodeId> = graph.ids().take(loss.index() + 1).collect();
        let mut segments = Self { checkpoints, of: vec![None; again.len()], again };
        for id in graph.ids().take(segments.of.len()) {
            segments.of[id.index()] = graph.node(id).operands.iter().filter_map(|&x| segments.read_in(x)).max();
        }
        segments.place_draws(graph, loss);
        segments
    }

    /// A random draw, and what is computed from draws alone, belongs to the segment of its users if that is one: it
    /// depends on no checkpoint, yet is as large as what does.
    fn place_draws(&mut self, graph: &Graph, loss: NodeId) {
        let mut drawn = vec![false; self.of.len()];
        for id in graph.ids().take(drawn.len()) {
            let node = graph.node(id);
            let is_drawn = matches!(node.op, Op::Random { .. }) || node.operands.iter().any(|x| drawn[x.index()]);
            drawn[id.index()] = is_drawn && self.of[id.index()].is_none();
        }
        let live = graph.live([loss]);
        // For each node the segments of its users, from the first to the last.
        let mut users: Vec<Option<(Option<usize>, Option<usize>)>> = vec![None; drawn.len()];
        for id in graph.ids().rev().filter(|id| live[id.index()]) {
            if let Some((first, last)) = users[id.index()]
                && drawn[id.index()]
                && first == last
            {
                self.of[id.index()] = first;
            }
            let of = self.of[id.index()];
            for x in &graph.node(id).operands {
                let (first, last) = users[x.index()].unwrap_or((of, of));
                users[x.index()] = Some((first.min(of), last.max(of)));
            }
        }
    }

    /// The segment of a node.
    pub(crate) fn of(&self, id: NodeId) -> Option<usize> {
        self.of[id.index()]
    }

    /// The earliest segment that a node which reads this one can belong to.
    fn read_in(&self, id: NodeId) -> Option<usize> {
        self.checkpoints.binary_search(&id).ok().or(self.of(id))
    }

    /// The nodes, users before operands: later segments first, within one in the reverse order of the graph.
    pub(crate) fn backwards(&self, graph: &Graph) -> Vec<NodeId> {
        let mut order: Vec<NodeId> = graph.ids().take(self.of.len()).collect();
        order.sort_by_key(|&id| std::cmp::Reverse((self.of(id), id)));
        order
    }

    /// What the backward pass reads in the place of a node.
    pub(crate) fn again(&self, id: NodeId) -> NodeId {
        self.again[id.index()]
    }

    /// Records the nodes of a segment once more, as computed from its checkpoint when the cotangent of the next one is
    /// known. All that depends on the next checkpoint has been visited by then. Nothing is recorded for the last
    /// segment, whose values the backward pass needs at once.
    pub(crate) fn record_again(
        &mut self,
        graph: &mut Graph,
        segment: Option<usize>,
        cotangents: &[Option<NodeId>],
    ) -> Result<()> {
        let Some(segment) = segment else { return Ok(()) };
        let next = self.checkpoints.get(segment + 1);
        let Some(due) = next.and_then(|next| cotangents[next.index()]) else { return Ok(()) };
        for id in graph.ids().take(self.of.len()) {
            if self.of(id) != Some(segment) {
                continue;
            }
            let node = graph.node(id).clone();
            let draws = matches!(node.op, Op::Random { .. });
            let mut operands = node.operands;
            for x in &mut operands {
                *x = if draws || *x == self.checkpoints[segment] { graph.barrier(*x, due)? } else { self.again(*x) };
            }
            self.again[id.index()] = graph.push(node.op, &operands)?;
        }
        Ok(())
    }
}
