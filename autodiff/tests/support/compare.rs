//! What a device gave against the oracle, with a tolerance that the oracle itself sets.
//!
//! The oracle runs in f64 and again with every op rounded to f32. What a device may differ by in a tensor is 16 times
//! the largest difference of the two, plus the largest epsilon of the primitives on the way ([`Op::epsilon`]) of the
//! tensor's scale; where that is 0, nothing. NaN and infinities follow the rounded run. Rounding doesn't show in a sum
//! of inputs, which are exact and are added in f64, so two more runs move each input by two units in the last place.

use std::collections::HashMap;

use primer_autodiff::check::decisions;
use primer_tensor::reference::{Precision, Value, evaluate};
use primer_tensor::{
    BinaryOp, DType, Data, Device, Executable, Graph, InputKind, NodeId, Op, Program, ReduceOp, Result, State, UnaryOp,
};

use super::leaves::{Values, random, wide};
use super::table::edges::EdgeCase;

/// Allowed in random programs of the largest value on the way: equal terms may cancel exactly in the oracle, and on a
/// device to the rounding of the terms.
pub const EPSILON: f64 = 2e-6;

/// Beyond the smallest normal number: a device may flush what lies below to zero.
const FLUSHED: f64 = 1.2e-38;

/// What the oracle says of a program: its outputs, then its new state.
pub struct Expected {
    wide: Vec<Vec<f64>>,
    rounded: Vec<Vec<f64>>,
    /// For each output and state the largest difference between runs.
    spread: Vec<f64>,
    /// The largest finite value computed on the way.
    pub largest: f64,
    /// The two runs decide alike, no decision is close, and they differ by less than 1e-3 of the scale.
    pub stable: bool,
    /// No result is infinite or NaN.
    pub finite: bool,
}

pub fn expect(program: &Program, inputs: &[(String, Values)]) -> Expected {
    let inputs = wide(inputs);
    let run = |inputs: &HashMap<String, Vec<f64>>, precision| {
        evaluate(program, inputs, precision).expect("inputs are complete")
    };
    let (exact, rounded) = (run(&inputs, Precision::F64), run(&inputs, Precision::RoundedF32));
    let decided = decisions(&program.graph, &exact);
    let alike = decided == decisions(&program.graph, &rounded);
    let close = close_decision(&program.graph, &exact);
    let of = |values: &HashMap<NodeId, Value>| -> Vec<Vec<f64>> {
        program.roots().map(|id| values[&id].data.clone()).collect()
    };
    let (wide, rounded) = (of(&exact), of(&rounded));
    let mut spread: Vec<f64> = wide.iter().zip(&rounded).map(|(w, r)| difference(w, r)).collect();
    for seed in 1..=2 {
        let moved = run(&moved(program, &inputs, seed), Precision::F64);
        if decisions(&program.graph, &moved) == decided {
            let moved = of(&moved);
            for (spread, (w, m)) in spread.iter_mut().zip(wide.iter().zip(&moved)) {
                *spread = spread.max(difference(w, m));
            }
        }
    }
    let near = wide.iter().zip(&spread).all(|(w, &spread)| spread <= 1e-3 * scale(w));
    let finite = rounded.iter().flatten().all(|x| x.is_finite());
    let largest = exact.values().map(|value| scale(&value.data)).fold(0.0, f64::max);
    Expected { stable: alike && near && !close, largest, finite, wide, rounded, spread }
}

/// Every float input moved by two units in the last place, up or down.
fn moved(program: &Program, inputs: &HashMap<String, Vec<f64>>, seed: u64) -> HashMap<String, Vec<f64>> {
    let mut moved = inputs.clone();
    for info in program.graph.inputs() {
        if program.graph.dtype(info.node) == DType::F32 {
            let data = moved.get_mut(&info.name).expect("inputs are complete");
            let numbers = random(seed + 100 * info.node.index() as u64, data.len());
            for (x, u) in data.iter_mut().zip(numbers) {
                *x *= if u < 0.5 { 1.0 - 2f64.powi(-22) } else { 1.0 + 2f64.powi(-22) };
            }
        }
    }
    moved
}

/// A program compiled for a device, its state, and its data.
pub type Ready<'a> = (Executable, State, Vec<(&'a str, Data<'a>)>);

/// A program ready to run on a device.
pub fn prepare<'a>(device: &Device, program: &Program, inputs: &'a [(String, Values)]) -> Result<Ready<'a>> {
    let executable = device.compile(program)?;
    let mut state = State::new(device);
    let mut data = Vec::new();
    for (name, values) in inputs {
        let info = program.graph.input_named(name).expect("the program's own input");
        match values {
            Values::F32(values) if info.kind == InputKind::State => {
                state.insert(name, program.graph.shape(info.node), values)?;
            }
            values => data.push((name.as_str(), values.as_data())),
        }
    }
    Ok((executable, state, data))
}

/// Runs a program once on a device: its outputs, then its new state.
pub fn run(device: &Device, program: &Program, inputs: &[(String, Values)]) -> Result<Vec<Vec<f32>>> {
    let (mut executable, mut state, data) = prepare(device, program, inputs)?;
    executable.run(&mut state, &data)?;
    let mut found = (0..program.outputs.len()).map(|i| executable.output(i)).collect::<Result<Vec<_>>>()?;
    for (target, _) in &program.updates {
        let info = program.graph.inputs().iter().find(|info| info.node == *target).expect("a state");
        found.push(state.read(&info.name)?);
    }
    Ok(found)
}

/// For each root of a program the largest epsilon of the primitives that it depends on.
fn epsilons(program: &Program) -> Vec<f64> {
    let mut largest: Vec<f64> = Vec::new();
    for node in program.graph.nodes() {
        let operands = node.operands.iter().map(|o| largest[o.index()]);
        largest.push(operands.fold(node.op.epsilon(), f64::max));
    }
    program.roots().map(|root| largest[root.index()]).collect()
}

/// The first element that is out of tolerance by more than `floor`, in words.
pub fn mismatch(program: &Program, expected: &Expected, found: &[Vec<f32>], floor: f64) -> Option<String> {
    let epsilons = epsilons(program);
    for (index, id) in program.roots().enumerate() {
        let (wide, rounded, found) = (&expected.wide[index], &expected.rounded[index], &found[index]);
        let spread = expected.spread[index];
        if found.len() != wide.len() {
            return Some(format!("root {index} ({id:?}) has {} elements, not {}", found.len(), wide.len()));
        }
        let exact = epsilons[index] == 0.0;
        let tolerance = if exact { FLUSHED } else { 16.0 * spread + epsilons[index] * scale(wide) + FLUSHED + floor };
        for (element, &got) in found.iter().enumerate() {
            let want = if exact { rounded[element] } else { wide[element] };
            if !agrees(want, rounded[element], f64::from(got), tolerance) {
                let what = format!("root {index} ({id:?}) element {element}");
                return Some(format!("{what}: {got:e}, expected {want:e} ± {tolerance:e}"));
            }
        }
    }
    None
}

/// The elements of the only output that are out of tolerance, in words. Every element is its own scale: these are
/// results over all magnitudes. On a GPU subnormal operands may be flushed to zero, and results with them.
pub fn edge_mismatch(case: &EdgeCase, found: &[f32], gpu: bool) -> Vec<String> {
    let epsilon = epsilons(&case.program)[0];
    let as_given = expect(&case.program, &case.inputs);
    let flushed = gpu.then(|| expect(&case.program, &flushed(&case.inputs)));
    assert_eq!(found.len(), as_given.wide[0].len(), "{}", case.name);
    let agrees_with = |expected: &Expected, i: usize| {
        let (wide, rounded, found) = (expected.wide[0][i], expected.rounded[0][i], found[i]);
        let operand = match &case.inputs.first() {
            Some((_, Values::F32(values))) if values[i % values.len()].is_finite() => values[i % values.len()].into(),
            _ => 0.0,
        };
        let relative = case.roundings * epsilon * wide.abs();
        let tolerance = 16.0 * (wide - rounded).abs() + relative + (case.floor)(operand) + FLUSHED;
        let sign = !case.keeps_sign || rounded != 0.0 || found.is_sign_negative() == rounded.is_sign_negative();
        agrees(wide, rounded, f64::from(found), tolerance) && sign
    };
    let wrong = (0..found.len()).filter(|&i| {
        let unspecified = gpu && !case.nan_is_specified && as_given.rounded[0][i].is_nan();
        !unspecified && !agrees_with(&as_given, i) && !flushed.as_ref().is_some_and(|f| agrees_with(f, i))
    });
    wrong
        .map(|i| format!("{}: element {i} is {:e}, expected {:e}", case.name, found[i], as_given.rounded[0][i]))
        .collect()
}

/// The inputs with zeros of the same sign for subnormal numbers.
fn flushed(inputs: &[(String, Values)]) -> Vec<(String, Values)> {
    let flush = |x: &f32| if x.is_subnormal() { 0f32.copysign(*x) } else { *x };
    let flush = |values: &Values| match values {
        Values::F32(values) => Values::F32(values.iter().map(flush).collect()),
        Values::U32(_) => values.clone(),
    };
    inputs.iter().map(|(name, values)| (name.clone(), flush(values))).collect()
}

/// Every bit, but that one NaN is as good as another.
pub fn bits(found: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    found.iter().map(|values| values.iter().map(bits).collect()).collect()
}

fn agrees(wide: f64, rounded: f64, found: f64, tolerance: f64) -> bool {
    if rounded.is_nan() {
        found.is_nan()
    } else if rounded.is_infinite() {
        found == rounded
    } else {
        (found - wide).abs() <= tolerance
    }
}

fn difference(wide: &[f64], rounded: &[f64]) -> f64 {
    wide.iter().zip(rounded).map(|(w, r)| (w - r).abs()).filter(|d| d.is_finite()).fold(0.0, f64::max)
}

fn scale(values: &[f64]) -> f64 {
    values.iter().filter(|x| x.is_finite()).fold(0.0, |largest, x| largest.max(x.abs()))
}

/// Whether a comparison or a maximum is so close that another order of summation may decide it otherwise.
fn close_decision(graph: &Graph, values: &HashMap<NodeId, Value>) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-5 * (a.abs() + b.abs() + 1e-3);
    let close = |a: f64, b: f64| a != b && (a - b).is_finite() && near(a, b);
    graph.ids().filter(|id| values.contains_key(id)).any(|id| {
        let node = graph.node(id);
        match &node.op {
            Op::Compare(_) | Op::Binary(BinaryOp::Max | BinaryOp::Min) => {
                let (a, b) = (&values[&node.operands[0]].data, &values[&node.operands[1]].data);
                a.iter().zip(b).any(|(&a, &b)| close(a, b))
            }
            // What is nearly 0 beside its neighbours is the rounding of terms that cancel.
            Op::Unary(UnaryOp::Sign) => {
                let x = &values[&node.operands[0]].data;
                let scale = scale(x);
                x.iter().any(|&x| x != 0.0 && x.abs() <= 1e-5 * scale)
            }
            Op::Reduce { op: ReduceOp::Max | ReduceOp::Min, axis } => {
                let (x, y) = (&values[&node.operands[0]], &values[&id]);
                let (_, n, inner) = x.shape.around(*axis);
                (0..x.data.len()).any(|i| close(x.data[i], y.data[i / (n * inner) * inner + i % inner]))
            }
            _ => false,
        }
    })
}
