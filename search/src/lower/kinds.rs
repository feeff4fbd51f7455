//! The static pass: the kind and width of every value, parameters and costs, for one unit.

use super::{Limits, Sizes};
use crate::dna::{Dna, Inlined, Node, NodeKind, ParameterKind, Primitive, Source};
use crate::rejection::Rejection;

/// The greatest unit tried.
pub const MAX_UNIT: u64 = 256;

/// Elements that one value may have, whatever the limits.
const MAX_ELEMENTS: u64 = 1 << 31;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[batch, n, c]`
    V(u64),
    /// `[batch, n, n]`
    A,
}

/// What is known of a node's value.
#[derive(Debug, Clone)]
pub(super) struct NodePlan {
    /// Its kind, for one branch.
    pub kind: Kind,
    /// Number of different values side by side: the branches around it, or 1 where they are equal.
    pub axis: u64,
    /// Shape of its parameter, if it has one.
    pub parameter: Option<Vec<u64>>,
}

/// What is known of a program with a unit.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub nodes: Vec<NodePlan>,
    pub width: u64,
    pub parameters: u64,
    pub flops: u64,
    pub bytes: u64,
}

/// Which operand of two unequal widths is resized: the low bit of a hash of the primitive and the
/// widths, so that an edit elsewhere doesn't change it. False: the narrower one.
pub fn loser_is_wider(primitive: Primitive, narrow: u64, wide: u64) -> bool {
    let position = Primitive::ALL.iter().position(|&p| p == primitive).unwrap_or_default() as u64;
    let step = |state: u64, value: u64| {
        let mut z = (state ^ value).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 32)
    };
    [position + 1, narrow, wide].into_iter().fold(0x9E37_79B9_7F4A_7C15, step) & 1 == 1
}

/// The common width of two operands: one that is 1 is repeated, else the loser is resized.
pub(crate) fn common_width(primitive: Primitive, a: u64, b: u64) -> u64 {
    let (narrow, wide) = (a.min(b), a.max(b));
    if narrow == 1 || narrow == wide || !loser_is_wider(primitive, narrow, wide) { wide } else { narrow }
}

/// The unit in 1..=[`MAX_UNIT`] with a parameter count in the window, of several the nearest to the seed's, ties to the
/// smaller.
pub(super) fn choose_unit(dna: &Dna, inlined: &Inlined, sizes: Sizes, limits: &Limits) -> Result<u64, Rejection> {
    let window = limits.min_parameters..=limits.max_parameters;
    let mut best: Option<(bool, u64, u64, u64)> = None; // outside, distance, unit, parameters
    let mut too_large = None;
    for unit in 1..=MAX_UNIT {
        match Planned::new(dna, inlined, unit, sizes) {
            Ok(None) => {}
            Ok(Some(planned)) => {
                let distance = planned.parameters.abs_diff(limits.parameters);
                let outside = !window.contains(&planned.parameters);
                if best.is_none_or(|(out, nearest, ..)| (outside, distance) < (out, nearest)) {
                    best = Some((outside, distance, unit, planned.parameters));
                }
            }
            // Larger units are larger still; a kind that is refused is refused with every unit.
            Err(rejection) => {
                too_large = Some(rejection);
                break;
            }
        }
    }
    match (best, too_large) {
        (Some((false, _, unit, _)), _) => Ok(unit),
        (None, Some(rejection)) => Err(rejection),
        (best, _) => Err(Rejection::ParameterWindow {
            min: limits.min_parameters,
            max: limits.max_parameters,
            nearest: best.map(|(.., count)| count),
        }),
    }
}

impl Planned {
    /// The plan for that unit; `None` where a dimension isn't integral (or the width is odd, for
    /// which the sinusoid's pairs don't come out).
    pub fn new(dna: &Dna, inlined: &Inlined, unit: u64, sizes: Sizes) -> Result<Option<Planned>, Rejection> {
        let width = unit.saturating_mul(u64::from(dna.dims[0]));
        if width == 0 || !width.is_multiple_of(2) {
            return Ok(None);
        }
        let mut pass = Pass { sizes, unit, width, nodes: Vec::new(), parameters: 0, flops: 0, elements: 0 };
        for node in &inlined.nodes {
            if !pass.node(node)? {
                return Ok(None);
            }
        }
        let rows = (sizes.batch as u64).saturating_mul(sizes.sequence as u64);
        let layers = sizes.layers as u64;
        let embedding = (sizes.vocab as u64).saturating_mul(width);
        let logits = rows.saturating_mul(embedding).saturating_mul(2);
        let shell = rows.saturating_mul(width.saturating_mul(4).saturating_add(sizes.vocab as u64));
        Ok(Some(Planned {
            width,
            parameters: layers.saturating_mul(pass.parameters).saturating_add(embedding).saturating_add(2 * width),
            flops: layers.saturating_mul(pass.flops).saturating_add(logits).saturating_add(shell),
            // 4 bytes an element, a value and its gradient
            bytes: layers.saturating_mul(pass.elements).saturating_add(shell).saturating_mul(8),
            nodes: pass.nodes,
        }))
    }
}

struct Pass {
    sizes: Sizes,
    unit: u64,
    width: u64,
    nodes: Vec<NodePlan>,
    parameters: u64,
    flops: u64,
    elements: u64,
}

impl Pass {
    fn n(&self) -> u64 {
        self.sizes.sequence as u64
    }

    fn rows(&self) -> u64 {
        (self.sizes.batch as u64).saturating_mul(self.n())
    }

    /// Width of a value that is read as V.
    fn v_width(&self, kind: Kind) -> u64 {
        match kind {
            Kind::V(width) => width,
            Kind::A => self.n(),
        }
    }

    /// Plans one node; false where its dimension isn't integral.
    fn node(&mut self, node: &Node) -> Result<bool, Rejection> {
        let inputs: Vec<(Kind, u64)> = node.inputs.iter().map(|&i| (self.nodes[i].kind, self.nodes[i].axis)).collect();
        let (kind, axis, parameter) = match node.kind {
            NodeKind::Input => (Kind::V(self.width), 1, None),
            NodeKind::Split(branch) => {
                let (kind, axis) = inputs[0];
                (kind, if axis == 1 { 1 } else { axis.saturating_mul(u64::from(branch)) }, None)
            }
            NodeKind::Merge(branch) => {
                let (kind, axis) = inputs[0];
                let Kind::V(width) = kind else {
                    return Err(Rejection::BranchedAttention {
                        instruction: node.source.unwrap_or(Source { subprogram: 0, instruction: 0 }),
                        op: format!("branching {branch}"),
                    });
                };
                let axis = if axis == 1 { 1 } else { node.branches };
                (Kind::V(width.saturating_mul(u64::from(branch))), axis, None)
            }
            NodeKind::Primitive { primitive, dim, .. } => match self.primitive(node, primitive, dim, &inputs) {
                Some(planned) => planned,
                None => return Ok(false),
            },
        };
        let per_row = self.v_width(kind).saturating_mul(axis);
        let elements = self.rows().saturating_mul(per_row);
        if elements > MAX_ELEMENTS {
            return Err(Rejection::Memory { bytes: elements.saturating_mul(4), limit: 4 * MAX_ELEMENTS });
        }
        self.elements = self.elements.saturating_add(elements);
        self.flops = self.flops.saturating_add(elements);
        if let Some(shape) = &parameter {
            let count = shape.iter().fold(1u64, |product, &dim| product.saturating_mul(dim));
            self.parameters = self.parameters.saturating_add(count);
        }
        self.nodes.push(NodePlan { kind, axis, parameter });
        Ok(true)
    }

    /// Kind, axis and parameter of a primitive's result; `None` where its dimension isn't integral.
    fn primitive(
        &mut self,
        node: &Node,
        primitive: Primitive,
        dim: u32,
        inputs: &[(Kind, u64)],
    ) -> Option<(Kind, u64, Option<Vec<u64>>)> {
        let (kind, axis) = inputs[0];
        let width = self.v_width(kind);
        let branches = node.branches;
        match primitive.parameter() {
            Some(ParameterKind::Scale | ParameterKind::Shift) => {
                return Some((kind, branches, Some(vec![branches.saturating_mul(width)])));
            }
            Some(ParameterKind::DepthwiseConv(taps)) => {
                let channels = branches.saturating_mul(width);
                let flops = self.rows().saturating_mul(channels).saturating_mul(2 * taps as u64);
                self.flops = self.flops.saturating_add(flops);
                return Some((Kind::V(width), branches, Some(vec![taps as u64, channels])));
            }
            Some(ParameterKind::Conv(taps)) => {
                let full = self.unit.saturating_mul(u64::from(dim));
                if !full.is_multiple_of(branches) {
                    return None;
                }
                let out = full / branches;
                let fan_in = width.saturating_mul(taps as u64);
                let product = fan_in.saturating_mul(full);
                self.flops = self.flops.saturating_add(self.rows().saturating_mul(product).saturating_mul(2));
                if taps > 1 {
                    // the shifted copies side by side
                    let copies = self.rows().saturating_mul(fan_in).saturating_mul(axis);
                    self.elements = self.elements.saturating_add(copies);
                }
                let shape = if axis == 1 { vec![fan_in, full] } else { vec![branches, fan_in, out] };
                return Some((Kind::V(out), branches, Some(shape)));
            }
            None => {}
        }
        let Some(&(right, right_axis)) = inputs.get(1) else {
            let kind = match primitive {
                Primitive::RedMean | Primitive::RedSum | Primitive::RedMin | Primitive::RedMax | Primitive::RedProd => {
                    Kind::V(1)
                }
                _ => kind,
            };
            return Some((kind, axis, None));
        };
        let axis = axis.max(right_axis);
        let matrix = self.rows().saturating_mul(self.n()).saturating_mul(axis).saturating_mul(2);
        let (kind, inner) = match (primitive, kind, right) {
            (Primitive::TMatMul, ..) => (Kind::A, common_width(primitive, width, self.v_width(right))),
            (Primitive::MatMul, ..) => (right, self.v_width(right)),
            (_, Kind::V(a), Kind::V(b)) => (Kind::V(common_width(primitive, a, b)), 0),
            _ => (Kind::A, 0),
        };
        self.flops = self.flops.saturating_add(matrix.saturating_mul(inner));
        Some((kind, axis, None))
    }
}
