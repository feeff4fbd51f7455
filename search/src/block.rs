//! Programs as blocks of the language models: what `--arch dna:FILE` trains.
//!
//! The shell, the parameters' names and the causality are those of [`lower`]; the start of the parameters, the
//! optimizer and the schedule are the ordinary trainer's.

use std::collections::HashMap;

use primer_models::arch::{Model, program};
use primer_models::config::{FinalNorm, Positions};
use primer_models::nn::{Dims, Scope};
use primer_models::{Arch, ModelConfig};
use primer_tensor::{DType, Device, Graph, InputKind, Tensor};

use crate::dna::{Dna, seeds};
use crate::error::{Error, Result};
use crate::leak::leak_test;
use crate::lower::{self, Limits, Sizes};
use crate::rejection::Rejection;

/// The graph's name for the block's input; no parameter has it.
const INPUT: &str = "block_input";

/// Makes models with programs possible in this process, see [`program`].
pub fn register() {
    program::register(block);
}

/// Records the block of a program, a [`program::Lowering`].
fn block(text: &str, dims: Dims, mut scope: Scope<'_>, x: &Tensor) -> std::result::Result<Tensor, String> {
    let dna: Dna = text.parse().map_err(|e: Error| e.to_string())?;
    let unit = unit(&dna, dims.d_model)?;
    // Of the shell nothing is recorded here.
    let sizes = Sizes { layers: 1, vocab: 1, sequence: dims.seq, batch: dims.batch };
    let refused = |rejection: Rejection| rejection.to_string();
    let plan = lower::plan_with_unit(&dna, unit, sizes).map_err(refused)?;
    let mut graph = Graph::new();
    let refused_input = |e: primer_tensor::Error| e.to_string();
    let input = graph.input(INPUT, InputKind::Data, x.shape().clone(), DType::F32).map_err(refused_input)?;
    let mut leaves = HashMap::from([(INPUT.to_owned(), x.clone())]);
    let mut own = Vec::new();
    for parameter in plan.parameters().iter().filter(|parameter| parameter.layer.is_some()) {
        let name = parameter.name.strip_prefix("blocks.0.").unwrap_or(&parameter.name);
        leaves.insert(parameter.name.clone(), scope.param(name, &parameter.shape, parameter.model_init()));
        let shape = parameter.shape.as_slice();
        own.push(graph.input(&parameter.name, InputKind::State, shape, DType::F32).map_err(refused_input)?);
    }
    let output = plan.build_block(&mut graph, input, &own).map_err(refused)?;
    Ok(Tensor::raise(&graph, &leaves).swap_remove(output.index()))
}

/// Channels of one relative unit in a model of width `d_model`.
fn unit(dna: &Dna, d_model: usize) -> std::result::Result<u64, String> {
    let units = dna.dims[0] as usize;
    match units > 0 && d_model.is_multiple_of(units) {
        true => Ok((d_model / units) as u64),
        false => Err(format!("its width is {units} units, which a model.d_model of {d_model} is not a multiple of")),
    }
}

/// `model` with the program for its blocks, at the width at which the parameters come nearest to those that `model`
/// has, as the search fits its candidates to the seed. Depth, vocabulary and sequence stay.
///
/// # Errors
/// [`Error::Rejected`] where it can't be lowered at any width, or leaks; the errors of the models and the engine.
pub fn fit(dna: &Dna, model: &ModelConfig) -> Result<ModelConfig> {
    let parameters = Model::build(model, 1)?.parameters() as u64;
    let sizes = Sizes { layers: model.layers, vocab: model.vocab, sequence: model.seq, batch: 1 };
    let limits =
        Limits { parameters, min_parameters: 1, max_parameters: u64::MAX, max_flops: u64::MAX, max_bytes: u64::MAX };
    let plan = lower::plan(dna, sizes, &limits)?;
    leak_test(dna, plan.unit(), &Device::cpu_with_threads(1))?;
    Ok(ModelConfig {
        arch: Arch::Program,
        program: dna.to_string(),
        d_model: plan.width(),
        positions: Positions::Sinusoid,
        final_norm: FinalNorm::Layer,
        ..model.clone()
    })
}

/// A built-in program with the heads and the inner width that `model` has. The discovered one has its own.
///
/// # Errors
/// Heads or a width that the program's banks can't hold, as [`seeds::with_banks`]; none for a name that is no
/// program's.
pub fn built_in(name: &str, model: &ModelConfig) -> Option<Result<Dna>> {
    let with_banks = |dna: Dna| {
        // The programs' inner widths are 4 times the width; gated ones have their own share of it.
        let factor = (model.d_ff / (4 * model.d_model).max(1)).max(1);
        let mut dims = dna.dims;
        dims[1] = dims[1].saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX));
        let heads = u32::try_from(model.heads).unwrap_or(u32::MAX);
        seeds::with_banks(dna, heads, model.d_head(), dims)
    };
    let dna = seeds::by_name(name)?;
    Some(if name == "discovered" { dna } else { dna.and_then(with_banks) })
}
