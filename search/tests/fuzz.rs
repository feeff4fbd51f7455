//! Chains of mutations from the built-in programs: whatever comes out is a program that lowers, or has a reason why
//! not.

#![allow(clippy::print_stdout)] // the counts of a soak

use std::collections::BTreeMap;

use primer_search::canonical::canonical_hash;
use primer_search::dna::{Dna, seeds};
use primer_search::lower::{Limits, Sizes, plan};
use primer_search::mutate::{apply, draw};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::Graph;

/// A tiny model: what a program does to it doesn't depend on its size.
const SIZES: Sizes = Sizes { layers: 1, vocab: 32, sequence: 8, batch: 2 };
const UNIT: u64 = 8;

/// Most mutations in a chain.
const LONGEST: usize = 40;

/// Chains in an ordinary run; `PRIMER_SOAK=250` asks for a million.
fn chains() -> u64 {
    let times = std::env::var("PRIMER_SOAK").ok();
    4_000 * times.map_or(1, |n| n.parse::<u64>().expect("PRIMER_SOAK is a number"))
}

#[test]
fn chains_of_mutations_lower_or_are_rejected_with_a_reason() {
    let programs: Vec<(Dna, Limits)> = seeds::PROGRAMS
        .iter()
        .map(|(_, text)| {
            let dna: Dna = text.parse().unwrap();
            let limits = Limits::around(&dna, UNIT, SIZES).unwrap();
            (dna, limits)
        })
        .collect();
    let (chains, threads) = (chains(), std::thread::available_parallelism().map_or(1, usize::from) as u64);
    let counts = std::thread::scope(|scope| {
        let programs = &programs;
        let count = move |thread| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for chain in (thread..chains).step_by(threads as usize) {
                let what = std::panic::catch_unwind(|| outcome(programs, chain))
                    .unwrap_or_else(|_| panic!("chain {chain} panicked"));
                *counts.entry(what).or_default() += 1;
            }
            counts
        };
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || count(thread))).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).fold(BTreeMap::new(), |mut all, (what, n)| {
            *all.entry(what).or_insert(0u64) += n;
            all
        })
    });
    println!("{chains} chains: {counts:#?}");
    assert_eq!(counts.values().sum::<u64>(), chains);
    // Neither nearly all nor nearly none of them lower: both ways are tried.
    let lowered = counts["lowered"] as f64 / chains as f64;
    assert!((0.05..0.95).contains(&lowered), "{lowered}");
}

/// What becomes of chain `number`: `lowered`, or the kind of its rejection.
fn outcome(programs: &[(Dna, Limits)], number: u64) -> String {
    let mut rng = Rng::new(39, number, Purpose::Mutation);
    let (start, limits) = &programs[rng.below(programs.len())];
    let mut dna = start.clone();
    for _ in 0..=rng.below(LONGEST) {
        dna = apply(&dna, &draw(&dna, &mut rng)).unwrap();
    }
    dna.validate().unwrap();
    assert_eq!(dna.to_string().parse::<Dna>().unwrap(), dna, "chain {number}");
    let size = dna.inlined_size();
    let kind = |reason: &primer_search::Rejection| {
        assert!(!reason.to_string().is_empty());
        let json = serde_json::to_value(reason).unwrap();
        json["reason"].as_str().unwrap().to_owned()
    };
    if let Err(reason) = canonical_hash(&dna) {
        assert!(plan(&dna, SIZES, limits).is_err(), "chain {number}");
        return kind(&reason);
    }
    match plan(&dna, SIZES, limits) {
        Err(reason) => kind(&reason),
        Ok(plan) => {
            // What is accepted stays within what the study allows, before anything is allocated.
            assert!(plan.flops() <= limits.max_flops && plan.bytes() <= limits.max_bytes, "chain {number}");
            let parameters = plan.parameter_count();
            assert!((limits.min_parameters..=limits.max_parameters).contains(&parameters), "chain {number}");
            assert!(size.live <= primer_search::rejection::MAX_INSTRUCTIONS, "chain {number}");
            let mut graph = Graph::new();
            let lowered = plan.build(&mut graph).unwrap_or_else(|e| panic!("chain {number}: {e}"));
            assert_eq!(graph.node(lowered.logits).shape[..], [16, 32], "chain {number}");
            "lowered".into()
        }
    }
}
