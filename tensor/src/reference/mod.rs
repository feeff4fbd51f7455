//! The oracle: scalar loops in f64, real bounds checks, no cleverness.
//!
//! It computes expected values and nothing else. Every element, whatever its type, is held as an `f64`. In the rounded
//! mode each primitive's result is rounded to f32, which gives the scale of the error that an f32 device may make.

mod eval;
mod layout;
mod plan;

use std::collections::HashMap;

pub use eval::{binary, unary};
pub use plan::run_plan;

use crate::graph::{InputKind, Op};
use crate::{DType, Data, Error, Program, Result, Shape};

/// A value of the reference interpreter.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The shape.
    pub shape: Shape,
    /// Elements in row-major order; booleans are 0 and 1.
    pub data: Vec<f64>,
}

/// How results are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// Everything in f64.
    #[default]
    F64,
    /// Every primitive's result rounded to f32 (sums are still accumulated in f64).
    RoundedF32,
}

/// Evaluates every node that `program` needs, given all inputs and state by name.
///
/// # Errors
/// [`Error::MissingInput`], [`Error::MissingState`] or [`Error::DataLength`] for an absent or misshapen input.
pub fn evaluate(
    program: &Program,
    inputs: &HashMap<String, Vec<f64>>,
    precision: Precision,
) -> Result<HashMap<crate::NodeId, Value>> {
    let graph = &program.graph;
    let live = graph.live(program.roots());
    let mut values = HashMap::new();
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let mut value = match node.op {
            Op::Input(index) => {
                let info = &graph.inputs()[index];
                let data = inputs.get(&info.name).ok_or_else(|| match info.kind {
                    InputKind::Data => Error::MissingInput { name: info.name.clone() },
                    InputKind::State => Error::MissingState { name: info.name.clone() },
                })?;
                if data.len() != node.shape.numel() {
                    let shape = node.shape.clone();
                    return Err(Error::DataLength { name: info.name.clone(), found: data.len(), shape });
                }
                Value { shape: node.shape.clone(), data: data.clone() }
            }
            ref op => {
                let operands: Vec<&Value> = node.operands.iter().map(|o| &values[o]).collect();
                eval::apply(op, &node.shape, &operands)
            }
        };
        if precision == Precision::RoundedF32 && node.dtype == DType::F32 {
            for x in &mut value.data {
                *x = f64::from(*x as f32);
            }
        }
        values.insert(id, value);
    }
    Ok(values)
}

/// The reference as a device: runs a program on `f64` state.
#[derive(Debug)]
pub struct ReferenceExecutable {
    program: Program,
    precision: Precision,
    outputs: Vec<Vec<f32>>,
}

impl ReferenceExecutable {
    pub(crate) fn new(program: &Program, precision: Precision) -> Self {
        Self { program: program.clone(), precision, outputs: Vec::new() }
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn run(&mut self, state: &mut HashMap<String, Vec<f64>>, inputs: &[(&str, Data<'_>)]) -> Result<()> {
        let mut all: HashMap<String, Vec<f64>> = HashMap::new();
        for (name, data) in inputs {
            let values = match data {
                Data::F32(values) => values.iter().map(|&x| f64::from(x)).collect(),
                Data::U32(values) => values.iter().map(|&x| f64::from(x)).collect(),
            };
            all.insert((*name).to_owned(), values);
        }
        for (name, _) in self.program.state() {
            let held = state.get(name).ok_or_else(|| Error::MissingState { name: name.to_owned() })?;
            all.insert(name.to_owned(), held.clone());
        }
        let values = evaluate(&self.program, &all, self.precision)?;
        for (target, value) in &self.program.updates {
            let Op::Input(index) = self.program.graph.node(*target).op else { continue };
            let name = &self.program.graph.inputs()[index].name;
            state.insert(name.clone(), values[value].data.clone());
        }
        let outputs = self.program.outputs.iter();
        self.outputs = outputs.map(|id| values[id].data.iter().map(|&x| x as f32).collect()).collect();
        Ok(())
    }

    pub(crate) fn output(&self, index: usize) -> Result<Vec<f32>> {
        self.outputs
            .get(index)
            .cloned()
            .ok_or_else(|| Error::MissingInput { name: format!("output {index} before a run") })
    }
}
