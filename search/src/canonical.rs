//! When two programs are the same computation: a canonical form and its hash.
//!
//! Calls are inlined, dead code is gone, bank values stand in their instructions, equal pure
//! instructions are one, and the order of commutative inputs doesn't matter. An instruction with a
//! parameter is never merged with another one; what identifies it is who shares it, not its name.
//!
//! At a study's sizes more programs are the same: dimensions are channels, so that it doesn't matter of which unit they
//! are multiples, and branches are gone that only cut a dense layer's columns into shares.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Rejection;
use crate::dna::{Dna, Inlined, Node, NodeKind, ParameterKind};
use crate::lower::Plan;

/// SHA-256 of a canonical form; it is stable between releases of the same [`CANONICAL_VERSION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CanonicalHash(pub [u8; 32]);

/// Version of the canonical form by which new studies find twins: 1 is [`canonical_form`], 2 is [`planned_form`].
pub const CANONICAL_VERSION: u32 = 2;

impl fmt::Display for CanonicalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<CanonicalHash> for String {
    fn from(hash: CanonicalHash) -> String {
        hash.to_string()
    }
}

impl TryFrom<String> for CanonicalHash {
    type Error = String;

    fn try_from(text: String) -> Result<CanonicalHash, String> {
        let bad = || format!("{text:?} is not a hash of 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(CanonicalHash(bytes))
    }
}

/// The canonical form of a valid program, as text: one line a node. Dimensions are relative.
///
/// # Errors
///
/// [`Rejection::TooManyInstructions`] or [`Rejection::TooDeep`] for a program that is not inlined.
pub fn canonical_form(dna: &Dna) -> Result<String, Rejection> {
    // The width is part of the program even where no instruction reads it.
    let head = format!("primer canonical 1\nwidth {}\n", dna.dims[0]);
    Ok(head + &SharedGraph::new(&dna.inline_live()?, None).to_text())
}

/// The canonical form of a planned program, as text: that of [`canonical_form`] with channels for dimensions and without
/// the branches that make no difference.
pub fn planned_form(plan: &Plan) -> String {
    let head = format!("primer canonical 2\nwidth {}\n", plan.width());
    head + &SharedGraph::new(plan.inlined(), Some(plan)).to_text()
}

/// The hash of [`canonical_form`].
///
/// # Errors
///
/// As [`canonical_form`].
pub fn canonical_hash(dna: &Dna) -> Result<CanonicalHash, Rejection> {
    Ok(CanonicalHash(Sha256::digest(canonical_form(dna)?).into()))
}

/// The hash of [`planned_form`].
pub fn planned_hash(plan: &Plan) -> CanonicalHash {
    CanonicalHash(Sha256::digest(planned_form(plan)).into())
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SharedNode {
    label: String,
    inputs: Vec<usize>,
    commutative: bool,
}

/// The live graph with equal pure nodes merged, inputs before users.
#[derive(Default)]
struct SharedGraph {
    nodes: Vec<SharedNode>,
    /// The nodes without a parameter.
    pure: BTreeMap<SharedNode, usize>,
    output: usize,
}

/// A value: that of a node, cut into so many equal shares of its columns, one a branch.
type Columns = (usize, u64);

impl SharedGraph {
    fn new(inlined: &Inlined, plan: Option<&Plan>) -> SharedGraph {
        let mut graph = SharedGraph::default();
        let mut values: Vec<Columns> = Vec::with_capacity(inlined.nodes.len());
        for node in &inlined.nodes {
            let value = graph.value(node, &values, plan);
            values.push(value);
        }
        graph.output = graph.node_of(values[inlined.output]);
        graph
    }

    fn value(&mut self, node: &Node, values: &[Columns], plan: Option<&Plan>) -> Columns {
        let inputs: Vec<Columns> = node.inputs.iter().map(|&input| values[input]).collect();
        // Known of a planned program alone: that all branches of the first input are equal.
        let equal = plan.is_some_and(|plan| node.inputs.first().is_some_and(|&input| plan.branches(input) == 1));
        let (primitive, constant, dim) = match node.kind {
            NodeKind::Input => return (self.pure("X".to_owned(), Vec::new(), false), 1),
            NodeKind::Split(_) if equal => return inputs[0],
            NodeKind::Split(branch) => {
                let input = self.node_of(inputs[0]);
                return (self.pure(format!("BRANCH_{branch}"), vec![input], false), 1);
            }
            NodeKind::Merge(_) if inputs[0].1 > 1 => return (inputs[0].0, node.branches),
            NodeKind::Merge(branch) => return (self.pure(format!("MERGE_{branch}"), vec![inputs[0].0], false), 1),
            NodeKind::Primitive { primitive, constant, dim } => (primitive, constant, dim),
        };
        let mut label = primitive.name().to_owned();
        if primitive.uses_constant() {
            label += &format!(" c{:016x}", constant.to_bits());
        }
        if primitive.uses_dim() {
            label += &match plan {
                Some(plan) => format!(" channels {}", plan.unit() * u64::from(dim)),
                None => format!(" d{dim}"),
            };
        }
        if primitive.is_pointwise() {
            let (input, columns) = inputs[0];
            return (self.pure(label, vec![input], false), columns);
        }
        let mut inputs: Vec<usize> = inputs.into_iter().map(|input| self.node_of(input)).collect();
        match primitive.parameter() {
            None => {
                if primitive.is_commutative() {
                    inputs.sort_unstable();
                }
                (self.pure(label, inputs, primitive.is_commutative()), 1)
            }
            Some(ParameterKind::Conv(_)) if equal => (self.owner(label, inputs), node.branches),
            Some(_) => (self.owner(format!("{label} x{}", node.branches), inputs), 1),
        }
    }

    /// The node with a value.
    fn node_of(&mut self, (node, columns): Columns) -> usize {
        if columns == 1 { node } else { self.pure(format!("COLUMNS_{columns}"), vec![node], false) }
    }

    /// A node without a parameter: one that is there already, if it is the same.
    fn pure(&mut self, label: String, inputs: Vec<usize>, commutative: bool) -> usize {
        let node = SharedNode { label, inputs, commutative };
        let next = self.nodes.len();
        let index = *self.pure.entry(node.clone()).or_insert(next);
        if index == next {
            self.nodes.push(node);
        }
        index
    }

    /// A node with a parameter of its own.
    fn owner(&mut self, label: String, inputs: Vec<usize>) -> usize {
        self.nodes.push(SharedNode { label, inputs, commutative: false });
        self.nodes.len() - 1
    }

    /// A line for each node.
    fn to_text(&self) -> String {
        let mut text = String::new();
        let mut numbers = vec![0; self.nodes.len()];
        for (number, node) in self.traversal(&self.colors()).into_iter().enumerate() {
            numbers[node] = number;
            let SharedNode { label, inputs, commutative } = &self.nodes[node];
            let mut inputs: Vec<usize> = inputs.iter().map(|&input| numbers[input]).collect();
            if *commutative {
                inputs.sort_unstable();
            }
            text += label;
            for input in inputs {
                text += &format!(" {input}");
            }
            text.push('\n');
        }
        text
    }

    /// A colour for each node, from all that is below and above it, so that nodes of one colour are
    /// (nearly always) interchangeable. A collision can only make equal programs look different.
    fn colors(&self) -> Vec<u64> {
        let count = self.nodes.len();
        let mut colors: Vec<u64> = self.nodes.iter().map(|node| mix(1, node.label.bytes().map(u64::from))).collect();
        let mut classes = 0;
        loop {
            for i in 0..count {
                let node = &self.nodes[i];
                let mut below: Vec<u64> = node.inputs.iter().map(|&input| colors[input]).collect();
                if node.commutative {
                    below.sort_unstable();
                }
                colors[i] = mix(colors[i], below);
            }
            let mut above: Vec<Vec<u64>> = vec![Vec::new(); count];
            for i in (0..count).rev() {
                above[i].sort_unstable();
                colors[i] = mix(mix(colors[i], [u64::from(i == self.output)]), above[i].iter().copied());
                for (position, &input) in self.nodes[i].inputs.iter().enumerate() {
                    let position = if self.nodes[i].commutative { 0 } else { position as u64 };
                    above[input].push(mix(colors[i], [position]));
                }
            }
            let found = colors.iter().collect::<BTreeSet<_>>().len();
            if found <= classes {
                return colors;
            }
            classes = found;
        }
    }

    /// The nodes that the output needs, inputs before users, in an order that colours decide.
    fn traversal(&self, colors: &[u64]) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut seen = vec![false; self.nodes.len()];
        // (node, whether its inputs are done); an explicit stack, since chains can be long
        let mut stack = vec![(self.output, false)];
        while let Some((node, done)) = stack.pop() {
            if done {
                order.push(node);
                continue;
            }
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            stack.push((node, true));
            let mut inputs = self.nodes[node].inputs.clone();
            if self.nodes[node].commutative {
                inputs.sort_by_key(|&input| colors[input]);
            }
            stack.extend(inputs.iter().rev().map(|&input| (input, false)));
        }
        order
    }
}

/// Folds values into a state with the finalizer of SplitMix64.
fn mix(state: u64, values: impl IntoIterator<Item = u64>) -> u64 {
    let step = |state: u64, value: u64| {
        let mut z = (state ^ value).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).rotate_left(17).wrapping_mul(0x9FB2_1C65_1E98_DF25)
    };
    values.into_iter().fold(step(state, 0x51), step)
}
