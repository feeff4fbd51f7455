//! From a program to a graph: kinds and shapes, the width's unit, limits, then the primitives.
//!
//! [`plan`] decides everything that can be decided without building anything: the kind and width of
//! every value, the unit of the relative dimensions, the parameters, and whether the program is
//! rejected. [`Plan::build`] then adds the forward pass to a [`Graph`].
//!
//! Two kinds of value. **V(c)** is `[batch, n, c]`. **A** is `[batch, n, n]`, whose entry `[t, s]`
//! depends on tokens up to max(t, s) only. Whatever leaves A is masked with a `select`, so the half
//! above the diagonal is never observed; whatever enters A goes through a `select` too, so neither a
//! value nor a gradient that is not a number crosses from that half to the other.

mod build;
mod init;
mod kinds;
mod ops;
mod value;

use primer_models::nn;
use primer_tensor::{Graph, NodeId};
use serde::{Deserialize, Serialize};

pub(crate) use build::{DISTURBANCE, Probe};
pub use init::initial_values;
pub(crate) use kinds::common_width;
pub use kinds::{MAX_UNIT, loser_is_wider};
// The shell around the blocks is that of the hand-written models: the inputs' names and the position signal.
pub use primer_models::arch::{POSITIONS, TOKENS};
pub use primer_models::nn::sinusoid as positions;

use crate::dna::{Dna, Inlined, Source};
use crate::rejection::Rejection;
use kinds::Planned;

/// Sizes that a study fixes for all its programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Copies of the block, each with its own parameters.
    pub layers: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens a sequence; an attention matrix is that wide.
    pub sequence: usize,
    /// Sequences a batch.
    pub batch: usize,
}

/// What a study allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Parameter count that the unit should come nearest to, the seed's.
    pub parameters: u64,
    /// Least parameter count.
    pub min_parameters: u64,
    /// Greatest parameter count.
    pub max_parameters: u64,
    /// Greatest cost of a forward pass, in FLOPs ([`Plan::flops`]).
    pub max_flops: u64,
    /// Greatest size of all values of a forward and a backward pass, in bytes ([`Plan::bytes`]).
    pub max_bytes: u64,
}

impl Limits {
    /// The limits around a seed of unit `unit`: parameters within ±12%, at most 4 times its cost and
    /// 16 times its memory.
    ///
    /// # Errors
    ///
    /// The reason for which the seed itself can't be planned.
    pub fn around(seed: &Dna, unit: u64, sizes: Sizes) -> Result<Limits, Rejection> {
        let plan = plan_with_unit(seed, unit, sizes)?;
        let parameters = plan.parameter_count();
        Ok(Limits {
            parameters,
            min_parameters: (parameters as f64 * 0.88).ceil() as u64,
            max_parameters: (parameters as f64 * 1.12).floor() as u64,
            max_flops: plan.flops().saturating_mul(4),
            max_bytes: plan.bytes().saturating_mul(16),
        })
    }
}

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// N(0, std²).
    Normal(f64),
    /// Every element the same.
    Constant(f64),
}

/// A parameter of a lowered model.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// `embedding`, `blocks.L.NN.op` with NN counting the block's parameters in the order of the
    /// resolved view, `final_norm.scale` or `final_norm.shift`.
    pub name: String,
    /// Its shape; a matrix multiplies rows from the right, branches are side by side in its columns.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Its layer; none outside the blocks.
    pub layer: Option<usize>,
    /// The primitive's name in the text form, or that of the part of the shell.
    pub op: &'static str,
    /// Ordinal among the parameters of its layer with the same op and shape.
    pub ordinal: usize,
    /// Its instruction; none outside the blocks.
    pub source: Option<Source>,
}

impl Parameter {
    /// How it starts as a parameter of a hand-written model; the taps of depthwise convolutions are known there, since
    /// they don't decay.
    pub fn model_init(&self) -> nn::Init {
        match self.init {
            Init::Normal(_) if self.op.starts_with("DCONV") => nn::Init::Taps,
            Init::Normal(std) => nn::Init::Normal(std),
            Init::Constant(value) => nn::Init::Constant(value),
        }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A program with all its shapes, not yet built.
#[derive(Debug, Clone)]
pub struct Plan {
    sizes: Sizes,
    unit: u64,
    inlined: Inlined,
    planned: Planned,
    parameters: Vec<Parameter>,
}

/// The nodes that a plan added to a graph.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The data input with token ids, u32 `[batch·n]`.
    pub tokens: NodeId,
    /// The state input with the position signal, `[n, d]`; its values are [`positions`].
    pub positions: NodeId,
    /// The input of the first block, `[batch·n, d]`.
    pub block_input: NodeId,
    /// The output of the last block, `[batch·n, d]`.
    pub block_output: NodeId,
    /// The logits, `[batch·n, vocab]`.
    pub logits: NodeId,
    /// The state inputs of [`Plan::parameters`], in the same order.
    pub parameters: Vec<NodeId>,
}

/// Plans a valid program with the unit whose parameter count is nearest to the seed's.
///
/// # Errors
///
/// The reason for which the program is rejected; nothing has been allocated by then.
pub fn plan(dna: &Dna, sizes: Sizes, limits: &Limits) -> Result<Plan, Rejection> {
    let inlined = dna.inline_live()?;
    let unit = kinds::choose_unit(dna, &inlined, sizes, limits)?;
    let plan = finish(dna, inlined, unit, sizes)?;
    if plan.flops() > limits.max_flops {
        return Err(Rejection::Cost { cost: plan.flops(), limit: limits.max_flops });
    }
    if plan.bytes() > limits.max_bytes {
        return Err(Rejection::Memory { bytes: plan.bytes(), limit: limits.max_bytes });
    }
    Ok(plan)
}

/// Plans a valid program with a given unit and no limits but those of the program space.
///
/// # Errors
///
/// As [`plan`]; [`Rejection::ParameterWindow`] if a dimension isn't integral with that unit.
pub fn plan_with_unit(dna: &Dna, unit: u64, sizes: Sizes) -> Result<Plan, Rejection> {
    finish(dna, dna.inline_live()?, unit, sizes)
}

/// Least width of [`plan_narrow`]: a norm over two channels has no gradient to show.
const LEAST_WIDTH: usize = 8;

/// Plans a valid program as narrow as says anything of it, for checks on the oracle, which is slow: with the least unit
/// up to `unit` that gives a width of at least 8 channels, else with `unit` itself.
///
/// # Errors
///
/// As [`plan_with_unit`].
pub(crate) fn plan_narrow(dna: &Dna, unit: u64, sizes: Sizes) -> Result<Plan, Rejection> {
    let wide_enough = |plan: &Plan| plan.width() >= LEAST_WIDTH;
    let narrow = (1..unit).find_map(|u| plan_with_unit(dna, u, sizes).ok().filter(wide_enough));
    narrow.map_or_else(|| plan_with_unit(dna, unit, sizes), Ok)
}

fn finish(dna: &Dna, inlined: Inlined, unit: u64, sizes: Sizes) -> Result<Plan, Rejection> {
    let planned = Planned::new(dna, &inlined, unit, sizes)?.ok_or(Rejection::ParameterWindow {
        min: 0,
        max: u64::MAX,
        nearest: None,
    })?;
    let parameters = init::parameters(&inlined, &planned, sizes);
    if !parameters.iter().any(|parameter| parameter.layer.is_some()) {
        return Err(Rejection::NoParameter);
    }
    Ok(Plan { sizes, unit, inlined, planned, parameters })
}

impl Plan {
    /// Sizes of the study.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Channels that one relative unit stands for.
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// The model's width d.
    pub fn width(&self) -> usize {
        self.planned.width as usize
    }

    /// The live instructions, inlined.
    pub(crate) fn inlined(&self) -> &Inlined {
        &self.inlined
    }

    /// In how many branches the value of an inlined instruction differs; 1 where they are equal.
    pub(crate) fn branches(&self, node: usize) -> u64 {
        self.planned.nodes[node].axis
    }

    /// The parameters, in the order of the forward pass: embedding, blocks, final norm.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of scalars in all parameters.
    pub fn parameter_count(&self) -> u64 {
        self.planned.parameters
    }

    /// FLOPs of one forward pass over a batch; an element of an elementwise result counts one.
    pub fn flops(&self) -> u64 {
        self.planned.flops
    }

    /// Bytes of all values of a forward pass and of their gradients, in f32: an upper bound of what a
    /// step needs beside the parameters.
    pub fn bytes(&self) -> u64 {
        self.planned.bytes
    }

    /// Adds the forward pass to a graph.
    ///
    /// # Errors
    ///
    /// [`Rejection::Shape`] if the graph refuses something, such as a name that is taken.
    pub fn build(&self, graph: &mut Graph) -> Result<Lowered, Rejection> {
        build::model(self, graph, Probe { disturbed: false, masked: true })
    }

    /// Adds one layer of a plan: from and to rows `[batch·n, d]`, with the layer's own parameters.
    ///
    /// # Errors
    ///
    /// As [`Plan::build`].
    pub fn build_block(&self, graph: &mut Graph, x: NodeId, own: &[NodeId]) -> Result<NodeId, Rejection> {
        build::block(self, graph, x, own, true)
    }

    /// [`Plan::build`] with what the leak test changes.
    pub(crate) fn build_probed(&self, graph: &mut Graph, probe: Probe) -> Result<Lowered, Rejection> {
        build::model(self, graph, probe)
    }
}
