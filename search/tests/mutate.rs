//! Mutations keep programs valid, are recorded and can be applied again.

use std::collections::BTreeMap;

use primer_search::canonical::canonical_hash;
use primer_search::dna::{Dna, seeds};
use primer_search::mutate::{Chain, Delete, Field, MAX_INERT, Mutation, apply, draw, mutate, random_like};
use primer_search::rng::{Purpose, Rng};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn long_chains_stay_valid_and_survive_text_and_json(seed in any::<u64>(), which in 0usize..3) {
        let mut dna: Dna = [seeds::TRANSFORMER, seeds::PRIMER_EZ, seeds::PRIMER][which].parse().unwrap();
        let mut rng = Rng::new(seed, 0, Purpose::Mutation);
        for _ in 0..100 {
            let mutation = draw(&dna, &mut rng);
            let child = apply(&dna, &mutation).unwrap();
            child.validate().unwrap();
            prop_assert_eq!(&child.to_string().parse::<Dna>().unwrap(), &child);
            let json = serde_json::to_string(&mutation).unwrap();
            let read: Mutation = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&apply(&dna, &read).unwrap(), &child, "{}", json);
            dna = child;
        }
    }

    #[test]
    fn a_child_differs_from_its_parent_by_the_last_mutation_only(seed in any::<u64>()) {
        let mut parent = seeds::transformer().unwrap();
        for child_number in 0..10 {
            let (child, chain) = mutate(&parent, &mut Rng::new(seed, child_number, Purpose::Mutation)).unwrap();
            let record: Chain = serde_json::from_str(&serde_json::to_string(&chain).unwrap()).unwrap();
            prop_assert_eq!(&record.replay(&parent).unwrap(), &child);
            let inert = Chain { mutations: chain.mutations[..chain.mutations.len() - 1].to_vec(), dropped: vec![] };
            let before = canonical_hash(&inert.replay(&parent).unwrap());
            prop_assert_eq!(&before, &canonical_hash(&parent));
            prop_assert_ne!(canonical_hash(&child), before);
            if canonical_hash(&child).is_ok() {
                parent = child;
            }
        }
    }
}

/// Where nearly all instructions are dead, many a chain changes nothing.
#[test]
fn after_64_inert_mutations_a_child_is_begun_again_from_its_parent() {
    let dead: String = (1..=60).map(|s| format!("S{s}:\n h2 = ABS(h0)\n h3 = EXP(h2)\n")).collect();
    let parent: Dna = format!("constants 0 1\ndims 1 1 1 1 1 1\nS0:\n h2 = SCALE(h0)\n{dead}").parse().unwrap();
    let before = canonical_hash(&parent);
    let mut dropped = 0;
    for key in 0..60 {
        let (child, chain) = mutate(&parent, &mut Rng::new(8, key, Purpose::Mutation)).unwrap();
        for inert in &chain.dropped {
            assert_eq!(inert.len(), MAX_INERT);
            let left = Chain { mutations: inert.clone(), dropped: vec![] }.replay(&parent).unwrap();
            assert_eq!(canonical_hash(&left), before);
            dropped += 1;
        }
        assert!((1..=MAX_INERT).contains(&chain.mutations.len()));
        assert_eq!(chain.replay(&parent).unwrap(), child);
        assert_ne!(canonical_hash(&child), before);
    }
    assert!(dropped > 0, "no chain was dropped");
}

#[test]
fn random_programs_are_valid_and_as_long_as_their_model() {
    let like = seeds::transformer().unwrap();
    let lengths = |dna: &Dna| dna.subprograms.iter().map(|s| s.instructions.len()).collect::<Vec<_>>();
    let programs = (0..200).map(|i| random_like(&like, &mut Rng::new(9, i, Purpose::RandomProgram)));
    let mut forms = std::collections::BTreeSet::new();
    for dna in programs {
        dna.validate().unwrap();
        assert_eq!((lengths(&dna), dna.dims), (lengths(&like), like.dims));
        assert_eq!(dna.to_string().parse::<Dna>().unwrap(), dna);
        forms.insert(dna.to_string());
    }
    assert_eq!(forms.len(), 200);
}

#[test]
fn mutation_types_are_uniform() {
    let dna = seeds::transformer().unwrap();
    let mut rng = Rng::new(5, 0, Purpose::Mutation);
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    let n = 12_000;
    for _ in 0..n {
        let name = match draw(&dna, &mut rng) {
            Mutation::Delete(_) => "delete",
            Mutation::Insert(_) => "insert",
            Mutation::DeleteInsert { .. } => "delete-insert",
            Mutation::Field { .. } => "field",
            Mutation::Swap { .. } => "swap",
            Mutation::Constant { .. } => "constant",
            Mutation::Dim { .. } => "dim",
        };
        *counts.entry(name).or_default() += 1.0;
    }
    let share = |name| counts[name] / f64::from(n);
    for name in ["delete", "insert", "delete-insert", "field", "swap"] {
        assert!((share(name) - 1.0 / 6.0).abs() < 0.015, "{counts:?}");
    }
    assert!((share("constant") - 2.0 / 48.0).abs() < 0.008, "{counts:?}");
    assert!((share("dim") - 6.0 / 48.0).abs() < 0.012, "{counts:?}");
}

/// The 0.1% point of χ² for so many degrees of freedom (Wilson and Hilferty 1931).
fn rare(freedom: f64) -> f64 {
    let third = 2.0 / (9.0 * freedom);
    freedom * (1.0 - third + 3.09 * third.sqrt()).powi(3)
}

/// Whether counts of what is equally likely are within chance, and each outcome came.
fn assert_uniform<K: Ord + std::fmt::Debug>(counts: &BTreeMap<K, f64>, outcomes: usize) {
    assert_eq!(counts.len(), outcomes, "{counts:?}");
    let expected = counts.values().sum::<f64>() / outcomes as f64;
    let chi2: f64 = counts.values().map(|count| (count - expected).powi(2) / expected).sum();
    assert!(chi2 < rare(outcomes as f64 - 1.0), "{chi2}: {counts:?}");
}

/// Paper A.4: places, fields, operations and other values are uniform.
#[test]
fn what_a_mutation_changes_is_uniform() {
    let dna: Dna =
        "constants 0 1\ndims 1 1 1 1 1 1\nS0:\n h2 = S1(h0, h0)\n h3 = ABS(h2)\n h4 = EXP(h3)\nS1:\n h2 = ABS(h0)\n"
            .parse()
            .unwrap();
    let mut rng = Rng::new(6, 0, Purpose::Mutation);
    let mut places = BTreeMap::new();
    let (mut fields, mut ops, mut inputs, mut branches) = Default::default();
    let (mut deletes, mut redirects, mut swaps, mut dims) = Default::default();
    let count = |counts: &mut BTreeMap<String, f64>, key: String| *counts.entry(key).or_default() += 1.0;
    for _ in 0..60_000 {
        match draw(&dna, &mut rng) {
            // Before each of the three instructions, and behind them.
            Mutation::Insert(insert) if insert.subprogram == 0 => {
                *places.entry(insert.position).or_default() += 1.0;
                if insert.position == 3 {
                    count(&mut inputs, format!("{}", insert.instruction.input_2));
                }
            }
            Mutation::Field { subprogram: 0, position: 1, value } => {
                count(&mut fields, format!("{value:?}").split('(').next().unwrap().to_owned());
                match value {
                    Field::Op(op) => count(&mut ops, format!("{op:?}")),
                    Field::Branch(branch) => count(&mut branches, branch.to_string()),
                    _ => {}
                }
            }
            Mutation::Delete(delete) => {
                count(&mut deletes, delete.position.to_string());
                // ABS, which EXP alone reads.
                if delete.position == 1 {
                    count(&mut redirects, format!("{:?}", delete.redirects));
                }
            }
            Mutation::Swap { first, second, .. } => count(&mut swaps, format!("{first} {second}")),
            Mutation::Dim { slot, value } => count(&mut dims, format!("{slot} {value}")),
            _ => {}
        }
    }
    assert_uniform(&places, 4);
    assert_uniform(&fields, 6);
    // All primitives but the one that is there, and a call of S1.
    assert_uniform(&ops, 39);
    assert_uniform(&inputs, 5);
    // 2, 4, 8 and 16, since it is 1.
    assert_uniform(&branches, 4);
    // S1 has nothing to spare.
    assert_uniform(&deletes, 3);
    // h0, h1 and h2.
    assert_uniform(&redirects, 3);
    // One of three and another one.
    assert_uniform(&swaps, 6);
    // Each of six entries gets one of the nine other values.
    assert_uniform(&dims, 54);
}

/// Paper A.4: c becomes c · 10^X + Y with standard normal X and Y.
#[test]
fn constants_move_by_magnitudes() {
    let dna: Dna = "constants 0 1e9\ndims 1 1 1 1 1 1\nS0:\n h2 = ABS(h0)\n".parse().unwrap();
    let mut rng = Rng::new(7, 0, Purpose::Mutation);
    let (mut sums, mut powers) = (Vec::new(), Vec::new());
    while sums.len().min(powers.len()) < 4_000 {
        match draw(&dna, &mut rng) {
            Mutation::Constant { slot: 0, value } => sums.push(value),
            Mutation::Constant { slot: 1, value } => powers.push((value.abs() / 1e9).log10()),
            _ => {}
        }
    }
    for values in [sums, powers] {
        let n = values.len() as f64;
        let moment = |k: i32| values.iter().map(|value| value.powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.06, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.1, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.6, "{}", moment(4));
    }
}

#[test]
fn other_references_keep_their_producer() {
    let dna: Dna =
        "constants 0 0\ndims 1 1 1 1 1 1\nS0:\n h2 = EXP(h0)\n h3 = ABS(h2)\n h4 = ADD(h2, h3)\n".parse().unwrap();
    let delete = Delete { subprogram: 0, position: 0, redirects: vec![1, 0] };
    // h3 and h4 read h2; every silent gene is h0.
    let child = apply(&dna, &Mutation::Delete(delete)).unwrap();
    assert!(child.to_string().ends_with("h2 = ABS(h1)\n  h3 = ADD(h0, h2)\n"), "{child}");
    let insert = |position, text: &str| {
        let line = format!("constants 0 0\ndims 1 1 1 1 1 1\nS0:\n h2 = {text}");
        let instruction = line.parse::<Dna>().unwrap().subprograms[0].instructions[0];
        apply(
            &dna,
            &serde_json::from_value(serde_json::json!({
                "type": "insert", "subprogram": 0, "position": position, "instruction": instruction,
            }))
            .unwrap(),
        )
    };
    let child = insert(1, "SIN(h1)").unwrap();
    assert!(
        child.to_string().ends_with("h2 = EXP(h0)\n  h3 = SIN(h1)\n  h4 = ABS(h2)\n  h5 = ADD(h2, h4)\n"),
        "{child}"
    );
    assert_eq!(canonical_hash(&child), canonical_hash(&dna), "dead until referenced");
    let child = insert(3, "SIN(h1)").unwrap();
    assert_ne!(canonical_hash(&child), canonical_hash(&dna), "the last one is the output");
    assert!(insert(4, "SIN(h1)").is_err());
    let swapped = apply(&dna, &Mutation::Swap { subprogram: 0, first: 0, second: 1 }).unwrap();
    assert!(swapped.to_string().contains("h2 = ABS(h0)\n  h3 = EXP(h2)"), "{swapped}");
}

#[test]
fn records_that_do_not_fit_are_errors() {
    let dna = seeds::transformer().unwrap();
    for mutation in [
        Mutation::Delete(Delete { subprogram: 3, position: 0, redirects: vec![] }),
        Mutation::Delete(Delete { subprogram: 4, position: 1, redirects: vec![0] }),
        Mutation::Delete(Delete { subprogram: 4, position: 1, redirects: vec![3, 0] }),
        Mutation::Swap { subprogram: 10, first: 0, second: 0 },
        Mutation::Swap { subprogram: 4, first: 0, second: 4 },
        Mutation::Constant { slot: 2, value: 0.0 },
        Mutation::Constant { slot: 0, value: f64::NAN },
        Mutation::Dim { slot: 0, value: 3 },
    ] {
        assert!(apply(&dna, &mutation).is_err(), "{mutation:?}");
    }
}
