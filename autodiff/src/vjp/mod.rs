//! One gradient rule a primitive, itself made of primitives.
//!
//! A rule gives the vector-Jacobian product: for y = f(x₀, x₁, …) and a cotangent ḡ = ∂L/∂y, the contribution of this
//! use to each ∂L/∂xᵢ. All rules are closed under themselves: a gradient can be differentiated again.
//!
//! Conventions, followed by every rule:
//!
//! | where | gradient |
//! |---|---|
//! | `abs`, `sign` at 0 | 0 |
//! | `sqrt`, `log`, `recip` at 0 | 0, whatever the cotangent |
//! | `max(a, b)`, `min(a, b)` at a = b | all to b, so that `max(x, 0)` gives x nothing at 0 |
//! | `reduce_max`, `reduce_min` at ties | shared evenly among the tied elements |
//! | `reduce_prod`, `linrec` at zeros | exact: no division |
//! | `select` | the side not taken gets 0, whatever the cotangent |
//! | `barrier` | the second operand gets none |
//! | `stop_gradient`, comparisons, indices, random numbers, casts between types | none |

mod contraction;
mod elementwise;
mod layout;
mod reduction;

use primer_tensor::{DType, Graph, NodeId, Op, Result};

/// The gradients of all operands of `node`, given the cotangent of its result. None where an operand has no gradient.
///
/// # Errors
/// [`primer_tensor::Error::Shape`] where the cotangent hasn't the node's shape.
pub fn vjp(graph: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Option<NodeId>>> {
    (0..graph.node(node).operands.len()).map(|operand| vjp_operand(graph, node, operand, cotangent)).collect()
}

/// The gradient of one operand of `node`; see [`vjp`]. Work that several operands share is recorded once.
///
/// # Errors
/// As [`vjp`].
pub fn vjp_operand(graph: &mut Graph, node: NodeId, operand: usize, cotangent: NodeId) -> Result<Option<NodeId>> {
    let x = graph.node(node).operands[operand];
    let op = graph.node(node).op.clone();
    if !passes_gradient(&op, operand) || graph.dtype(x) != DType::F32 {
        return Ok(None);
    }
    let at = Use { node, operand, cotangent, operands: graph.node(node).operands.clone() };
    let gradient = match &op {
        // No gradient, as `passes_gradient` said.
        Op::Input(_)
        | Op::Constant(..)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::IsFinite
        | Op::StopGradient
        | Op::Compare(_) => {
            return Ok(None);
        }
        Op::Cast(_) | Op::Barrier => cotangent,
        Op::Unary(op) => elementwise::unary(graph, *op, &at)?,
        Op::Binary(op) => elementwise::binary(graph, *op, &at)?,
        Op::Select => elementwise::select(graph, &at)?,
        Op::Reduce { op, axis } => reduction::reduce(graph, *op, *axis, &at)?,
        Op::LinRec { axis, reverse, start } => reduction::linrec(graph, *axis, *reverse, start.get(), &at)?,
        Op::Reshape(_)
        | Op::Permute(_)
        | Op::Broadcast(_)
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Reverse { .. } => layout::vjp(graph, &op, &at)?,
        Op::MatMul { transpose_a, transpose_b } => contraction::matmul(graph, *transpose_a, *transpose_b, &at)?,
        Op::DepthwiseConv | Op::DepthwiseConvInputGrad | Op::DepthwiseConvFilterGrad { .. } => {
            contraction::depthwise_conv(graph, &op, &at)?
        }
        Op::Gather => {
            let rows = graph.shape(x)[0];
            graph.push(Op::ScatterAdd { rows }, &[at.operands[1], cotangent])?
        }
        Op::ScatterAdd { .. } => graph.gather(cotangent, at.operands[0])?,
    };
    Ok(Some(gradient))
}

/// Whether a primitive passes a gradient to any operand; that of `sign` is 0 everywhere and is never computed.
pub fn has_gradient(op: &Op) -> bool {
    // No primitive has more operands in different roles than `select`.
    (0..3).any(|operand| passes_gradient(op, operand))
}

/// Whether an f32 operand at that position has a gradient at all.
pub(crate) fn passes_gradient(op: &Op, operand: usize) -> bool {
    match op {
        Op::Input(_)
        | Op::Constant(..)
        | Op::Iota { .. }
        | Op::Random { .. }
        | Op::IsFinite
        | Op::StopGradient
        | Op::Compare(_) => false,
        Op::Unary(op) => *op != primer_tensor::UnaryOp::Sign,
        Op::Cast(to) => *to == DType::F32,
        Op::Barrier => operand == 0,
        Op::Select => operand > 0,
        _ => true,
    }
}

/// One operand's use in a node, and the cotangent that arrives at the node.
struct Use {
    node: NodeId,
    operand: usize,
    cotangent: NodeId,
    operands: Vec<NodeId>,
}

impl Use {
    /// The operand that is differentiated by.
    fn x(&self) -> NodeId {
        self.operands[self.operand]
    }
}
