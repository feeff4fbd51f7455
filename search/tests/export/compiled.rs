//! Exports that are compiled: those of the built-in programs, as the example has them, and of three mutated ones.

use primer_models::nn::{Dims, Scope};
use primer_search::dna::{Dna, seeds};
use primer_search::export::{Origin, reference, to_rust};
use primer_tensor::Tensor;

use super::{mutated, plan_of};

#[path = "../../../examples/search/exported/discovered.rs"]
mod discovered;
#[path = "../../../examples/search/exported/primer.rs"]
mod primer;
#[path = "../../../examples/search/exported/primer_ez.rs"]
mod primer_ez;
#[path = "../../../examples/search/exported/transformer.rs"]
mod transformer;
#[path = "../../../examples/search/exported/transformer_plusplus.rs"]
mod transformer_plusplus;

mod mutated_a;
mod mutated_b;
mod mutated_c;

type Block = fn(Scope<'_>, Dims, &Tensor) -> Tensor;

/// The built-in programs.
pub const SEEDS: [&str; 5] = ["transformer", "transformer_plusplus", "primer_ez", "primer", "discovered"];

/// Name, number and mutations of the mutated ones, which together call every helper; in `mutated_c` widths are unequal.
const MUTATED: [(&str, u64, usize); 3] = [("mutated_a", 445, 35), ("mutated_b", 112, 32), ("mutated_c", 534, 34)];

/// Each with its name, program, path in the repository and block.
pub fn all() -> Vec<(&'static str, Dna, String, Block)> {
    let seeds: [Block; 5] =
        [transformer::block, transformer_plusplus::block, primer_ez::block, primer::block, discovered::block];
    let seeds = SEEDS.into_iter().zip(seeds).map(|(name, block)| {
        let dna = seeds::by_name(name).unwrap().unwrap();
        (name, dna, format!("examples/search/exported/{name}.rs"), block)
    });
    let blocks: [Block; 3] = [mutated_a::block, mutated_b::block, mutated_c::block];
    let mutated = MUTATED.into_iter().zip(blocks).map(|((name, number, mutations), block)| {
        (name, mutated(number, mutations), format!("search/tests/export/compiled/{name}.rs"), block)
    });
    seeds.chain(mutated).collect()
}

/// What the file should hold. Those of the built-in programs are what `primer export --arch dna:NAME --format rust`
/// writes.
pub fn text(name: &str, dna: &Dna) -> String {
    if SEEDS.contains(&name) {
        let (unit, sizes) = reference(dna).unwrap();
        return to_rust(dna, unit, sizes, Origin { name, history: "It is built in." }).unwrap();
    }
    let &(_, number, mutations) = MUTATED.iter().find(|(known, ..)| *known == name).unwrap();
    let (start, _) = seeds::PROGRAMS[number as usize % seeds::PROGRAMS.len()];
    let history = format!("It is {mutations} mutations, drawn from stream {number}, away from {start}.");
    to_rust(dna, 8, plan_of(dna, 8).sizes(), Origin { name, history: &history }).unwrap()
}
