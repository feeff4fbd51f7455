//! From a program to a graph: shapes, the unit, limits, and values against the naive interpreter.

use std::collections::HashMap;

use primer_autodiff::grad_graph;
use primer_search::Rejection;
use primer_search::dna::{Dna, Primitive, seeds};
use primer_search::lower::{Init, Limits, Plan, Sizes, initial_values, plan, plan_with_unit, positions};
use primer_search::mutate::{apply, draw};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{DType, Graph, InputKind, Program};

use crate::naive;

const TINY: Sizes = Sizes { layers: 2, vocab: 11, sequence: 5, batch: 2 };
const SMALL: Sizes = Sizes { layers: 2, vocab: 256, sequence: 64, batch: 16 };

fn program(body: &str) -> Dna {
    let lines: Vec<&str> = body.split(';').collect();
    format!("constants 0.5 -0.25\ndims 2 4 1 8 4 16\nS0:\n{}", lines.join("\n")).parse().unwrap()
}

/// Values for every parameter, none of them 0 or 1 as a SHIFT or SCALE would start.
fn weights(plan: &Plan, seed: u64) -> HashMap<String, Vec<f64>> {
    let mut rng = Rng::new(seed, 0, Purpose::LeakTest);
    let values =
        |p: &primer_search::lower::Parameter, rng: &mut Rng| (0..p.numel()).map(|_| 0.5 * rng.normal()).collect();
    plan.parameters().iter().map(|p| (p.name.clone(), values(p, &mut rng))).collect()
}

/// The blocks' input and output by the graph on the reference, `[batch·n][d]` each.
fn by_graph(plan: &Plan, weights: &HashMap<String, Vec<f64>>, precision: Precision) -> [Vec<Vec<f64>>; 2] {
    let sizes = plan.sizes();
    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph).unwrap();
    graph.verify().unwrap();
    let rows = sizes.batch * sizes.sequence;
    assert_eq!(graph.shape(lowered.logits)[..], [rows, sizes.vocab]);
    let mut inputs = weights.clone();
    inputs.insert("tokens".into(), (0..rows).map(|i| (i * 7 % sizes.vocab) as f64).collect());
    let signal = positions(sizes.sequence, plan.width());
    inputs.insert("positions".into(), signal.into_iter().map(f64::from).collect());
    let program = Program::new(graph, vec![lowered.block_input, lowered.block_output, lowered.logits], vec![]).unwrap();
    let values = evaluate(&program, &inputs, precision).unwrap();
    [lowered.block_input, lowered.block_output]
        .map(|id| values[&id].data.chunks(plan.width()).map(<[f64]>::to_vec).collect())
}

/// The same by the naive interpreter.
fn by_hand(dna: &Dna, plan: &Plan, weights: &HashMap<String, Vec<f64>>, input: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let sizes = plan.sizes();
    let sequence = |rows: &[Vec<f64>]| {
        (0..sizes.layers).fold(rows.to_vec(), |x, layer| {
            let own = plan.parameters().iter().filter(|p| p.layer == Some(layer));
            let mut own = own.map(|p| naive::Weights { shape: &p.shape, values: &weights[&p.name] });
            naive::block(dna, &x, plan.unit() as usize, &mut own)
        })
    };
    input.chunks(sizes.sequence).flat_map(sequence).collect()
}

/// Whether all pairs are close, or no number in both.
fn close(a: &[Vec<f64>], b: &[Vec<f64>], tolerance: f64) -> bool {
    let scale = b.iter().flatten().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.into_iter().all(|(x, y)| (x - y).abs() <= tolerance * scale || !x.is_finite() && !y.is_finite())
}

/// Panics where the graph and the naive interpreter differ. False, and nothing is compared, where
/// the program amplifies rounding so much that its value in f32 differs from that in f64.
fn compare(dna: &Dna, sizes: Sizes, unit: u64) -> bool {
    let plan = plan_with_unit(dna, unit, sizes).unwrap();
    let weights = weights(&plan, 3);
    let [input, output] = by_graph(&plan, &weights, Precision::F64);
    let [_, rounded] = by_graph(&plan, &weights, Precision::RoundedF32);
    if !close(&rounded, &output, 1e-3) {
        return false;
    }
    let expected = by_hand(dna, &plan, &weights, &input);
    assert!(close(&output, &expected, 1e-9), "{output:?} is not {expected:?} in\n{dna}");
    true
}

#[test]
fn the_seed_has_the_presets_size() {
    let seed = seeds::with_banks(seeds::transformer().unwrap(), 4, 16, [2, 8, 1, 1, 4, 16]).unwrap();
    let limits = Limits::around(&seed, 32, SMALL).unwrap();
    assert_eq!(limits.parameters, 115_968);
    // 0.88 and 1.12 of that.
    assert_eq!((limits.min_parameters, limits.max_parameters), (102_052, 129_884));
    let plan = plan(&seed, SMALL, &limits).unwrap();
    assert_eq!((plan.unit(), plan.width(), plan.parameter_count()), (32, 64, 115_968));
    let counted: usize = plan.parameters().iter().map(|p| p.numel()).sum();
    assert_eq!(counted as u64, plan.parameter_count());
    let block: Vec<(&str, &[usize])> = plan
        .parameters()
        .iter()
        .filter(|p| p.layer == Some(1))
        .map(|p| (p.name.as_str(), p.shape.as_slice()))
        .collect();
    assert_eq!(
        block[..4],
        [
            ("blocks.1.00.scale", &[64][..]),
            ("blocks.1.01.shift", &[64]),
            ("blocks.1.02.conv_1x1", &[64, 64]),
            ("blocks.1.03.conv_1x1", &[64, 64]),
        ]
    );
    assert_eq!(block[8], ("blocks.1.08.conv_1x1", &[64, 256][..]));
    assert_eq!(block.len(), 12);
}

/// Also where the widths between two units are odd.
#[test]
fn of_two_units_equally_near_the_smaller_is_taken() {
    let mut dna = program("h2 = SCALE(h0)");
    for (width, units) in [(2, [10, 11]), (1, [10, 12])] {
        dna.dims[0] = width;
        let [few, many] = units.map(|unit| plan_with_unit(&dna, unit, TINY).unwrap().parameter_count());
        // Two layers' scales, the embedding, and scale and shift of the last norm.
        assert_eq!([few, many], units.map(|unit| (2 + 11 + 2) * unit * u64::from(width)));
        let unit = |parameters: u64| {
            let (most, min_parameters) = (u64::MAX, 1);
            let limits = Limits { parameters, min_parameters, max_parameters: most, max_flops: most, max_bytes: most };
            plan(&dna, TINY, &limits).unwrap().unit()
        };
        let middle = (few + many) / 2;
        assert_eq!(middle - few, many - middle, "they aren't equally near");
        assert_eq!([middle, middle + 1].map(unit), units);
    }
}

/// Where x is C, the gradient passes, but for the MAX that is a ReLU.
#[test]
fn max_and_min_pass_the_gradient_at_their_constant() {
    for (primitive, constant, expected) in [
        ("MAX", 0.5, [0.0, 1.0, 1.0]),
        ("MAX", -0.25, [0.0, 1.0, 1.0]),
        ("MAX", 0.0, [0.0, 0.0, 1.0]),
        ("MIN", 0.5, [1.0, 1.0, 0.0]),
        ("MIN", -0.25, [1.0, 1.0, 0.0]),
        ("MIN", 0.0, [1.0, 1.0, 0.0]),
    ] {
        let mut dna = program(&format!("h2 = {primitive}(h0) c0; h3 = SCALE(h2)"));
        dna.constants[0] = constant;
        let plan = plan_with_unit(&dna, 1, Sizes { layers: 1, vocab: 2, sequence: 3, batch: 1 }).unwrap();
        let mut graph = Graph::new();
        let x = graph.input("x", InputKind::Data, [3, 2], DType::F32).unwrap();
        let scale = graph.input("scale", InputKind::State, [2], DType::F32).unwrap();
        let output = plan.build_block(&mut graph, x, &[scale]).unwrap();
        let loss = graph.sum_all(output).unwrap();
        let gradient = grad_graph(&mut graph, loss, &[x]).unwrap()[0];
        let backward = Program::new(graph, vec![gradient], vec![]).unwrap();
        // Below it, there and above, in both channels.
        let rows = [-1.0, 0.0, 1.0].into_iter().flat_map(|apart| [constant + apart; 2]).collect();
        let inputs = HashMap::from([("x".to_owned(), rows), ("scale".to_owned(), vec![1.0; 2])]);
        let values = evaluate(&backward, &inputs, Precision::F64).unwrap();
        let expected: Vec<f64> = expected.into_iter().flat_map(|gradient| [gradient; 2]).collect();
        assert_eq!(values[&gradient].data, expected, "{primitive} with {constant}");
    }
}

#[test]
fn the_seeds_agree_with_the_naive_interpreter() {
    for dna in seeds::PROGRAMS.map(|(_, text)| text.parse::<Dna>()) {
        assert!(compare(&dna.unwrap(), TINY, 8));
    }
}

/// The primitive on a V, on an A and inside two branches, its result on the way to the output; what branches an
/// attention matrix is among them, which no lowering takes.
pub fn in_every_place(primitive: Primitive) -> [Dna; 6] {
    let op = |inputs: &str| {
        let first = inputs.split(',').next().unwrap();
        let inputs = if primitive.uses_input_2() { inputs } else { first };
        let constant = if primitive.uses_constant() { " c1" } else { "" };
        let dim = if primitive.uses_dim() { " d1" } else { "" };
        format!("{}({inputs}){constant}{dim}", primitive.name())
    };
    [
        format!("h2 = CONV_1X1(h0) d0; h3 = {}", op("h2, h0")),
        format!("h2 = CONV_1X1(h0) d3; h3 = {}", op("h2, h0")),
        format!("h2 = CONV_1X1(h0) d0; h3 = {} b2; h4 = SHIFT(h3)", op("h2, h0")),
        format!("h2 = SCALE(h0); h3 = T_MAT_MUL(h2, h0); h4 = {}", op("h3, h0")),
        format!("h2 = SCALE(h0); h3 = T_MAT_MUL(h2, h0); h4 = {}; h5 = SHIFT(h4)", op("h0, h3")),
        format!("h2 = SCALE(h0); h3 = T_MAT_MUL(h2, h0); h4 = {}; h5 = MAT_MUL(h4, h2)", op("h3, h3")),
    ]
    .map(|body| program(&body))
}

/// Each primitive on a V, on an A and inside two branches, its result on the way to the output.
#[test]
fn every_primitive_agrees_with_the_naive_interpreter() {
    for primitive in Primitive::ALL {
        let mut compared = 0;
        for dna in in_every_place(primitive) {
            match plan_with_unit(&dna, 2, TINY) {
                Ok(_) => compared += usize::from(compare(&dna, TINY, 2)),
                Err(rejection) => {
                    assert!(matches!(rejection, Rejection::BranchedAttention { .. }), "{rejection} {dna}")
                }
            }
        }
        assert!(compared >= 4, "{}: {compared} of 6", primitive.name());
    }
}

#[test]
fn nested_branches_agree_with_the_naive_interpreter() {
    let text = "constants 0.5 2\ndims 8 16 1 1 4 2\nS0:\nh2 = S1(h0, h0) b2\nh3 = ADD(h2, h0)\n\
        S1:\nh2 = SCALE(h0)\nh3 = S2(h2, h0) b4\nh4 = S2(h0, h0) b2\nh5 = ADD(h3, h4)\n\
        S2:\nh2 = CONV_3X1(h0) d1\nh3 = DCONV_3X1(h2)\nh4 = CONV_1X1(h1) d0\nh5 = T_MAT_MUL(h3, h4)\nh6 = SHIFT(h5)\nh7 = MAT_MUL(h6, h0)\nh8 = CUM_SUM(h7)";
    assert!(compare(&text.parse().unwrap(), TINY, 2));
}

/// A branched dense layer is the same dense layer, its columns split.
#[test]
fn branches_of_a_dense_layer_are_its_columns() {
    let outputs: Vec<_> = ["h2 = CONV_1X1(h0) d1", "h2 = CONV_1X1(h0) d1 b4"]
        .iter()
        .map(|body| {
            let plan = plan_with_unit(&program(body), 4, TINY).unwrap();
            let weights = weights(&plan, 1);
            by_graph(&plan, &weights, Precision::F64)
        })
        .collect();
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn programs_are_rejected_with_a_reason() {
    let seed = seeds::transformer().unwrap();
    let limits = Limits::around(&seed, 32, SMALL).unwrap();
    let cost = plan_with_unit(&seed, 32, SMALL).unwrap();
    assert_eq!((limits.max_flops, limits.max_bytes), (4 * cost.flops(), 16 * cost.bytes()));
    let tight = Limits { max_flops: cost.flops() - 1, ..limits };
    let over = Rejection::Cost { cost: cost.flops(), limit: cost.flops() - 1 };
    assert_eq!(plan(&seed, SMALL, &tight).unwrap_err(), over);
    let reject = |dna: &Dna| plan(dna, SMALL, &limits).unwrap_err();
    assert_eq!(reject(&program("h2 = EXP(h0)")).to_string(), Rejection::NoParameter.to_string());
    let mut long = program("h2 = CONV_31X1(h0) d0");
    long.dims[0] = 64;
    match reject(&long) {
        Rejection::ParameterWindow { nearest: Some(count), .. } => assert_eq!(count, 2 * 31 * 64 * 64 + 256 * 64 + 128),
        other => panic!("{other}"),
    }
    let attention = program("h2 = SCALE(h0); h3 = T_MAT_MUL(h2, h0) b2");
    assert!(matches!(reject(&attention), Rejection::BranchedAttention { .. }));
    let mut deep = seed.clone();
    deep.subprograms[9].instructions = vec![program("h2 = ADD(h0, h0) b16").subprograms[0].instructions[0]; 12];
    for (i, instruction) in deep.subprograms[9].instructions.iter_mut().enumerate() {
        instruction.input_1 = i + 1;
        instruction.input_2 = i + 1;
    }
    assert!(matches!(reject(&deep), Rejection::Memory { .. }), "{}", reject(&deep));
}

#[test]
fn the_loser_is_resized_and_fixed_for_ever() {
    use primer_search::lower::loser_is_wider;
    let wider = (1..200u64).filter(|&narrow| loser_is_wider(Primitive::Add, narrow, 200)).count();
    assert!((70..130).contains(&wider), "{wider}");
    let some: Vec<bool> = (2..10).map(|narrow| loser_is_wider(Primitive::Multiply, narrow, 64)).collect();
    assert_eq!(some, SOME_LOSERS, "a change makes stored programs mean something else");
}

const SOME_LOSERS: [bool; 8] = [true, true, false, true, true, false, true, true];

#[test]
fn starts_depend_on_what_a_parameter_is_and_not_on_the_rest() {
    let seed = plan_with_unit(&seeds::transformer().unwrap(), 32, SMALL).unwrap();
    let edited = plan_with_unit(&seeds::primer_ez().unwrap(), 32, SMALL).unwrap();
    for parameter in seed.parameters() {
        let same = |p: &&primer_search::lower::Parameter| {
            (p.op, &p.shape, p.layer, p.ordinal) == (parameter.op, &parameter.shape, parameter.layer, parameter.ordinal)
        };
        let twin = edited.parameters().iter().find(same).unwrap();
        assert_eq!(initial_values(parameter, 7), initial_values(twin, 7), "{}", parameter.name);
    }
    let dense: Vec<_> = seed.parameters().iter().filter(|p| matches!(p.init, Init::Normal(_))).collect();
    let mut starts: Vec<u32> = dense.iter().map(|p| initial_values(p, 7)[0].to_bits()).collect();
    assert_ne!(starts[0], initial_values(dense[0], 8)[0].to_bits());
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts.len(), dense.len(), "no two parameters start alike");
    let taps = edited.parameters().iter().find(|p| p.op == "DCONV_3X1").unwrap();
    assert_eq!(taps.init, Init::Normal(3f64.powf(-0.5)));
}

/// Programs along random chains of mutations lower to what the naive interpreter computes, or are
/// rejected.
#[test]
fn mutated_programs_agree_with_the_naive_interpreter() {
    let sizes = Sizes { layers: 1, vocab: 3, sequence: 4, batch: 1 };
    let (mut compared, mut discarded) = (0, 0);
    for chain in 0..60 {
        let mut dna: Dna = [seeds::TRANSFORMER, seeds::PRIMER_EZ, seeds::PRIMER][chain % 3].parse().unwrap();
        let mut rng = Rng::new(21, chain as u64, Purpose::Mutation);
        for step in 0..30 {
            dna = apply(&dna, &draw(&dna, &mut rng)).unwrap();
            let Ok(plan) = plan_with_unit(&dna, 4, sizes) else { continue };
            if step % 5 == 0 && plan.bytes() < 1 << 21 && plan.flops() < 1 << 21 {
                if compare(&dna, sizes, 4) { compared += 1 } else { discarded += 1 }
            }
        }
    }
    assert!(compared >= 150 && discarded * 10 <= 3 * compared, "{compared} compared, {discarded} discarded");
}
