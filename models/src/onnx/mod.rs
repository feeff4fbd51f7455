//! A program as an ONNX model (opset 18), for other runtimes.
//!
//! Every primitive of a forward pass is one or a few standard operators; parameters are initializers. Shapes are fixed,
//! as everywhere here: a model is exported for one batch size and one length.

mod nodes;
mod proto;

use std::collections::HashMap;

use primer_tensor::graph::{InputKind, Node, NodeId, Op};
use primer_tensor::{DType, Program};

use crate::error::{Error, Result};
use nodes::Nodes;
use proto::Message;

/// Version of the operators that are used.
const OPSET: i64 = 18;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 8;

/// The numbers of `TensorProto.DataType`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Float = 1,
    Int64 = 7,
    Bool = 9,
}

impl Element {
    /// Indices are signed in ONNX.
    fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Element::Float,
            DType::U32 => Element::Int64,
            DType::Bool => Element::Bool,
        }
    }
}

/// The ONNX file of a program with one output: its data inputs are the model's inputs, its state entries, given by
/// `state`, are stored in it, and its output is called `output`, of shape `shape` with as many elements as the
/// program's.
///
/// # Errors
/// [`Error::Onnx`] for a primitive that only training uses, or a state entry that `state` doesn't know.
pub fn model(
    program: &Program,
    state: &dyn Fn(&str) -> Option<Vec<f32>>,
    output: &str,
    shape: &[usize],
) -> Result<Vec<u8>> {
    let graph = &program.graph;
    let result = *program.outputs.first().ok_or_else(|| Error::Onnx { reason: "the program has no output".into() })?;
    let mut nodes = Nodes::default();
    let mut names: HashMap<NodeId, String> = HashMap::new();
    let mut inputs = Vec::new();
    for id in live(graph, result) {
        let node = graph.node(id);
        let operands: Vec<&str> = node.operands.iter().map(|operand| names[operand].as_str()).collect();
        let name = match &node.op {
            Op::Input(index) => {
                let info = &graph.inputs()[*index];
                match info.kind {
                    InputKind::Data => inputs.push(value_info(&info.name, node.dtype, &node.shape)),
                    InputKind::State => {
                        let values = state(&info.name)
                            .ok_or_else(|| Error::Onnx { reason: format!("there are no values for {}", info.name) })?;
                        nodes.floats(&info.name, &node.shape, &values);
                    }
                }
                info.name.clone()
            }
            _ => {
                let shapes: Vec<&Node> = node.operands.iter().map(|operand| graph.node(*operand)).collect();
                nodes.primitive(node, &operands, &shapes)?
            }
        };
        names.insert(id, name);
    }
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    nodes.reshape_to(&names[&result], &dims, output);
    let (nodes, initializers) = nodes.finish();
    let graph = Message::default()
        .messages(1, nodes)
        .text(2, "primer")
        .messages(5, initializers)
        .messages(11, inputs)
        .message(12, value_info(output, DType::F32, shape));
    let opset = Message::default().text(1, "").int(2, OPSET);
    let model = Message::default().int(1, IR_VERSION).text(2, "primer").message(7, graph).message(8, opset).finish();
    // Readers of protobuf count bytes in 31 bits.
    if i32::try_from(model.len()).is_err() {
        let reason =
            format!("the file would take {} bytes, and one file of ONNX holds 2,147,483,647 at most", model.len());
        return Err(Error::Onnx { reason });
    }
    Ok(model)
}

/// The nodes that the output needs, operands first.
fn live(graph: &primer_tensor::Graph, output: NodeId) -> Vec<NodeId> {
    let mut needed = vec![false; output.index() + 1];
    needed[output.index()] = true;
    let ids: Vec<NodeId> = graph.ids().take(output.index() + 1).collect();
    for &id in ids.iter().rev() {
        if needed[id.index()] {
            for operand in &graph.node(id).operands {
                needed[operand.index()] = true;
            }
        }
    }
    ids.into_iter().filter(|id| needed[id.index()]).collect()
}

fn value_info(name: &str, dtype: DType, shape: &[usize]) -> Message {
    let dim = |&dim: &usize| Message::default().int(1, dim as i64);
    let shape = Message::default().messages(1, shape.iter().map(dim));
    let tensor = Message::default().int(1, Element::of(dtype) as i64).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}
