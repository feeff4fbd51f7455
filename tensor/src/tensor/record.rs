//! Between tensors and graphs: lowering a history to a graph, raising a graph's nodes to tensors.

use std::collections::HashMap;
use std::sync::Arc;

use super::{HostData, Origin, Recorded, Tensor};
use crate::graph::{Graph, InputKind, NodeId, Op};
use crate::{DType, Result};

impl Tensor {
    /// Records one primitive.
    ///
    /// # Panics
    /// If the operands break the primitive's rule, naming it and the shapes.
    #[track_caller]
    pub(crate) fn record(op: Op, operands: Vec<Tensor>) -> Self {
        match Self::try_record(op, operands) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }

    fn try_record(op: Op, operands: Vec<Tensor>) -> Result<Self> {
        let types: Vec<_> = operands.iter().map(|t| (t.shape().clone(), t.dtype())).collect();
        let (shape, dtype) = op.infer(&types)?;
        Ok(Self::new(Origin::Op { op, operands }, shape, dtype))
    }

    /// The graph of the roots' whole history, and each root's node. Leaves that carry data get the names that
    /// [`Tensor::bound_data`] lists.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) where two different named leaves share a name.
    pub fn lower(roots: &[Tensor]) -> Result<(Graph, Vec<NodeId>)> {
        let mut graph = Graph::new();
        let mut ids: HashMap<*const Recorded, NodeId> = HashMap::new();
        let mut bound = 0;
        for tensor in Self::history(roots) {
            let recorded = &*tensor.0;
            let id = match &recorded.origin {
                Origin::Named { name, kind } => match graph.input_named(name) {
                    Some(info)
                        if info.kind == *kind
                            && graph.shape(info.node) == &recorded.shape
                            && graph.node(info.node).dtype == recorded.dtype =>
                    {
                        info.node
                    }
                    _ => graph.input(name, *kind, &recorded.shape, recorded.dtype)?,
                },
                Origin::Bound(_) => {
                    bound += 1;
                    graph.input(&bound_name(bound - 1), InputKind::Data, &recorded.shape, recorded.dtype)?
                }
                Origin::Op { op, operands } => {
                    let operands: Vec<NodeId> = operands.iter().map(|o| ids[&Arc::as_ptr(&o.0)]).collect();
                    graph.push(op.clone(), &operands)?
                }
            };
            ids.insert(Arc::as_ptr(&tensor.0), id);
        }
        let roots = roots.iter().map(|root| ids[&Arc::as_ptr(&root.0)]).collect();
        Ok((graph, roots))
    }

    /// The data of every leaf that carries its own, by the name it gets in [`Tensor::lower`] of the same roots.
    pub fn bound_data(roots: &[Tensor]) -> Vec<(String, Arc<HostData>)> {
        let mut data = Vec::new();
        for tensor in Self::history(roots) {
            if let Origin::Bound(host) = &tensor.0.origin {
                data.push((bound_name(data.len()), host.clone()));
            }
        }
        data
    }

    /// Tensors for all nodes of a graph. `leaves` gives the tensor of an input by its name; other inputs become named
    /// ones.
    pub fn raise(graph: &Graph, leaves: &HashMap<String, Tensor>) -> Vec<Tensor> {
        let mut tensors: Vec<Tensor> = Vec::with_capacity(graph.nodes().len());
        for node in graph.nodes() {
            let tensor = match &node.op {
                Op::Input(index) => {
                    let info = &graph.inputs()[*index];
                    leaves.get(&info.name).cloned().unwrap_or_else(|| {
                        let origin = Origin::Named { name: info.name.clone(), kind: info.kind };
                        Self::new(origin, node.shape.clone(), node.dtype)
                    })
                }
                op => {
                    let operands = node.operands.iter().map(|o| tensors[o.index()].clone()).collect();
                    Self::new(Origin::Op { op: op.clone(), operands }, node.shape.clone(), node.dtype)
                }
            };
            tensors.push(tensor);
        }
        tensors
    }

    /// The leaves of the roots' history by the names they get in [`Tensor::lower`] of the same roots, for
    /// [`Tensor::raise`].
    pub fn leaves(roots: &[Tensor]) -> HashMap<String, Tensor> {
        let mut leaves = HashMap::new();
        let mut bound = 0;
        for tensor in Self::history(roots) {
            match &tensor.0.origin {
                Origin::Named { name, .. } => {
                    leaves.insert(name.clone(), tensor.clone());
                }
                Origin::Bound(_) => {
                    leaves.insert(bound_name(bound), tensor.clone());
                    bound += 1;
                }
                Origin::Op { .. } => {}
            }
        }
        leaves
    }

    /// All tensors that the roots depend on, each once, operands first. Iterative.
    fn history(roots: &[Tensor]) -> Vec<Tensor> {
        let mut order = Vec::new();
        let mut done: HashMap<*const Recorded, bool> = HashMap::new();
        let mut stack: Vec<(Tensor, bool)> = roots.iter().rev().map(|t| (t.clone(), false)).collect();
        while let Some((tensor, operands_done)) = stack.pop() {
            let key = Arc::as_ptr(&tensor.0);
            if operands_done {
                if done.insert(key, true) != Some(true) {
                    order.push(tensor);
                }
                continue;
            }
            if done.contains_key(&key) {
                continue;
            }
            stack.push((tensor.clone(), true));
            if let Origin::Op { operands, .. } = &tensor.0.origin {
                for operand in operands.iter().rev() {
                    if done.get(&Arc::as_ptr(&operand.0)) != Some(&true) {
                        stack.push((operand.clone(), false));
                    }
                }
            }
        }
        order
    }

    /// Converts a comparison's result or indices to f32.
    ///
    /// # Panics
    /// Never: every type converts.
    pub fn to_f32(&self) -> Self {
        if self.dtype() == DType::F32 { self.clone() } else { Self::record(Op::Cast(DType::F32), vec![self.clone()]) }
    }

    /// Converts to indices: f32 towards zero and clamped to what u32 holds, NaN to 0.
    ///
    /// # Panics
    /// Never: every type converts.
    pub fn to_u32(&self) -> Self {
        if self.dtype() == DType::U32 { self.clone() } else { Self::record(Op::Cast(DType::U32), vec![self.clone()]) }
    }
}

fn bound_name(index: usize) -> String {
    format!("#{index}")
}
