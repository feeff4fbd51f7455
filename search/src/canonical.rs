//! When two programs are the same computation: a canonical form and its hash.
//!
//! Calls are inlined, dead code is gone, bank values stand in their instructions, equal pure
//! instructions are one, and the order of commutative inputs doesn't matter. An instruction with a
//! parameter is never merged with another one; what identifies it is who shares it, not its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Rejection;
use crate::dna::{Dna, NodeKind};

/// SHA-256 of a canonical form; it is stable between releases of the same [`CANONICAL_VERSION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CanonicalHash(pub [u8; 32]);

/// Version of the canonical form, part of every hash.
pub const CANONICAL_VERSION: u32 = 1;

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

/// The canonical form of a valid program, as text: one line a node.
///
/// # Errors
///
/// [`Rejection::TooManyInstructions`] or [`Rejection::TooDeep`] for a program that is not inlined.
pub fn canonical_form(dna: &Dna) -> Result<String, Rejection> {
    let graph = SharedGraph::new(dna)?;
    let order = graph.traversal(&graph.colors());
    // The width is part of the program even where no instruction reads it.
    let mut text = format!("primer canonical {CANONICAL_VERSION}\nwidth {}\n", dna.dims[0]);
    let mut numbers = vec![0; graph.nodes.len()];
    for (number, &node) in order.iter().enumerate() {
        numbers[node] = number;
        let mut inputs: Vec<usize> = graph.nodes[node].inputs.iter().map(|&input| numbers[input]).collect();
        if graph.nodes[node].commutative {
            inputs.sort_unstable();
        }
        text += &graph.nodes[node].label;
        for input in inputs {
            text += &format!(" {input}");
        }
        text.push('\n');
    }
    Ok(text)
}

/// The hash of [`canonical_form`].
///
/// # Errors
///
/// As [`canonical_form`].
pub fn canonical_hash(dna: &Dna) -> Result<CanonicalHash, Rejection> {
    Ok(CanonicalHash(Sha256::digest(canonical_form(dna)?).into()))
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SharedNode {
    label: String,
    inputs: Vec<usize>,
    commutative: bool,
}

/// The live graph with equal pure nodes merged, inputs before users.
struct SharedGraph {
    nodes: Vec<SharedNode>,
    output: usize,
}

impl SharedGraph {
    fn new(dna: &Dna) -> Result<SharedGraph, Rejection> {
        let inlined = dna.inline_live()?;
        let mut nodes: Vec<SharedNode> = Vec::new();
        let mut pure: BTreeMap<SharedNode, usize> = BTreeMap::new();
        let mut map = Vec::with_capacity(inlined.nodes.len());
        for node in &inlined.nodes {
            let mut commutative = false;
            let mut owns_parameter = false;
            let label = match node.kind {
                NodeKind::Input => "X".to_owned(),
                NodeKind::Split(branch) => format!("BRANCH_{branch}"),
                NodeKind::Merge(branch) => format!("MERGE_{branch}"),
                NodeKind::Primitive { primitive, constant, dim } => {
                    commutative = primitive.is_commutative();
                    owns_parameter = primitive.parameter().is_some();
                    let mut label = primitive.name().to_owned();
                    if primitive.uses_constant() {
                        label += &format!(" c{:016x}", constant.to_bits());
                    }
                    if primitive.uses_dim() {
                        label += &format!(" d{dim}");
                    }
                    if owns_parameter {
                        label += &format!(" x{}", node.branches);
                    }
                    label
                }
            };
            let mut inputs: Vec<usize> = node.inputs.iter().map(|&input| map[input]).collect();
            if commutative {
                inputs.sort_unstable();
            }
            let shared = SharedNode { label, inputs, commutative };
            let next = nodes.len();
            let index = if owns_parameter { next } else { *pure.entry(shared.clone()).or_insert(next) };
            if index == next {
                nodes.push(shared);
            }
            map.push(index);
        }
        Ok(SharedGraph { output: map[inlined.output], nodes })
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
