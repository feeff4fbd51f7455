//! What a device compiles: a graph with its outputs and its state updates.

use crate::graph::{Graph, InputInfo, InputKind, NodeId};
use crate::{DType, Error, Result, Shape, Tensor};

/// A graph, the values that each run gives back, and the state entries that each run replaces.
#[derive(Clone, Debug)]
pub struct Program {
    /// The computation.
    pub graph: Graph,
    /// The values read back after a run, f32.
    pub outputs: Vec<NodeId>,
    /// `(state input, new value)`: after a run the state holds the new value. All reads see the old one.
    pub updates: Vec<(NodeId, NodeId)>,
}

impl Program {
    /// A program from its parts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an output that isn't f32, an update of something that is no state, or a new value of
    /// another shape.
    pub fn new(graph: Graph, outputs: Vec<NodeId>, updates: Vec<(NodeId, NodeId)>) -> Result<Self> {
        let invalid = |id: NodeId, reason: &str| {
            Err(Error::Invalid { node: id.index(), op: graph.node(id).op.name(), reason: reason.into() })
        };
        for &output in &outputs {
            if graph.dtype(output) != DType::F32 {
                return invalid(output, "an output must be f32");
            }
        }
        for (i, &(state, value)) in updates.iter().enumerate() {
            let is_state = graph.inputs().iter().any(|input| input.node == state && input.kind == InputKind::State);
            if !is_state || updates[..i].iter().any(|(other, _)| *other == state) {
                return invalid(state, "only a state can be updated, and once");
            }
            if graph.shape(state) != graph.shape(value) || graph.dtype(value) != DType::F32 {
                return invalid(value, "the new value has another type than the state");
            }
        }
        Ok(Self { graph, outputs, updates })
    }

    /// Records the tensors' history as a program.
    ///
    /// # Errors
    /// As [`Program::new`]; also where two different leaves share a name.
    pub fn trace(outputs: &[Tensor], updates: &[(Tensor, Tensor)]) -> Result<Self> {
        let roots: Vec<Tensor> =
            outputs.iter().cloned().chain(updates.iter().flat_map(|(s, v)| [s.clone(), v.clone()])).collect();
        let (graph, ids) = Tensor::lower(&roots)?;
        let (outs, rest) = ids.split_at(outputs.len());
        let updates = rest.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Self::new(graph, outs.to_vec(), updates)
    }

    /// Every node that must be computed: the outputs and the new values.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.outputs.iter().copied().chain(self.updates.iter().map(|(_, value)| *value))
    }

    /// The inputs of one kind, in order.
    pub fn inputs(&self, kind: InputKind) -> impl Iterator<Item = &InputInfo> {
        self.graph.inputs().iter().filter(move |input| input.kind == kind)
    }

    /// Name and shape of every state entry that the program reads or writes.
    pub fn state(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.inputs(InputKind::State).map(|input| (input.name.as_str(), self.graph.shape(input.node)))
    }
}
