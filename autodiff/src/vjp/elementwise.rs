//! Rules of the elementwise functions.

use primer_tensor::{BinaryOp, CompareOp, Graph, NodeId, Result, UnaryOp};

use super::Use;

pub(super) fn unary(graph: &mut Graph, op: UnaryOp, at: &Use) -> Result<NodeId> {
    let (x, y, g) = (at.x(), at.node, at.cotangent);
    match op {
        UnaryOp::Neg => graph.neg(g),
        // |x|' = sign x
        UnaryOp::Abs => {
            let sign = graph.unary(UnaryOp::Sign, x)?;
            graph.mul(g, sign)
        }
        // A step has no slope; `passes_gradient` keeps callers away.
        UnaryOp::Sign => graph.mul_scalar(g, 0.0),
        // √x' = 1/(2√x)
        UnaryOp::Sqrt => {
            let slope = graph.unary(UnaryOp::Recip, y)?;
            let slope = graph.mul_scalar(slope, 0.5)?;
            let product = graph.mul(g, slope)?;
            zero_where_zero(graph, x, product)
        }
        UnaryOp::Exp => graph.mul(g, y),
        // ln x' = 1/x
        UnaryOp::Log => {
            let slope = graph.unary(UnaryOp::Recip, x)?;
            let product = graph.mul(g, slope)?;
            zero_where_zero(graph, x, product)
        }
        UnaryOp::Sin => {
            let slope = graph.unary(UnaryOp::Cos, x)?;
            graph.mul(g, slope)
        }
        UnaryOp::Cos => {
            let sin = graph.unary(UnaryOp::Sin, x)?;
            let slope = graph.neg(sin)?;
            graph.mul(g, slope)
        }
        // tanh x' = 1 − tanh² x
        UnaryOp::Tanh => {
            let square = graph.mul(y, y)?;
            let one = graph.constant(1.0);
            let slope = graph.sub(one, square)?;
            graph.mul(g, slope)
        }
        // σ' = σ(1 − σ)
        UnaryOp::Sigmoid => {
            let one = graph.constant(1.0);
            let rest = graph.sub(one, y)?;
            let slope = graph.mul(y, rest)?;
            graph.mul(g, slope)
        }
        // (1/x)' = −(1/x)²; multiplied one after the other, since the square may overflow where the product doesn't
        UnaryOp::Recip => {
            let once = graph.mul(g, y)?;
            let twice = graph.mul(once, y)?;
            let product = graph.neg(twice)?;
            zero_where_zero(graph, x, product)
        }
    }
}

/// `gradient`, and 0 at the singular point x = 0, even where the cotangent is infinite.
fn zero_where_zero(graph: &mut Graph, x: NodeId, gradient: NodeId) -> Result<NodeId> {
    let zero = graph.constant(0.0);
    let singular = graph.compare(CompareOp::Equal, x, zero)?;
    graph.select(singular, zero, gradient)
}

pub(super) fn binary(graph: &mut Graph, op: BinaryOp, at: &Use) -> Result<NodeId> {
    let (a, b, g) = (at.operands[0], at.operands[1], at.cotangent);
    let first = at.operand == 0;
    match (op, first) {
        (BinaryOp::Add, _) | (BinaryOp::Sub, true) => Ok(g),
        (BinaryOp::Sub, false) => graph.neg(g),
        (BinaryOp::Mul, true) => graph.mul(g, b),
        (BinaryOp::Mul, false) => graph.mul(g, a),
        (BinaryOp::Div, true) => graph.div(g, b),
        // (a/b)' = −(a/b)/b
        (BinaryOp::Div, false) => {
            let scaled = graph.div(g, b)?;
            let product = graph.mul(scaled, at.node)?;
            graph.neg(product)
        }
        (BinaryOp::Max, _) => {
            let wins = graph.compare(CompareOp::Less, b, a)?;
            route(graph, wins, g, first)
        }
        (BinaryOp::Min, _) => {
            let wins = graph.compare(CompareOp::Less, a, b)?;
            route(graph, wins, g, first)
        }
    }
}

pub(super) fn select(graph: &mut Graph, at: &Use) -> Result<NodeId> {
    route(graph, at.operands[0], at.cotangent, at.operand == 1)
}

/// The cotangent where `cond` is `side`, 0 elsewhere.
fn route(graph: &mut Graph, cond: NodeId, g: NodeId, side: bool) -> Result<NodeId> {
    let zero = graph.constant(0.0);
    if side { graph.select(cond, g, zero) } else { graph.select(cond, zero, g) }
}
