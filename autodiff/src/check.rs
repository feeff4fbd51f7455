//! A gradient against central differences, in f64 on the reference.

use std::collections::HashMap;

use primer_tensor::reference::{Precision, Value, evaluate};
use primer_tensor::{BinaryOp, DType, Graph, NodeId, Op, Program, ReduceOp, Shape, UnaryOp};

use crate::{Result, grad_graph};

/// How a gradient is probed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Distance h between the points of the stencil, relative to max(1, |x|).
    pub step: f64,
    /// Largest number of elements probed of each `wrt`, evenly spaced.
    pub probes: usize,
    /// A probe whose difference quotients at h and h/2 are further apart than this, in the measure of [`Probe::error`],
    /// says nothing about a gradient and is discarded.
    pub convergence: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { step: 1e-3, probes: usize::MAX, convergence: 1e-7 }
    }
}

/// One element of a gradient, derived and measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Which of `wrt`.
    pub wrt: usize,
    /// Which element of it, row-major.
    pub element: usize,
    /// The gradient's value.
    pub analytic: f64,
    /// The difference quotient.
    pub numeric: f64,
    /// |analytic − numeric| / max(|analytic|, |numeric|, 10⁻⁴·|loss|, 10⁻⁴·G, 10⁻⁶·V), G the largest |numeric| of all probes, V
    /// the largest finite value computed on the way: relative, but measured against the scale of the problem, and
    /// against the rounding of its terms, where a derivative vanishes. Infinite where only `analytic` isn't finite.
    pub error: f64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The probes that count.
    pub probes: Vec<Probe>,
    /// Probes discarded: a decision (comparison, selection, maximum, sign, rounding) or a pole lies within the stencil,
    /// or the function isn't smooth at its scale.
    pub discarded: usize,
}

impl Report {
    /// The probe of the largest error, None where all were discarded.
    pub fn worst(&self) -> Option<&Probe> {
        self.probes.iter().max_by(|a, b| a.error.total_cmp(&b.error))
    }

    /// The largest error, 0 without a probe.
    pub fn max_error(&self) -> f64 {
        self.worst().map_or(0.0, |probe| probe.error)
    }
}

/// Compares the gradient of `loss` with respect to inputs `wrt` with central differences of four points,
/// f′ ≈ (8(f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h, element by element, all in f64.
/// `inputs` gives every input of the graph by name, state and data alike.
///
/// # Errors
/// As [`grad_graph`]; [`primer_tensor::Error::Invalid`] where a `wrt` is no input; what the reference says of `inputs`.
pub fn check_gradient(
    graph: &Graph,
    loss: NodeId,
    wrt: &[NodeId],
    inputs: &HashMap<String, Vec<f64>>,
    options: Options,
) -> Result<Report> {
    let names = wrt.iter().map(|&x| input_name(graph, x)).collect::<Result<Vec<_>>>()?;
    let mut with_gradient = graph.clone();
    let gradients = grad_graph(&mut with_gradient, loss, wrt)?;
    let derived = evaluate(&Program::new(with_gradient, gradients.clone(), Vec::new())?, inputs, Precision::F64)?;

    let forward = Forward { program: Program::new(graph.clone(), vec![loss], Vec::new())?, loss };
    let mut inputs = inputs.clone();
    let Run { loss: value, decisions, largest: scale } = forward.run(&inputs)?;
    let mut report = Report { probes: Vec::new(), discarded: 0 };
    let mut measured = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let Some(data) = inputs.get(name).cloned() else { continue };
        let every = data.len().div_ceil(options.probes.max(1)).max(1);
        for element in (0..data.len()).step_by(every) {
            let x = data[element];
            let h = options.step * x.abs().max(1.0);
            let mut difference = |distance: f64| -> Result<Option<f64>> {
                let mut at = |x: f64| -> Result<Option<f64>> {
                    inputs.entry(name.clone()).and_modify(|data| data[element] = x);
                    let here = forward.run(&inputs)?;
                    Ok((here.decisions == decisions && here.loss.is_finite()).then_some(here.loss))
                };
                let (high, low) = (at(x + distance)?, at(x - distance)?);
                Ok(high.zip(low).map(|(high, low)| high - low))
            };
            let (whole, double, half) = (difference(h)?, difference(2.0 * h)?, difference(h / 2.0)?);
            inputs.insert(name.clone(), data.clone());
            if let (Some(whole), Some(double), Some(half)) = (whole, double, half) {
                let coarse = (8.0 * whole - double) / (12.0 * h);
                let fine = (8.0 * half - whole) / (6.0 * h);
                let analytic = derived[&gradients[index]].data[element];
                measured.push((coarse, Probe { wrt: index, element, analytic, numeric: fine, error: 0.0 }));
            } else {
                report.discarded += 1;
            }
        }
    }

    let largest = measured.iter().map(|(_, probe)| probe.numeric.abs()).fold(0.0, f64::max);
    let floor = (1e-4 * value.abs()).max(1e-4 * largest).max(1e-6 * scale);
    for (coarse, mut probe) in measured {
        if error(coarse, probe.numeric, floor) > options.convergence {
            report.discarded += 1;
        } else {
            probe.error = error(probe.analytic, probe.numeric, floor);
            report.probes.push(probe);
        }
    }
    Ok(report)
}

fn error(a: f64, b: f64, floor: f64) -> f64 {
    if a == b {
        return 0.0;
    }
    let error = (a - b).abs() / a.abs().max(b.abs()).max(floor);
    if error.is_nan() { f64::INFINITY } else { error }
}

fn input_name(graph: &Graph, x: NodeId) -> Result<String> {
    let info = graph.inputs().iter().find(|input| input.node == x);
    let info = info.ok_or_else(|| primer_tensor::Error::Invalid {
        node: x.index(),
        op: graph.node(x).op.name(),
        reason: "only an input can be probed".into(),
    })?;
    Ok(info.name.clone())
}

struct Forward {
    program: Program,
    loss: NodeId,
}

struct Run {
    loss: f64,
    decisions: Vec<i64>,
    /// The largest finite value computed on the way.
    largest: f64,
}

impl Forward {
    fn run(&self, inputs: &HashMap<String, Vec<f64>>) -> Result<Run> {
        let values = evaluate(&self.program, inputs, Precision::F64)?;
        let all = values.values().flat_map(|value| &value.data);
        let largest = all.filter(|x| x.is_finite()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        Ok(Run { loss: values[&self.loss].data[0], decisions: decisions(&self.program.graph, &values), largest })
    }
}

/// Everything in an evaluation that changes by jumps: the results of comparisons, which operand or element is the
/// largest, signs, on which side of a pole or singular point an argument lies, and roundings to indices. Between two
/// points with equal decisions the program is smooth, up to poles that both of them lie beyond.
pub fn decisions(graph: &Graph, values: &HashMap<NodeId, Value>) -> Vec<i64> {
    let mut found = Vec::new();
    for id in graph.ids().filter(|id| values.contains_key(id)) {
        let node = graph.node(id);
        let operand = |i: usize| &values[&node.operands[i]];
        match &node.op {
            Op::Compare(_) | Op::IsFinite | Op::Cast(DType::U32) => {
                found.extend(values[&id].data.iter().map(|&x| x as i64));
            }
            Op::Binary(BinaryOp::Max | BinaryOp::Min) => {
                found.extend(operand(0).data.iter().zip(&operand(1).data).map(|(&a, &b)| order(a, b)));
            }
            Op::Binary(BinaryOp::Div) => found.extend(operand(1).data.iter().map(|&b| order(b, 0.0))),
            Op::Unary(UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Sqrt | UnaryOp::Log | UnaryOp::Recip) => {
                found.extend(operand(0).data.iter().map(|&x| order(x, 0.0)));
            }
            Op::Reduce { op: ReduceOp::Max | ReduceOp::Min, axis } => {
                let (x, y) = (operand(0), &values[&id]);
                found.extend(along(&x.shape, *axis).map(|(from, to)| i64::from(x.data[from] == y.data[to])));
            }
            _ => {}
        }
    }
    found
}

fn order(a: f64, b: f64) -> i64 {
    match a.partial_cmp(&b) {
        Some(order) => order as i64,
        None => 2,
    }
}

/// Each element of `shape`, and the element of its reduction over `axis` to which it belongs.
fn along(shape: &Shape, axis: usize) -> impl Iterator<Item = (usize, usize)> {
    let (_, n, inner) = shape.around(axis);
    (0..shape.numel()).map(move |from| (from, from / (n * inner) * inner + from % inner))
}
