//! The leak test passes every program that can be lowered.

use primer_search::dna::{Dna, seeds};
use primer_search::leak::leak_test;
use primer_search::lower::{Sizes, plan_with_unit};
use primer_search::mutate::{apply, draw};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::Device;

#[test]
fn the_seeds_do_not_leak() {
    for dna in seeds::PROGRAMS.map(|(_, text)| text.parse::<Dna>()) {
        leak_test(&dna.unwrap(), 4, &Device::cpu_with_threads(1)).unwrap();
    }
}

/// Also along random mutations: causality is by construction.
#[test]
fn mutated_programs_do_not_leak() {
    let sizes = Sizes { layers: 2, vocab: 29, sequence: 16, batch: 1 };
    let mut tested = 0;
    for chain in 0..3 {
        let mut dna: Dna = [seeds::TRANSFORMER, seeds::PRIMER_EZ, seeds::PRIMER][chain % 3].parse().unwrap();
        let mut rng = Rng::new(11, chain as u64, Purpose::Mutation);
        for step in 0..24 {
            dna = apply(&dna, &draw(&dna, &mut rng)).unwrap();
            let Ok(plan) = plan_with_unit(&dna, 4, sizes) else { continue };
            if step % 8 == 7 && plan.bytes() < 1 << 22 && plan.flops() < 1 << 23 {
                leak_test(&dna, 4, &Device::cpu_with_threads(1)).unwrap_or_else(|error| panic!("{error}\n{dna}"));
                tested += 1;
            }
        }
    }
    assert!(tested >= 4, "{tested}");
}
