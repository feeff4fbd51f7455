//! Every invariant of a graph, checked anew.

use std::collections::HashSet;

use super::{Graph, Op, Typed};
use crate::{DType, Error, Result};

impl Graph {
    /// Checks every invariant of the graph. Runs after every pass in debug builds.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first node that breaks one.
    pub fn verify(&self) -> Result<()> {
        let mut seen = HashSet::new();
        for id in self.ids() {
            let node = self.node(id);
            let invalid = |reason: String| Err(Error::Invalid { node: id.index(), op: node.op.name(), reason });
            if let Some(late) = node.operands.iter().find(|operand| **operand >= id) {
                return invalid(format!("operand {late:?} does not precede it"));
            }
            if let Op::Input(index) = node.op {
                match self.inputs().get(index) {
                    Some(info) if info.node == id => {}
                    _ => return invalid(format!("input {index} is not in the input table")),
                }
                if node.dtype == DType::Bool {
                    return invalid("bool in a buffer".into());
                }
                continue;
            }
            let types: Vec<Typed> = node.operands.iter().map(|&o| (self.shape(o).clone(), self.dtype(o))).collect();
            let (shape, dtype) = node.op.infer(&types)?;
            if shape != node.shape || dtype != node.dtype {
                return invalid(format!("stored as {dtype}{shape}, but is {}{}", node.dtype, node.shape));
            }
            if !seen.insert((&node.op, &node.operands)) {
                return invalid("an equal node exists already".into());
            }
        }
        let names: HashSet<&str> = self.inputs().iter().map(|input| input.name.as_str()).collect();
        if names.len() != self.inputs().len() {
            return Err(Error::Invalid { node: 0, op: "input", reason: "two inputs share a name".into() });
        }
        Ok(())
    }
}
