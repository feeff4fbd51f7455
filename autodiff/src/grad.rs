//! The gradient of a program as a program.

use primer_tensor::{DType, Graph, NodeId, Tensor};

use crate::segments::Segments;
use crate::vjp::{passes_gradient, vjp_operand};
use crate::{Error, Result};

/// Adds to `graph` the gradient of `loss` with respect to each node of `wrt`, and returns its nodes, each of the shape
/// of its `wrt`. A `wrt` may be any f32 node, not only an input; one that the loss does not depend on gets zeros. Only
/// nodes on a path from `wrt` to `loss` are visited, and contributions are added in the graph's own order, so equal
/// graphs give equal gradients.
///
/// # Errors
/// [`Error::NotScalar`] where the loss holds more or less than one element, [`Error::NotFloat`] where it or a `wrt`
/// isn't f32.
pub fn grad_graph(graph: &mut Graph, loss: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>> {
    checkpointed_grad_graph(graph, loss, wrt, &[])
}

/// [`grad_graph`] with less to keep from the forward to the backward pass: what lies between two neighbours of
/// `checkpoints` is computed again, from the first of them, when the gradient of the second is known
/// ([`Op::Barrier`](primer_tensor::Op::Barrier) puts it there). What follows the last checkpoint, and what depends on
/// none, is kept as ever. A draw of random numbers is drawn again, the same.
///
/// The gradients are the same numbers added in the same order, unless a value of no segment (a parameter) is used in
/// several and the graph has their nodes in another order than their checkpoints.
///
/// # Errors
/// As [`grad_graph`].
pub fn checkpointed_grad_graph(
    graph: &mut Graph,
    loss: NodeId,
    wrt: &[NodeId],
    checkpoints: &[NodeId],
) -> Result<Vec<NodeId>> {
    if graph.shape(loss).numel() != 1 {
        return Err(Error::NotScalar { shape: graph.shape(loss).clone() });
    }
    float(graph, loss, "the loss")?;
    for &x in wrt {
        float(graph, x, "what the loss is differentiated by")?;
    }

    let mut cotangents = vec![None; loss.index() + 1];
    let on_path = paths(graph, loss, wrt);
    if on_path[loss.index()] {
        cotangents[loss.index()] = Some(graph.full(1.0, graph.shape(loss).clone())?);
    }
    let mut segments = Segments::new(graph, loss, checkpoints);
    let mut segment = None;
    for id in segments.backwards(graph) {
        if segments.of(id) != segment {
            segment = segments.of(id);
            segments.record_again(graph, segment, &cotangents)?;
        }
        let Some(cotangent) = cotangents[id.index()] else { continue };
        for operand in 0..graph.node(id).operands.len() {
            let x = graph.node(id).operands[operand];
            if !on_path[x.index()] {
                continue;
            }
            if let Some(gradient) = vjp_operand(graph, segments.again(id), operand, cotangent)? {
                cotangents[x.index()] = Some(match cotangents[x.index()] {
                    Some(sum) => graph.add(sum, gradient)?,
                    None => gradient,
                });
            }
        }
    }

    let mut gradients = Vec::with_capacity(wrt.len());
    for &x in wrt {
        gradients.push(match cotangents.get(x.index()).copied().flatten() {
            Some(gradient) => gradient,
            None => graph.full(0.0, graph.shape(x).clone())?,
        });
    }
    Ok(gradients)
}

/// The gradient of a recorded loss with respect to tensors of its history, leaves or not.
///
/// ```
/// use primer_autodiff::grad;
/// use primer_tensor::{Device, Tensor};
/// let x = Tensor::from_slice(&[3f32], [1])?;
/// let [dx] = grad(&x.square().sum(), [&x])?;
/// assert_eq!(dx.to_vec(&Device::cpu())?, [6.]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`grad_graph`]; [`primer_tensor::Error::Invalid`] where two different leaves share a name.
pub fn grad<const N: usize>(loss: &Tensor, wrt: [&Tensor; N]) -> Result<[Tensor; N]> {
    let gradients = grad_tensors(loss, &wrt.map(Clone::clone))?;
    let mut gradients = gradients.into_iter();
    Ok(std::array::from_fn(|_| gradients.next().expect("one gradient a tensor")))
}

/// [`grad`] for a number of tensors that isn't known in advance: the parameters of a model.
///
/// # Errors
/// As [`grad`].
pub fn grad_tensors(loss: &Tensor, wrt: &[Tensor]) -> Result<Vec<Tensor>> {
    checkpointed_grad_tensors(loss, wrt, &[])
}

/// [`checkpointed_grad_graph`] for recorded tensors; a checkpoint that the loss does not depend on counts for nothing.
///
/// # Errors
/// As [`grad`].
pub fn checkpointed_grad_tensors(loss: &Tensor, wrt: &[Tensor], checkpoints: &[Tensor]) -> Result<Vec<Tensor>> {
    let roots: Vec<Tensor> = std::iter::once(loss).chain(wrt).chain(checkpoints).cloned().collect();
    let (mut graph, ids) = Tensor::lower(&roots)?;
    let (wrt, checkpoints) = ids[1..].split_at(wrt.len());
    let gradients = checkpointed_grad_graph(&mut graph, ids[0], wrt, checkpoints)?;
    let tensors = Tensor::raise(&graph, &Tensor::leaves(&roots));
    Ok(gradients.into_iter().map(|id| tensors[id.index()].clone()).collect())
}

fn float(graph: &Graph, id: NodeId, what: &'static str) -> Result<()> {
    match graph.dtype(id) {
        DType::F32 => Ok(()),
        dtype => Err(Error::NotFloat { what, dtype }),
    }
}

/// For each node up to the loss, whether it lies on a differentiable path from one of `wrt` to the loss.
fn paths(graph: &Graph, loss: NodeId, wrt: &[NodeId]) -> Vec<bool> {
    let mut from_wrt = vec![false; graph.nodes().len()];
    for &x in wrt {
        from_wrt[x.index()] = true;
    }
    for id in graph.ids().take(loss.index() + 1) {
        let node = graph.node(id);
        let mut operands = node.operands.iter().enumerate();
        let depends = operands.any(|(i, x)| from_wrt[x.index()] && passes_gradient(&node.op, i));
        from_wrt[id.index()] |= depends && node.dtype == DType::F32;
    }
    let to_loss = graph.live([loss]);
    from_wrt.iter().zip(&to_loss).map(|(&from, &to)| from && to).collect()
}
