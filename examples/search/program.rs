//! A program of the search space: read it, look at it, mutate it, and see what each child would cost to train.
//!
//! `cargo run --example search-program`

#![allow(clippy::print_stdout)] // an example's output

use primer_search::canonical::canonical_hash;
use primer_search::dna::{Dna, NodeKind, Primitive, seeds};
use primer_search::lower::{Limits, Sizes, plan};
use primer_search::mutate::mutate;
use primer_search::rng::{Purpose, Rng};

fn main() -> primer_search::Result<()> {
    // The Transformer, as the paper writes it: ten subprograms and two banks.
    let seed = seeds::with_banks(seeds::transformer()?, 4, 16, [2, 8, 1, 1, 4, 16])?;
    println!("{seed}");
    println!("without calls, numbered as in the paper's Fig. 24:\n{}", seed.inline_all()?);

    // The limits that a study draws around its seed: a byte model of width 64.
    let sizes = Sizes { layers: 2, vocab: 256, sequence: 64, batch: 16 };
    let limits = Limits::around(&seed, 32, sizes)?;
    println!("the seed has {} parameters; canonical hash {}\n", limits.parameters, canonical_hash(&seed)?);

    for child in 0..5 {
        let (dna, chain) = mutate(&seed, &mut Rng::new(1, child, Purpose::Mutation))?;
        let mutation = chain.effective().map(serde_json::to_string).transpose()?.unwrap_or_default();
        println!("child {child}, after {} inert mutations: {mutation}", chain.mutations.len() - 1);
        match plan(&dna, sizes, &limits) {
            Ok(plan) => println!("  width {}, {} parameters", plan.width(), plan.parameter_count()),
            Err(reason) => println!("  rejected: {reason}"),
        }
    }

    // How often does luck alone find one of Primer's two changes?
    let children = 2_000;
    let (mut mixing, mut squared, mut accepted) = (0, 0, 0);
    for child in 0..children {
        let (dna, _) = mutate(&seed, &mut Rng::new(2, child, Purpose::Mutation))?;
        accepted += u64::from(plan(&dna, sizes, &limits).is_ok());
        mixing += u64::from(follows(&dna, is_depthwise, |p| p == Primitive::Conv1x1));
        squared += u64::from(follows(&dna, |p| p == Primitive::Square, |p| p == Primitive::Max));
    }
    println!("\nof {children} children of the seed, {accepted} can be trained,");
    println!("{mixing} mix neighbours after a projection and {squared} square the ReLU");
    Ok(())
}

fn is_depthwise(primitive: Primitive) -> bool {
    primitive.name().starts_with("DCONV")
}

/// Whether a live instruction of the first kind reads one of the second, in branches or not.
fn follows(dna: &Dna, first: impl Fn(Primitive) -> bool, second: impl Fn(Primitive) -> bool) -> bool {
    let Ok(inlined) = dna.inline_live() else { return false };
    let primitive = |mut node: usize| {
        while let NodeKind::Split(_) | NodeKind::Merge(_) = inlined.nodes[node].kind {
            node = inlined.nodes[node].inputs[0];
        }
        match inlined.nodes[node].kind {
            NodeKind::Primitive { primitive, .. } => Some(primitive),
            _ => None,
        }
    };
    let reads = |node: usize| inlined.nodes[node].inputs.iter().any(|&input| primitive(input).is_some_and(&second));
    let found =
        |node: usize| matches!(inlined.nodes[node].kind, NodeKind::Primitive { primitive, .. } if first(primitive));
    (0..inlined.nodes.len()).any(|node| found(node) && reads(node))
}
