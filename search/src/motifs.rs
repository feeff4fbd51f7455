//! What Primer is made of, found in a program's live graph, and how often one mutation brings it about.
//!
//! A search that finds one of these, or doesn't, says little without the odds: they are counted on the mutator itself.

use serde::{Deserialize, Serialize};

use crate::dna::{Dna, Inlined, NodeKind, ParameterKind, Primitive};
use crate::error::Result;
use crate::mutate::mutate;
use crate::rng::{Purpose, Rng};

/// A part that helps, by the paper's ablations (spec §6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Motif {
    /// A depthwise convolution reads a projection (a dense layer) directly: MDHA, where that is a head's.
    ConvolvedProjection,
    /// The square of a maximum with a constant is what a dense layer reads: the squared ReLU, whose floor the paper's
    /// search left at −0.57 (Fig. 25).
    SquaredRelu,
}

impl Motif {
    /// Both.
    pub const ALL: [Motif; 2] = [Motif::ConvolvedProjection, Motif::SquaredRelu];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Motif::ConvolvedProjection => "a depthwise convolution right after a projection",
            Motif::SquaredRelu => "a squared ReLU before a projection",
        }
    }
}

/// The motifs in a valid program; none in one that is too large to be inlined.
pub fn motifs(dna: &Dna) -> Vec<Motif> {
    let Ok(program) = dna.inline_live() else { return Vec::new() };
    let graph = Graph(&program);
    Motif::ALL.into_iter().filter(|&motif| graph.has(motif)).collect()
}

/// For each motif that the seed doesn't have, how many of `draws` children by one effective mutation have it.
///
/// # Errors
///
/// Those of [`mutate`].
pub fn rates(seed: &Dna, draws: u64) -> Result<Vec<(Motif, u64)>> {
    let present = motifs(seed);
    let mut counts: Vec<(Motif, u64)> =
        Motif::ALL.into_iter().filter(|motif| !present.contains(motif)).map(|motif| (motif, 0)).collect();
    for draw in 0..draws {
        let (child, _) = mutate(seed, &mut Rng::new(0, draw, Purpose::Rates))?;
        let found = motifs(&child);
        for (motif, count) in &mut counts {
            *count += u64::from(found.contains(motif));
        }
    }
    Ok(counts)
}

struct Graph<'a>(&'a Inlined);

impl Graph<'_> {
    /// The node that computes what `node` reads, branching looked through.
    fn source(&self, mut node: usize) -> usize {
        while let NodeKind::Split(_) | NodeKind::Merge(_) = self.0.nodes[node].kind {
            node = self.0.nodes[node].inputs[0];
        }
        node
    }

    fn primitive(&self, node: usize) -> Option<Primitive> {
        match self.0.nodes[node].kind {
            NodeKind::Primitive { primitive, .. } => Some(primitive),
            _ => None,
        }
    }

    fn is_dense(&self, node: usize) -> bool {
        self.primitive(node) == Some(Primitive::Conv1x1)
    }

    /// max(x, c)², or x·max(x, c), which is the same where c is 0.
    fn is_squared_relu(&self, node: usize) -> bool {
        let inputs = || self.0.nodes[node].inputs.iter().map(|&input| self.source(input));
        let is_relu = |x: usize| self.primitive(x) == Some(Primitive::Max);
        match self.primitive(node) {
            Some(Primitive::Square) => inputs().all(is_relu),
            Some(Primitive::Multiply) => inputs().any(|relu| {
                is_relu(relu) && inputs().all(|x| x == relu || x == self.source(self.0.nodes[relu].inputs[0]))
            }),
            _ => false,
        }
    }

    fn has(&self, motif: Motif) -> bool {
        let live = (0..self.0.nodes.len()).filter(|&node| self.0.nodes[node].live);
        let reads = |node: usize| self.0.nodes[node].inputs.iter().map(|&input| self.source(input));
        match motif {
            Motif::ConvolvedProjection => live.into_iter().any(|node| {
                let parameter = self.primitive(node).and_then(Primitive::parameter);
                matches!(parameter, Some(ParameterKind::DepthwiseConv(_))) && reads(node).any(|x| self.is_dense(x))
            }),
            Motif::SquaredRelu => {
                live.into_iter().any(|node| self.is_dense(node) && reads(node).any(|x| self.is_squared_relu(x)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dna::seeds;

    #[test]
    fn built_in_programs_have_the_motifs_that_they_are_known_for() {
        let of = |dna: Result<Dna>| motifs(&dna.unwrap());
        assert_eq!(of(seeds::transformer()), []);
        assert_eq!(of(seeds::primer_ez()), Motif::ALL);
        assert_eq!(of(seeds::discovered()), Motif::ALL);
        assert_eq!(of(seeds::transformer_plusplus()), []);
    }

    /// A pilot counted one in 530 and one in 2,400.
    #[test]
    fn one_mutation_rarely_brings_a_motif_about() {
        let draws = 6_000;
        let counts = rates(&seeds::transformer().unwrap(), draws).unwrap();
        assert_eq!(counts.iter().map(|&(motif, _)| motif).collect::<Vec<_>>(), Motif::ALL);
        assert!((4..=30).contains(&counts[0].1), "{counts:?}");
        assert!((0..=12).contains(&counts[1].1) && counts[1].1 < counts[0].1, "{counts:?}");
        assert_eq!(rates(&seeds::primer_ez().unwrap(), 10).unwrap(), []);
    }
}
