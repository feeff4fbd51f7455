//! A planned program in a graph: the shell around the layers, and the walk through a block.

use primer_models::arch::{POSITIONS, TOKENS};
use primer_models::config::NORM_EPS;
use primer_tensor::{DType, Graph, InputKind, NodeId};

use super::value::{Builder, Value};
use super::{Lowered, Plan};
use crate::dna::{Node, NodeKind, ParameterKind, Primitive, Source};
use crate::rejection::Rejection;

type Result<T> = primer_tensor::Result<T>;

/// What the leak test changes in a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Adds the data input [`DISTURBANCE`] to the first block's input.
    pub disturbed: bool,
    /// False leaves out every mask, so that the test can be seen to fail.
    pub masked: bool,
}

/// Name of the data input that the leak test adds to the first block's input, `[batch·n, d]`.
pub(crate) const DISTURBANCE: &str = "disturbance";

/// Adds the whole model.
pub(super) fn model(plan: &Plan, graph: &mut Graph, probe: Probe) -> std::result::Result<Lowered, Rejection> {
    let shell = |error: primer_tensor::Error| Rejection::Shape {
        instruction: Source { subprogram: 0, instruction: 0 },
        op: "shell".into(),
        message: error.to_string(),
    };
    let sizes = plan.sizes;
    let mut parameters = Vec::with_capacity(plan.parameters.len());
    for parameter in &plan.parameters {
        let shape = parameter.shape.as_slice();
        parameters.push(graph.input(&parameter.name, InputKind::State, shape, DType::F32).map_err(shell)?);
    }
    let (tokens, positions, mut block_input) = input(plan, graph, parameters[0]).map_err(shell)?;
    if probe.disturbed {
        let shape = graph.shape(block_input).clone();
        let disturbance = graph.input(DISTURBANCE, InputKind::Data, shape, DType::F32).map_err(shell)?;
        block_input = graph.add(block_input, disturbance).map_err(shell)?;
    }
    let mut hidden = block_input;
    let per_layer = (parameters.len() - 3) / sizes.layers.max(1);
    for layer in 0..sizes.layers {
        let own = &parameters[1 + layer * per_layer..][..per_layer];
        hidden = block(plan, graph, hidden, own, probe.masked)?;
    }
    let [.., scale, shift] = parameters[..] else {
        return Err(Rejection::NoParameter);
    };
    let logits = output(graph, hidden, scale, shift, parameters[0]).map_err(shell)?;
    Ok(Lowered { tokens, positions, block_input, block_output: hidden, logits, parameters })
}

/// √d·E[x] + sinusoid, `[batch·n, d]`.
fn input(plan: &Plan, graph: &mut Graph, embedding: NodeId) -> Result<(NodeId, NodeId, NodeId)> {
    let (batch, n, d) = (plan.sizes.batch, plan.sizes.sequence, plan.width());
    let tokens = graph.input(TOKENS, InputKind::Data, [batch * n], DType::U32)?;
    let positions = graph.input(POSITIONS, InputKind::State, [n, d], DType::F32)?;
    let rows = graph.gather(embedding, tokens)?;
    let scaled = graph.mul_scalar(rows, (d as f64).sqrt())?;
    let scaled = graph.reshape(scaled, [batch, n, d])?;
    let sum = graph.add(scaled, positions)?;
    Ok((tokens, positions, graph.reshape(sum, [batch * n, d])?))
}

/// The final layer norm and h·Eᵀ.
fn output(graph: &mut Graph, h: NodeId, scale: NodeId, shift: NodeId, embedding: NodeId) -> Result<NodeId> {
    let d = graph.shape(h).last() as f64;
    let mean = |graph: &mut Graph, x| {
        let sum = graph.reduce(primer_tensor::ReduceOp::Sum, x, 1)?;
        graph.mul_scalar(sum, 1.0 / d)
    };
    let average = mean(graph, h)?;
    let centred = graph.sub(h, average)?;
    let square = graph.mul(centred, centred)?;
    let variance = mean(graph, square)?;
    let epsilon = graph.constant(NORM_EPS);
    let raised = graph.add(variance, epsilon)?;
    let deviation = graph.unary(primer_tensor::UnaryOp::Sqrt, raised)?;
    let normed = graph.div(centred, deviation)?;
    let scaled = graph.mul(normed, scale)?;
    let shifted = graph.add(scaled, shift)?;
    graph.matmul_t(shifted, false, embedding, true)
}

/// One layer, from and to rows `[batch·n, d]`.
pub(super) fn block(
    plan: &Plan,
    graph: &mut Graph,
    x: NodeId,
    own: &[NodeId],
    masked: bool,
) -> std::result::Result<NodeId, Rejection> {
    let mut builder = Builder { graph, batch: plan.sizes.batch, n: plan.sizes.sequence, masked };
    let mut values: Vec<Value> = Vec::with_capacity(plan.inlined.nodes.len());
    let mut parameters = own.iter().copied();
    for (index, node) in plan.inlined.nodes.iter().enumerate() {
        let parameter = plan.planned.nodes[index].parameter.as_ref().and_then(|_| parameters.next());
        let value = instruction(&mut builder, plan, node, index, x, &values, parameter);
        values.push(value.map_err(|error| shape_error(node, error))?);
    }
    let last = &plan.inlined.nodes[plan.inlined.output];
    let output = values[plan.inlined.output];
    let output = builder.v_of(output).and_then(|v| builder.resize(v, plan.width()));
    output.and_then(|v| builder.rows(v)).map_err(|error| shape_error(last, error))
}

fn shape_error(node: &Node, error: primer_tensor::Error) -> Rejection {
    let op = match node.kind {
        NodeKind::Primitive { primitive, .. } => primitive.name(),
        NodeKind::Input => "input",
        NodeKind::Split(_) | NodeKind::Merge(_) => "branching",
    };
    let instruction = node.source.unwrap_or(Source { subprogram: 0, instruction: 0 });
    Rejection::Shape { instruction, op: op.into(), message: error.to_string() }
}

/// One node of the inlined program.
fn instruction(
    builder: &mut Builder<'_>,
    plan: &Plan,
    node: &Node,
    index: usize,
    x: NodeId,
    values: &[Value],
    parameter: Option<NodeId>,
) -> Result<Value> {
    let branches = node.branches as usize;
    let input = |i: usize| values[node.inputs[i]];
    let (primitive, constant) = match node.kind {
        NodeKind::Input => return Ok(builder.v_rows(x, plan.width(), 1)),
        NodeKind::Split(branch) => return builder.split(input(0), branch as usize),
        NodeKind::Merge(branch) => return builder.merge(input(0), branch as usize, branches),
        NodeKind::Primitive { primitive, constant, .. } => (primitive, constant),
    };
    let planned = &plan.planned.nodes[index];
    match (primitive.parameter(), parameter) {
        (Some(ParameterKind::Scale), Some(vector)) => builder.vector(true, input(0), vector, branches),
        (Some(ParameterKind::Shift), Some(vector)) => builder.vector(false, input(0), vector, branches),
        (Some(ParameterKind::DepthwiseConv(_)), Some(taps)) => builder.depthwise(input(0), taps, branches),
        (Some(ParameterKind::Conv(taps)), Some(weight)) => {
            let super::kinds::Kind::V(out) = planned.kind else { return Ok(input(0)) };
            builder.conv(input(0), weight, taps, out as usize, branches)
        }
        _ => match primitive {
            Primitive::MatMul => builder.product(input(0), input(1)),
            Primitive::TMatMul => builder.transposed_product(input(0), input(1)),
            Primitive::Add | Primitive::Difference | Primitive::Multiply | Primitive::Divide => {
                builder.elementwise(primitive, input(0), input(1))
            }
            _ => builder.unary(primitive, input(0), constant),
        },
    }
}
