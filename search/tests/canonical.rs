//! Equal computations have equal canonical forms, and only those.

use primer_search::canonical::{CanonicalHash, canonical_form, canonical_hash};
use primer_search::dna::{Dna, seeds};

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
