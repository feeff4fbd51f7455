//! Programs as Rust: the text, what the compiled text computes, and what the text of mutated programs computes.

mod compiled;
mod interpreter;

use std::collections::HashMap;
use std::process::Command;

use primer_autodiff::grad_tensors;
use primer_models::arch::Model;
use primer_models::nn::{Dims, Scope};
use primer_models::{Arch, ModelConfig, Size};
use primer_search::dna::{Dna, Primitive, seeds};
use primer_search::export::{Origin, to_rust};
use primer_search::lower::{Plan, Sizes, plan_with_unit, positions};
use primer_search::mutate::{apply, draw};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{DType, Graph, NodeId, Program, Tensor};

use crate::lower::in_every_place;
use interpreter::Exported;

type Block<'a> = &'a dyn Fn(Scope<'_>, Dims, &Tensor) -> Tensor;

/// The program's text at that unit and those sizes.
fn exported(dna: &Dna, unit: u64, sizes: Sizes) -> String {
    to_rust(dna, unit, sizes, Origin { name: "test", history: "Made by a test." }).unwrap()
}

/// A program `mutations` drawn mutations away from a built-in one.
pub fn mutated(number: u64, mutations: usize) -> Dna {
    let (_, start) = seeds::PROGRAMS[number as usize % seeds::PROGRAMS.len()];
    let mut rng = Rng::new(57, number, Purpose::Mutation);
    (0..mutations).fold(start.parse().unwrap(), |dna, _| apply(&dna, &draw(&dna, &mut rng)).unwrap())
}

/// Parameters, none of them 0 or 1 as a SHIFT or SCALE would start, tokens, targets and the position signal.
fn inputs(plan: &Plan) -> HashMap<String, Vec<f64>> {
    let Sizes { vocab, sequence, batch, .. } = plan.sizes();
    let mut rng = Rng::new(5, 0, Purpose::InitialValues);
    let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
    for parameter in plan.parameters() {
        let values = (0..parameter.numel()).map(|_| f64::from(0.5 * rng.normal() as f32));
        inputs.insert(parameter.name.clone(), values.collect());
    }
    inputs.insert("positions".into(), positions(sequence, plan.width()).into_iter().map(f64::from).collect());
    for name in ["tokens", "targets"] {
        inputs.insert(name.into(), (0..batch * sequence).map(|_| rng.below(vocab) as f64).collect());
    }
    inputs
}

/// A recorded model.
pub struct Recorded {
    /// The last block's output.
    output: Tensor,
    logits: Tensor,
    weights: Vec<Tensor>,
}

/// By the lowering.
pub fn lowered(plan: &Plan) -> Recorded {
    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph).unwrap();
    let tensors = Tensor::raise(&graph, &HashMap::new());
    let tensor = |id: NodeId| tensors[id.index()].clone();
    let weights = lowered.parameters.iter().map(|&id| tensor(id)).collect();
    Recorded { output: tensor(lowered.block_output), logits: tensor(lowered.logits), weights }
}

/// By an exported block in the shell of the hand-written models; its parameters must be the program's.
fn by_block(plan: &Plan, block: Block<'_>) -> Recorded {
    let Sizes { layers, vocab, sequence, batch } = plan.sizes();
    let shell = ModelConfig::new(Arch::Vanilla, Size::Nano);
    let config = ModelConfig { vocab, d_model: plan.width(), layers, heads: 1, seq: sequence, ..shell };
    let model = Model::with_block(&config, batch, block).unwrap();
    let expected: Vec<_> = plan.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
    assert_eq!(model.shapes(), expected);
    for (found, parameter) in model.params.iter().zip(plan.parameters()).filter(|(_, p)| p.layer.is_some()) {
        assert_eq!(found.init, parameter.model_init(), "{}", parameter.name);
    }
    let output = model.residual_stream.last().unwrap().clone();
    Recorded { output, logits: model.logits, weights: model.weights }
}

fn values(plan: &Plan, outputs: &[Tensor], precision: Precision) -> Vec<Vec<f64>> {
    let program = Program::trace(outputs, &[]).unwrap();
    let values = evaluate(&program, &inputs(plan), precision).unwrap();
    program.outputs.iter().map(|id| values[id].data.clone()).collect()
}

/// Logits, and the gradients of the mean loss.
pub fn with_gradients(plan: &Plan, Recorded { logits, weights, .. }: &Recorded) -> Vec<Tensor> {
    let targets = Tensor::data("targets", [plan.sizes().batch * plan.sizes().sequence], DType::U32);
    let mut outputs = vec![logits.clone()];
    outputs.extend(grad_tensors(&logits.cross_entropy(&targets).mean(), weights).unwrap());
    outputs
}

fn gradients(plan: &Plan, recorded: &Recorded, precision: Precision) -> Vec<Vec<f64>> {
    values(plan, &with_gradients(plan, recorded), precision)
}

/// Whether two tensors are the same but for rounding, or no number in both.
fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let scale = b.iter().filter(|x| x.is_finite()).fold(1e-3f64, |m, x| m.max(x.abs()));
    let same = |x: f64, y: f64| (x - y).abs() <= tolerance * scale || !x.is_finite() && !y.is_finite();
    a.len() == b.len() && a.iter().zip(b).all(|(&x, &y)| same(x, y))
}

/// Panics where the blocks' output isn't that of the lowering, bit for bit. False if nothing of it is a number.
fn same_output(plan: &Plan, block: Block<'_>, what: &str) -> bool {
    let of = |recorded: Recorded| values(plan, &[recorded.output], Precision::F64).swap_remove(0);
    let (expected, found) = (of(lowered(plan)), of(by_block(plan, block)));
    let bits = |values: &[f64]| values.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<_>>();
    assert_eq!(bits(&found), bits(&expected), "{what}");
    expected.iter().any(|x| x.is_finite())
}

/// The same, and panics where logits or gradients differ. False, and they aren't compared, where the program amplifies
/// rounding so much that those in f32 are others.
fn same_gradients(plan: &Plan, block: Block<'_>, what: &str) -> bool {
    let program = lowered(plan);
    let [expected, rounded] = [Precision::F64, Precision::RoundedF32].map(|p| gradients(plan, &program, p));
    let finite = same_output(plan, block, what);
    if !finite || !expected.iter().zip(&rounded).all(|(exact, rounded)| close(rounded, exact, 1e-2)) {
        return false;
    }
    let found = gradients(plan, &by_block(plan, block), Precision::F64);
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(close(found, expected, 1e-9), "tensor {number} of {what}: {found:?}, expected {expected:?}");
    }
    true
}

fn plan_of(dna: &Dna, unit: u64) -> Plan {
    plan_with_unit(dna, unit, Sizes { layers: 2, vocab: 13, sequence: 6, batch: 2 }).unwrap()
}

/// The compiled files of `compiled` compute what their programs are lowered to, at other sizes than they were exported
/// for.
#[test]
fn compiled_exports_are_their_programs() {
    for (name, dna, _, block) in compiled::all() {
        assert!(same_gradients(&plan_of(&dna, 8), &block, name), "{name} amplifies rounding");
        if compiled::SEEDS.contains(&name) {
            assert!(same_output(&plan_of(&dna, 4), &block, name), "{name} gives no number");
        }
    }
}

/// The files in the repository are what is exported today. `PRIMER_WRITE=1` writes them anew.
#[test]
fn committed_exports_are_what_is_exported() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut stale = Vec::new();
    for (name, dna, path, _) in compiled::all() {
        let text = compiled::text(name, &dna);
        assert!(text.lines().count() < 180, "{name} is long");
        let path = root.join(path);
        if std::env::var_os("PRIMER_WRITE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap() != text {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "{stale:?}: run the test with PRIMER_WRITE=1 and look at what has changed");
}

/// Each primitive on a V, on an A and inside two branches, its gradients too.
#[test]
fn every_primitive_is_exported_as_it_is_lowered() {
    for primitive in Primitive::ALL {
        let mut compared = 0;
        for dna in in_every_place(primitive) {
            // what branches an attention matrix is no program
            let sizes = Sizes { layers: 1, vocab: 11, sequence: 5, batch: 2 };
            let Ok(plan) = plan_with_unit(&dna, 2, sizes) else { continue };
            let text = exported(&dna, 2, sizes);
            let file = Exported::parse(&text);
            compared += usize::from(same_gradients(&plan, &|scope, dims, x| file.block(scope, dims, x), &text));
        }
        assert!(compared >= 4, "{}: {compared} of 6", primitive.name());
    }
}

#[test]
fn nested_branches_are_exported_as_they_are_lowered() {
    let text = "constants 0.5 -0.0\ndims 8 16 1 1 4 2\nS0:\nh2 = S1(h0, h0) b2\nh3 = ADD(h2, h0)\nh4 = CONV_1X1(h3) d0\n\
        S1 SELF:\nh2 = SCALE(h0)\nh3 = S2(h2, h0) b4\nh4 = S2(h0, h0) b2\nh5 = ADD(h3, h4)\n\
        S2 S2-OUT:\nh2 = CONV_3X1(h0) d1\nh3 = DCONV_3X1(h2)\nh4 = CONV_1X1(h1) d0\nh5 = T_MAT_MUL(h3, h4)\nh6 = SHIFT(h5)\n\
        h7 = MAT_MUL(h6, h0)\nh8 = CUM_SUM(h7)\nh9 = S3(h8, h8)\nh10 = S3(h7, h0) b2\nh11 = MULTIPLY(h9, h10)\n\
        S3 2ND:\nh2 = MAX(h0) c1";
    let dna: Dna = text.parse().unwrap();
    let plan = plan_of(&dna, 2);
    let text = exported(&dna, 2, plan.sizes());
    let file = Exported::parse(&text);
    assert!(same_output(&plan, &|scope, dims, x| file.block(scope, dims, x), &text), "{text}");
}

/// Whatever evolution makes of a program: the text is Rust, formatted, within 120 columns, and computes what the
/// lowering does, at other sizes too where no width depends on the sizes in another way.
#[test]
fn mutated_programs_are_exported_as_they_are_lowered() {
    let sizes = Sizes { layers: 1, vocab: 3, sequence: 4, batch: 2 };
    let folder = tempfile::tempdir().unwrap();
    let (mut compared, mut elsewhere, mut files) = (0, 0, Vec::new());
    for number in 0..250 {
        let dna = mutated(number, 1 + number as usize % 25);
        let Ok(plan) = plan_with_unit(&dna, 8, sizes) else { continue };
        if plan.bytes() > 1 << 21 || plan.flops() > 1 << 21 {
            continue;
        }
        let text = exported(&dna, 8, sizes);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let file = Exported::parse(&text);
        let block: Block<'_> = &|scope, dims, x| file.block(scope, dims, x);
        compared += usize::from(same_output(&plan, block, &text));
        if !text.contains("unequal widths") {
            let other = plan_with_unit(&dna, 16, Sizes { sequence: 7, ..sizes }).unwrap();
            elsewhere += usize::from(same_output(&other, block, &text));
        }
        let path = folder.path().join(format!("program_{number}.rs"));
        std::fs::write(&path, text).unwrap();
        files.push(path);
    }
    assert!(compared >= 150 && elsewhere >= 100, "{compared} compared, {elsewhere} at other sizes");
    let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut rustfmt = Command::new("rustfmt");
    let rustfmt = rustfmt.args(["--check", "--edition", "2024", "--config-path"]).arg(config).args(&files);
    let output = rustfmt.output().expect("rustfmt is there: rustup component add rustfmt");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
