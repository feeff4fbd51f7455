//! Equal computations have equal canonical forms, and only those.

use std::collections::{BTreeMap, HashMap};

use primer_search::canonical::{CanonicalHash, canonical_form, canonical_hash, planned_form, planned_hash};
use primer_search::dna::{Dna, seeds};
use primer_search::lower::{Limits, Plan, Sizes, plan, plan_with_unit};
use primer_search::mutate::{apply, draw};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{Graph, Program, Tensor};

const SIZES: Sizes = Sizes { layers: 2, vocab: 7, sequence: 5, batch: 2 };

fn program(body: &str) -> Dna {
    let lines: Vec<&str> = body.split(';').collect();
    format!("constants 0.5 0.5\ndims 2 2 8 1 1 1\nS0:\n{}", lines.join("\n")).parse().unwrap()
}

fn same(a: &str, b: &str) -> bool {
    canonical_form(&program(a)).unwrap() == canonical_form(&program(b)).unwrap()
}

#[test]
fn what_does_not_matter() {
    assert!(same("h2 = EXP(h0)", "h2 = EXP(h1)"), "both inputs of MAIN are the block's input");
    assert!(same("h2 = EXP(h0)", "h2 = SIN(h0); h3 = EXP(h0) ~ h2 c1 d4"), "dead code and silent genes");
    assert!(same("h2 = MAX(h0) c0", "h2 = MAX(h0) c1"), "equal bank values");
    assert!(same("h2 = CONV_1X1(h0) d0", "h2 = CONV_1X1(h0) d1"));
    assert!(same("h2 = EXP(h0); h3 = SIN(h0); h4 = ADD(h2, h3)", "h2 = SIN(h0); h3 = EXP(h0); h4 = ADD(h2, h3)"));
    assert!(same("h2 = EXP(h0); h3 = EXP(h0); h4 = DIVIDE(h2, h3)", "h2 = EXP(h0); h3 = DIVIDE(h2, h2)"));
    // Two dense layers, one squared and one not, in either order and on either side.
    assert!(same(
        "h2 = CONV_1X1(h0) d0; h3 = CONV_1X1(h0) d0; h4 = SQUARE(h2); h5 = MULTIPLY(h4, h3); h6 = ADD(h5, h3)",
        "h2 = CONV_1X1(h0) d0; h3 = CONV_1X1(h0) d0; h4 = SQUARE(h3); h5 = MULTIPLY(h2, h4); h6 = ADD(h2, h5)"
    ));
    // The same, told apart only by who else reads them.
    assert!(same(
        "h2 = SCALE(h0); h3 = SCALE(h0); h4 = ADD(h2, h3); h5 = DIVIDE(h4, h3)",
        "h2 = SCALE(h0); h3 = SCALE(h0); h4 = ADD(h2, h3); h5 = DIVIDE(h4, h2)"
    ));
}

#[test]
fn what_does_matter() {
    assert!(!same("h2 = EXP(h0)", "h2 = SIN(h0)"));
    assert!(!same("h2 = MAX(h0) c0", "h2 = MIN(h0) c0"));
    assert!(!same("h2 = CONV_1X1(h0) d0", "h2 = CONV_1X1(h0) d2"));
    assert!(!same("h2 = CONV_1X1(h0) d2", "h2 = CONV_1X1(h0) d2 b2"));
    assert!(!same(
        "h2 = EXP(h0); h3 = SIN(h0); h4 = DIFFERENCE(h2, h3)",
        "h2 = SIN(h0); h3 = EXP(h0); h4 = DIFFERENCE(h2, h3)"
    ));
    // Two layers with their own weights are not one layer that is read twice.
    assert!(!same("h2 = SCALE(h0); h3 = SCALE(h0); h4 = ADD(h2, h3)", "h2 = SCALE(h0); h3 = ADD(h2, h2)"));
    let mut dna = seeds::transformer().unwrap();
    let hash = canonical_hash(&dna);
    dna.dims[4] = 64;
    dna.subprograms[0].label = "OTHER".into();
    assert_eq!(canonical_hash(&dna), hash, "an entry that nothing reads, and a label");
    dna.dims[0] = 4;
    assert_ne!(canonical_hash(&dna), hash);
}

/// A calling program and its inlined twin are the same.
#[test]
fn calls_are_transparent() {
    let called: Dna =
        "constants 0 0\ndims 2 8 1 1 1 1\nS0:\nh2 = S1(h0, h0) b8\nS1:\nh2 = CONV_1X1(h0) d0\nh3 = SQUARE(h2)"
            .parse()
            .unwrap();
    let nested: Dna = "constants 0 0\ndims 2 8 1 1 1 1\nS0:\nh2 = S1(h0, h0) b8\nS1:\nh2 = S2(h0, h1)\nh3 = SQUARE(h2)\nS2:\nh2 = CONV_1X1(h0) d0"
        .parse()
        .unwrap();
    assert_eq!(canonical_form(&called), canonical_form(&nested));
}

#[test]
fn seeds_have_their_own_stable_hashes() {
    let hashes: Vec<CanonicalHash> =
        seeds::PROGRAMS.map(|(_, text)| canonical_hash(&text.parse().unwrap()).unwrap()).to_vec();
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    let json = serde_json::to_string(&hashes[0]).unwrap();
    assert_eq!(serde_json::from_str::<CanonicalHash>(&json).unwrap(), hashes[0]);
    assert!(serde_json::from_str::<CanonicalHash>("\"12\"").is_err());
}

/// What a plan computes from parameters that depend on their place and shape alone: the last block's output.
fn output(plan: &Plan) -> Vec<f64> {
    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph).unwrap();
    let output = Tensor::raise(&graph, &HashMap::new())[lowered.block_output.index()].clone();
    let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
    for (place, parameter) in plan.parameters().iter().enumerate() {
        let mut rng = Rng::new(place as u64, 0, Purpose::InitialValues);
        inputs.insert(parameter.name.clone(), (0..parameter.numel()).map(|_| rng.normal()).collect());
    }
    let mut rng = Rng::new(0, 0, Purpose::InitialValues);
    inputs.insert("positions".into(), (0..SIZES.sequence * plan.width()).map(|_| rng.normal()).collect());
    inputs.insert("tokens".into(), (0..SIZES.batch * SIZES.sequence).map(|_| rng.below(SIZES.vocab) as f64).collect());
    let program = Program::trace(&[output], &[]).unwrap();
    evaluate(&program, &inputs, Precision::F64).unwrap()[&program.outputs[0]].data.clone()
}

fn at(dims: &str, unit: u64, body: &str) -> Plan {
    let lines: Vec<&str> = body.split(';').collect();
    let dna: Dna = format!("constants 0.5 0.5\ndims {dims}\nS0:\n{}", lines.join("\n")).parse().unwrap();
    plan_with_unit(&dna, unit, SIZES).unwrap()
}

#[test]
fn at_its_sizes_a_program_is_what_it_computes() {
    let same = |a: Plan, b: Plan| {
        assert_eq!(planned_form(&a), planned_form(&b));
        assert_eq!(output(&a), output(&b));
    };
    let dense = "h2 = CONV_1X1(h0) d0; h3 = CONV_3X1(h2) d1";
    // The same channels of another unit.
    same(at("2 8 1 1 1 1", 6, dense), at("4 16 1 1 1 1", 3, dense));
    // Branches of a dense layer are shares of its columns, also when what follows takes element by element.
    same(at("2 8 1 1 1 1", 8, dense), at("2 8 1 1 1 1", 8, "h2 = CONV_1X1(h0) d0 b4; h3 = CONV_3X1(h2) d1 b16"));
    let called = |inside: &str| {
        let text = format!("h2 = S1(h0, h0) b4;S1:;h2 = CONV_1X1(h0) d1{inside};h3 = SQUARE(h2);h4 = C_MUL(h3) c0");
        at("2 8 1 1 1 1", 8, &text)
    };
    let flat = at("2 8 1 1 1 1", 8, "h2 = CONV_1X1(h0) d1; h3 = SQUARE(h2); h4 = C_MUL(h3) c0");
    same(called(""), flat.clone());
    same(called(" b2"), flat);

    let different = |a: Plan, b: Plan| assert_ne!(planned_form(&a), planned_form(&b));
    different(at("2 8 1 1 1 1", 6, dense), at("2 8 1 1 1 1", 4, dense));
    different(at("2 8 1 1 1 1", 6, dense), at("2 4 1 1 1 1", 6, dense));
    // What follows looks at a whole branch, or the branches differ before the layer.
    let sums = |branch| format!("h2 = S1(h0, h0) {branch};S1:;h2 = CONV_1X1(h0) d0;h3 = RED_SUM(h2)");
    different(at("2 8 1 1 1 1", 8, &sums("b2")), at("2 8 1 1 1 1", 8, &sums("b4")));
    let twice = |branch| format!("h2 = S1(h0, h0) {branch};S1:;h2 = CONV_1X1(h0) d0;h3 = CONV_1X1(h2) d0");
    different(at("2 8 1 1 1 1", 8, &twice("b2")), at("2 8 1 1 1 1", 8, &twice("b1")));
    different(at("2 8 1 1 1 1", 8, "h2 = DCONV_3X1(h0)"), at("2 8 1 1 1 1", 8, "h2 = DCONV_3X1(h0) b2"));
}

/// Whatever evolution makes: programs of one form that differ as texts compute the same.
#[test]
fn mutated_programs_of_one_form_compute_the_same() {
    let start = seeds::with_banks(seeds::transformer().unwrap(), 2, 4, [2, 8, 1, 1, 4, 16]).unwrap();
    let limits = Limits::around(&start, 4, SIZES).unwrap();
    let short: Dna = "constants 0 1\ndims 2 8 1 2 4 16\nS0:\nh2 = CONV_1X1(h0) d0\nh3 = S1(h2, h0) b2\nS1:\n\
        h2 = CONV_1X1(h0) d1 b2\nh3 = SQUARE(h2)\nh4 = CONV_1X1(h3) d2"
        .parse()
        .unwrap();
    let around_short = Limits::around(&short, 4, SIZES).unwrap();
    let mut known: BTreeMap<String, (CanonicalHash, Vec<f64>)> = BTreeMap::new();
    let (mut twins, mut children) = (0, 0);
    for (number, (start, limits)) in [(&start, &limits), (&short, &around_short)].into_iter().enumerate() {
        for line in 0..[20, 300][number] {
            let mut dna = start.clone();
            let mut rng = Rng::new(number as u64, line, Purpose::Mutation);
            for _ in 0..10 {
                dna = apply(&dna, &draw(&dna, &mut rng)).unwrap();
                let Ok(plan) = plan(&dna, SIZES, limits) else { continue };
                // The start of a parameter depends on its place among those of its shape.
                let shapes: Vec<&[usize]> = plan.parameters().iter().map(|p| p.shape.as_slice()).collect();
                let form = format!("{} {shapes:?}", planned_hash(&plan));
                let (own, found) = (canonical_hash(&dna).unwrap(), output(&plan));
                children += 1;
                match known.get(&form) {
                    Some((other, expected)) if *other != own => {
                        let scale = expected.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
                        let close =
                            |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * scale || !a.is_finite() && !b.is_finite();
                        assert!(found.iter().zip(expected).all(close), "{dna}");
                        twins += 1;
                    }
                    Some(_) => {}
                    None => {
                        known.insert(form, (own, found));
                    }
                }
            }
        }
    }
    assert!(twins >= 20, "{twins} of {children}");
}
