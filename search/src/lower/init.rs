//! The list of parameters, and the values that they start with.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::kinds::Planned;
use super::{Init, Parameter, Sizes};
use crate::dna::{Inlined, NodeKind, ParameterKind};
use crate::rng::{Purpose, Rng};

/// All parameters in the order of the forward pass.
pub(super) fn parameters(inlined: &Inlined, planned: &Planned, sizes: Sizes) -> Vec<Parameter> {
    let width = planned.width as usize;
    let shell = |name: &str, shape: &[usize], init, op| Parameter {
        name: name.into(),
        shape: shape.to_vec(),
        init,
        layer: None,
        op,
        ordinal: 0,
        source: None,
    };
    let start = Init::Normal((width as f64).powf(-0.5));
    let mut all = vec![shell("embedding", &[sizes.vocab, width], start, "EMBEDDING")];
    for layer in 0..sizes.layers {
        let mut ordinals: BTreeMap<(&str, Vec<usize>), usize> = BTreeMap::new();
        let mut number = 0;
        for (node, plan) in inlined.nodes.iter().zip(&planned.nodes) {
            let (NodeKind::Primitive { primitive, .. }, Some(shape)) = (node.kind, &plan.parameter) else { continue };
            let shape: Vec<usize> = shape.iter().map(|&dim| dim as usize).collect();
            let op = primitive.name();
            let init = match primitive.parameter() {
                Some(ParameterKind::Scale) => Init::Constant(1.0),
                // the fan-in is the last axis but one; of depthwise taps, their number
                Some(ParameterKind::Conv(_) | ParameterKind::DepthwiseConv(_)) => {
                    Init::Normal((shape[shape.len() - 2] as f64).powf(-0.5))
                }
                Some(ParameterKind::Shift) | None => Init::Constant(0.0),
            };
            let ordinal = ordinals.entry((op, shape.clone())).or_default();
            let name = format!("blocks.{layer}.{number:02}.{}", op.to_lowercase());
            let source = node.source;
            all.push(Parameter { name, shape, init, layer: Some(layer), op, ordinal: *ordinal, source });
            *ordinal += 1;
            number += 1;
        }
    }
    all.push(shell("final_norm.scale", &[width], Init::Constant(1.0), "FINAL_SCALE"));
    all.push(shell("final_norm.shift", &[width], Init::Constant(0.0), "FINAL_SHIFT"));
    all
}

/// The values that a parameter starts with: a stream keyed by the evaluation's seed and the
/// parameter's layer, op, shape and ordinal, so that what an edit doesn't touch keeps its start.
pub fn initial_values(parameter: &Parameter, evaluation_seed: u64) -> Vec<f32> {
    let std = match parameter.init {
        Init::Constant(value) => return vec![value as f32; parameter.numel()],
        Init::Normal(std) => std,
    };
    let layer = parameter.layer.map_or_else(|| "shell".into(), |layer| layer.to_string());
    let key = format!("{evaluation_seed} {layer} {} {:?} {}", parameter.op, parameter.shape, parameter.ordinal);
    let digest = Sha256::digest(key);
    let word = |at: usize| (0..8).fold(0, |word, i| word << 8 | u64::from(digest[at + i]));
    let mut rng = Rng::new(word(0), word(8), Purpose::InitialValues);
    (0..parameter.numel()).map(|_| (std * rng.normal()) as f32).collect()
}
