//! `primer ops`

use std::collections::BTreeSet;

use crate::args::Ops;
use crate::failure::{Failure, Outcome};
use crate::terminal;
use primer_autodiff::vjp::has_gradient;
use primer_tensor::{COMPOSITIONS, Composition, DType, Op, Tensor};
use serde_json::{Value, json};

/// Where every operation runs: a plan is the same for all devices, and each of them runs every kernel.
const DEVICES: [&str; 3] = ["reference", "cpu", "gpu"];

/// Lists the primitives, and what is made of them.
///
/// # Errors
/// Only if stdout can't be written.
pub fn run(args: &Ops) -> Outcome {
    let primitives: Vec<Value> = Op::catalogue().iter().map(primitive).collect();
    let compositions = COMPOSITIONS.iter().map(composition).collect::<Result<Vec<Value>, Failure>>()?;
    if args.json {
        return terminal::json(&json!({ "primitives": primitives, "compositions": compositions }));
    }
    terminal::line(&format!("{:<27}{:<19}{:<11}{:<10}computes", "primitive", "devices", "tolerance", "gradient"))?;
    for op in &primitives {
        row(op)?;
    }
    terminal::line("\nmade of primitives")?;
    for op in &compositions {
        row(op)?;
    }
    terminal::line(
        "\nThe tolerance is a share of the result's scale, beside 16 times what rounding to f32 does; 0 is bit for bit.",
    )
}

fn row(op: &Value) -> Outcome {
    let tolerance = op["tolerance"].as_f64().unwrap_or_default();
    let tolerance = if tolerance == 0.0 { "0".to_owned() } else { format!("{tolerance:e}") };
    let gradient = if op["gradient"] == true { "yes" } else { "none" };
    let text = |key: &str| op[key].as_str().unwrap_or_default().to_owned();
    let devices = DEVICES.join(" ");
    terminal::line(&format!("{:<27}{devices:<19}{tolerance:<11}{gradient:<10}{}", text("op"), text("computes")))
}

fn primitive(op: &Op) -> Value {
    json!({
        "op": op.name(),
        "computes": op.computes(),
        "devices": DEVICES,
        "tolerance": op.epsilon(),
        "gradient": has_gradient(op),
    })
}

fn composition(composed: &Composition) -> Result<Value, Failure> {
    let y = (composed.apply)(&Tensor::data("x", [2, 3], DType::F32));
    let (graph, _) = Tensor::lower(std::slice::from_ref(&y))?;
    let parts = graph.nodes().iter().map(|node| &node.op).filter(|op| !matches!(op, Op::Input(_)));
    let parts: Vec<&Op> = parts.collect();
    Ok(json!({
        "op": composed.name,
        "computes": composed.computes,
        "devices": DEVICES,
        "tolerance": parts.iter().map(|op| op.epsilon()).fold(0.0, f64::max),
        "gradient": y.dtype() == DType::F32,
        "made_of": parts.iter().map(|op| op.name()).collect::<BTreeSet<_>>(),
    }))
}
