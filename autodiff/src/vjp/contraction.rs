//! Rules of the matrix product and of the depthwise convolution's three forms.

use primer_tensor::{Graph, NodeId, Op, Result};

use super::Use;

/// The product's flags take up every transposition, so no permuted copy arises.
pub(super) fn matmul(graph: &mut Graph, transpose_a: bool, transpose_b: bool, at: &Use) -> Result<NodeId> {
    let (a, b, g) = (at.operands[0], at.operands[1], at.cotangent);
    if at.operand == 0 {
        // C = A'·B' gives ∂A' = G·B'ᵀ, and ∂A = ∂A'ᵀ = B'·Gᵀ where A' = Aᵀ.
        if transpose_a { graph.matmul_t(b, transpose_b, g, true) } else { graph.matmul_t(g, false, b, !transpose_b) }
    } else if transpose_b {
        // ∂B' = A'ᵀ·G, and ∂B = Gᵀ·A' where B' = Bᵀ.
        graph.matmul_t(g, true, a, transpose_a)
    } else {
        graph.matmul_t(a, !transpose_a, g, false)
    }
}

/// y, dx and dw are bilinear, and the derivative of each of them is one of the other two.
pub(super) fn depthwise_conv(graph: &mut Graph, op: &Op, at: &Use) -> Result<NodeId> {
    let (a, b, g) = (at.operands[0], at.operands[1], at.cotangent);
    let first = at.operand == 0;
    match op {
        // y[t] = Σⱼ w[j]·x[t−j]
        Op::DepthwiseConv if first => graph.push(Op::DepthwiseConvInputGrad, &[g, b]),
        Op::DepthwiseConv => {
            let width = graph.shape(b)[0];
            graph.push(Op::DepthwiseConvFilterGrad { width }, &[a, g])
        }
        // dx[t] = Σⱼ w[j]·dy[t+j]
        Op::DepthwiseConvInputGrad if first => graph.depthwise_conv(g, b),
        Op::DepthwiseConvInputGrad => {
            let width = graph.shape(b)[0];
            graph.push(Op::DepthwiseConvFilterGrad { width }, &[g, a])
        }
        // dw[j] = Σₜ dy[t]·x[t−j]
        _ if first => graph.push(Op::DepthwiseConvInputGrad, &[b, g]),
        _ => graph.depthwise_conv(a, g),
    }
}
