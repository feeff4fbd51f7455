//! The one kind of program: an arena of typed primitives.
//!
//! Invariants, held by [`Graph::push`] and checked again by [`Graph::verify`]:
//! operands precede their users; every node's type follows its primitive's rule; pure nodes are hash-consed, so two
//! equal nodes are one; inputs carry an identity and never merge.

mod builder;
mod describe;
mod display;
mod infer;
mod op;
mod verify;

use std::collections::HashMap;

pub(crate) use builder::broadcast_shape;
pub use infer::Typed;
pub use op::{BinaryOp, CompareOp, InputKind, Op, ReduceOp, Scalar, UnaryOp};

use crate::{DType, Error, Result, Shape};

/// A node of one [`Graph`], by its position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The node's position in the arena.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("a graph holds fewer than 2^32 nodes"))
    }
}

impl std::fmt::Debug for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// One primitive applied to earlier nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    /// The primitive.
    pub op: Op,
    /// Its operands, all earlier in the arena.
    pub operands: Vec<NodeId>,
    /// Shape of the result.
    pub shape: Shape,
    /// Element type of the result.
    pub dtype: DType,
}

/// What the graph knows of one input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputInfo {
    /// Unique in the graph; how data and state are bound.
    pub name: String,
    /// Data of a run, or state between runs.
    pub kind: InputKind,
    /// Its node.
    pub node: NodeId,
}

/// A program of primitives in topological order.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    inputs: Vec<InputInfo>,
    interned: HashMap<(Op, Vec<NodeId>), NodeId>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// All nodes; [`NodeId::index`] indexes them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All inputs in the order of their creation.
    pub fn inputs(&self) -> &[InputInfo] {
        &self.inputs
    }

    /// The ids of all nodes, operands before users.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId::new)
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Shape of a node.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.node(id).shape
    }

    /// Element type of a node.
    pub fn dtype(&self, id: NodeId) -> DType {
        self.node(id).dtype
    }

    /// The input of that name.
    pub fn input_named(&self, name: &str) -> Option<&InputInfo> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// Adds an input.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name already taken, a `Bool`, a state that isn't f32, or more elements than can be
    /// addressed.
    pub fn input(&mut self, name: &str, kind: InputKind, shape: impl Into<Shape>, dtype: DType) -> Result<NodeId> {
        let id = NodeId::new(self.nodes.len());
        let invalid = |reason: String| Err(Error::Invalid { node: id.index(), op: "input", reason });
        if self.input_named(name).is_some() {
            return invalid(format!("the name {name:?} is taken"));
        }
        if dtype == DType::Bool || (kind == InputKind::State && dtype != DType::F32) {
            return invalid(format!("{name:?} cannot be {dtype}"));
        }
        let (op, shape) = (Op::Input(self.inputs.len()), shape.into());
        if !shape.is_addressable() {
            return invalid(format!("{name:?} of shape {shape} has more elements than can be addressed"));
        }
        self.inputs.push(InputInfo { name: name.to_owned(), kind, node: id });
        self.nodes.push(Node { op, operands: Vec::new(), shape, dtype });
        Ok(id)
    }

    /// Adds a primitive, or finds the equal one that is already there.
    ///
    /// # Errors
    /// What [`Op::infer`] says of the operands.
    pub fn push(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId> {
        let key = (op, operands.to_vec());
        if let Some(&id) = self.interned.get(&key) {
            return Ok(id);
        }
        let types: Vec<Typed> = operands.iter().map(|&id| (self.shape(id).clone(), self.dtype(id))).collect();
        let (shape, dtype) = key.0.infer(&types)?;
        let id = NodeId::new(self.nodes.len());
        self.nodes.push(Node { op: key.0.clone(), operands: key.1.clone(), shape, dtype });
        self.interned.insert(key, id);
        Ok(id)
    }

    /// For each node, whether one of `roots` depends on it.
    pub fn live(&self, roots: impl IntoIterator<Item = NodeId>) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for root in roots {
            live[root.index()] = true;
        }
        for id in self.ids().rev() {
            if live[id.index()] {
                for operand in &self.node(id).operands {
                    live[operand.index()] = true;
                }
            }
        }
        live
    }

    /// Appends a copy of `other`, merging equal nodes, and returns for each of its nodes the node here.
    /// Inputs are matched by name where this graph has one of the same name, kind and type.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an input of that name differs in kind or type.
    pub fn append(&mut self, other: &Graph) -> Result<Vec<NodeId>> {
        let mut map = Vec::with_capacity(other.nodes.len());
        for node in &other.nodes {
            let id = match &node.op {
                Op::Input(index) => {
                    let info = &other.inputs[*index];
                    match self.input_named(&info.name) {
                        Some(mine) => {
                            let found = self.node(mine.node);
                            if mine.kind != info.kind || found.shape != node.shape || found.dtype != node.dtype {
                                let reason = format!("{:?} has another kind or type", info.name);
                                return Err(Error::Invalid { node: mine.node.index(), op: "input", reason });
                            }
                            mine.node
                        }
                        None => self.input(&info.name, info.kind, &node.shape, node.dtype)?,
                    }
                }
                op => {
                    let operands: Vec<NodeId> = node.operands.iter().map(|o| map[o.index()]).collect();
                    self.push(op.clone(), &operands)?
                }
            };
            map.push(id);
        }
        Ok(map)
    }
}
