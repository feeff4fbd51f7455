//! Architectures, one file each, and the shell around their blocks.
//!
//! Shell: input √d·E\[x\], plus a sinusoid or with scores by relative position in attention; the blocks; a final norm
//! of the architecture's kind; logits h·Eᵀ with the same E ~ N(0, 1/d).
//!
//! Parameters (h heads of width k; a matrix multiplies rows from the right, y = x·W):
//!
//! | name | shape | in |
//! |---|---|---|
//! | `embedding` | \[vocab, d\] | all |
//! | `relative_attention_bias` | \[32, h\] | relative positions |
//! | `blocks.i.norm1.scale`, `.shift`, `norm2`, `final_norm` | \[d\] | all; RMS norm has no `shift` |
//! | `blocks.i.attn.wqkv`, or `wq`, `wk`, `wv` | \[d, 3hk\], \[d, hk\] | all but `primer` |
//! | `blocks.i.attn.wkv`, or `wk`, `wv`; `wq` | \[d, 2hk\], \[d, hk\]; \[hk, hk\] or \[h, k, k\] | `primer` |
//! | `blocks.i.attn.taps_qkv`, or `taps_q`, `taps_k`, `taps_v` | \[3, 3hk\], \[3, hk\] | with MDHA; before projections \[3, d\] |
//! | `blocks.i.attn.scores` | \[h, seq, seq\] | synthesizers |
//! | `blocks.i.attn.wo` | \[hk, d\] | all |
//! | `blocks.i.ffn.w1`, `b1`, `w2`, `b2` | \[d, ff\], \[ff\], \[ff, d\], \[d\] | all |
//! | `blocks.i.ffn.w1`, `b1`, or `w1`, `b1`, `v`, `c` | \[d, 2ff\], \[2ff\], or halves | gated linear units |
//! | `blocks.i.experts.router`, `w1`, `w2` | \[d, E\], \[E, d, ff\], \[E, ff, d\] | every fourth block of the switch models |
//! | `blocks.i.attn1`, `attn2`, `conv.{left,right,join}.{taps,w,b}`, `norm1` to `norm4` | | `evolved_transformer` |
//! | `blocks.i.NN.op`, numbered in the order of the program | | `program` |

mod context;
mod evolved_transformer;
mod gelu;
mod mdha;
mod primer;
mod primer_ez;
pub mod program;
mod reglu;
mod sep_conv;
mod squared_relu;
mod swiglu;
mod swish;
mod switch_primer;
mod switch_transformer;
mod synthesizer;
mod synthesizer_squared_relu;
mod transformer_plusplus;
mod vanilla;

use primer_tensor::{DType, Device, State, Tensor};

use self::context::Context;
use crate::config::{Arch, ModelConfig, NORM_EPS, Positions};
use crate::error::{Error, Result};
use crate::nn::{self, Cache, Dims, Init, ParamSpec, Params, Scope, Sequence, Step};

/// The data input with the token ids.
pub const TOKENS: &str = "tokens";
/// The state entry with the position signal; computed, never trained, not in checkpoints.
pub const POSITIONS: &str = "positions";
/// The data input with the position of a single token, u32 `[1]`.
pub const POSITION: &str = "position";
/// The data input with the key of a training step's random numbers, u32 `[2]`; only models with experts have it.
pub const KEY: &str = "key";

/// A recorded forward pass for one batch shape.
#[derive(Debug)]
pub struct Model {
    /// What was built.
    pub config: ModelConfig,
    /// Rows a batch.
    pub batch: usize,
    /// Names, shapes and starts of the parameters.
    pub params: Vec<ParamSpec>,
    /// The parameters, in the order of `params`.
    pub weights: Vec<Tensor>,
    /// Token ids, u32 `[batch·seq]`, the input named [`TOKENS`].
    pub tokens: Tensor,
    /// The rows `[batch·seq, d]` that each block takes, and those that the last one gives.
    pub residual_stream: Vec<Tensor>,
    /// Scores before the softmax, `[batch·seq, vocab]`.
    pub logits: Tensor,
    /// What training adds to the mean cross entropy, a scalar.
    pub auxiliary_loss: Option<Tensor>,
}

/// Records one block: its parameters, what all blocks share, and its input rows `[batch·seq, d]`.
type Block = fn(Scope<'_>, &mut Context<'_>, &Tensor) -> Tensor;

/// What a model's blocks are.
#[derive(Clone, Copy)]
enum Blocks<'a> {
    /// Those of its architecture.
    Own,
    /// Those that a caller records.
    Given(&'a dyn Fn(Scope<'_>, Dims, &Tensor) -> Tensor),
}

/// Records one block of the model's architecture.
fn block(scope: Scope<'_>, cx: &mut Context<'_>, x: &Tensor) -> Result<Tensor> {
    let block: Block = match cx.config.arch {
        Arch::Vanilla => vanilla::block,
        Arch::Gelu => gelu::block,
        Arch::Swish => swish::block,
        Arch::Reglu => reglu::block,
        Arch::Swiglu => swiglu::block,
        Arch::SquaredRelu => squared_relu::block,
        Arch::TransformerPlusplus => transformer_plusplus::block,
        Arch::Mdha => mdha::block,
        Arch::SepConv => sep_conv::block,
        Arch::Primer => primer::block,
        Arch::PrimerEz => primer_ez::block,
        Arch::EvolvedTransformer => evolved_transformer::block,
        Arch::SwitchTransformer => switch_transformer::block,
        Arch::SwitchPrimer => switch_primer::block,
        Arch::Synthesizer => synthesizer::block,
        Arch::SynthesizerSquaredRelu => synthesizer_squared_relu::block,
        Arch::Program => return program::block(cx.config, cx.dims, scope, x),
    };
    Ok(block(scope, cx, x))
}

/// T5's scores by relative position, `[1, heads, seq, seq]`: one table for all layers, a row for each bucket of
/// distances.
fn relative_scores(root: &mut Scope<'_>, config: &ModelConfig) -> Tensor {
    let ModelConfig { seq, heads, d_model, .. } = *config;
    let start = Init::Normal((d_model as f64).powf(-0.5));
    let table = root.param("relative_attention_bias", &[nn::BUCKETS, heads], start);
    let buckets = Tensor::state(POSITIONS, [seq, seq]).to_u32().reshape([seq * seq]);
    table.gather(&buckets).reshape([1, seq, seq, heads]).permute(&[0, 3, 1, 2])
}

impl Model {
    /// Records the forward pass of `config` for `batch` rows, as it is outside of training.
    ///
    /// # Errors
    /// [`BadValue`](crate::Error::BadValue) from [`ModelConfig::validate`], or for a batch that makes an activation too
    /// large.
    pub fn build(config: &ModelConfig, batch: usize) -> Result<Self> {
        Ok(Self::record(config, batch, None, Sequence::Whole, Blocks::Own)?.0)
    }

    /// The same as it is in training: experts have the room of training, and their router's input is jittered by the
    /// numbers of the input [`KEY`].
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn build_for_training(config: &ModelConfig, batch: usize) -> Result<Self> {
        let key = config.arch.has_experts().then(|| Tensor::data(KEY, [2], DType::U32));
        Ok(Self::record(config, batch, key, Sequence::Whole, Blocks::Own)?.0)
    }

    /// The forward pass of a model whose blocks the caller records, such as those of a file that `primer export
    /// --format rust` wrote: each in a scope of its own, from rows `[batch·seq, d]` to the same. Of `config` the shell
    /// around them counts.
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn with_block(
        config: &ModelConfig,
        batch: usize,
        block: &dyn Fn(Scope<'_>, Dims, &Tensor) -> Tensor,
    ) -> Result<Self> {
        Ok(Self::record(config, batch, None, Sequence::Whole, Blocks::Given(block))?.0)
    }

    /// The forward pass of one token of each of `batch` rows, at the position in the input [`POSITION`], after those
    /// whose keys, values and convolved rows are in the caches that come with it. Only hand-written architectures have
    /// caches.
    ///
    /// # Errors
    /// As [`Model::build`]; [`BadValue`](crate::Error::BadValue) for a program.
    pub fn build_step(config: &ModelConfig, batch: usize) -> Result<(Self, Vec<Cache>)> {
        if config.arch == Arch::Program {
            let reason = "a program reads whole sequences, it has no step for one token".into();
            return Err(Error::BadValue { key: "model.program".into(), value: config.label(), reason });
        }
        let position = Tensor::data(POSITION, [1], DType::U32);
        let sequence = Sequence::Step(Step::new(position, config.seq));
        Self::record(config, batch, None, sequence, Blocks::Own)
    }

    fn record(
        config: &ModelConfig,
        batch: usize,
        key: Option<Tensor>,
        sequence: Sequence,
        blocks: Blocks<'_>,
    ) -> Result<(Self, Vec<Cache>)> {
        config.validate()?;
        config.check_batch(batch)?;
        let ModelConfig { vocab, d_model: d, .. } = *config;
        let seq = if matches!(sequence, Sequence::Whole) { config.seq } else { 1 };
        let mut params = Params::new();
        let mut root = params.root();

        let embedding = root.param("embedding", &[vocab, d], Init::Normal((d as f64).powf(-0.5)));
        let tokens = Tensor::data(TOKENS, [batch * seq], DType::U32);
        let mut x = embedding.gather(&tokens) * (d as f64).sqrt();
        let mut relative = None;
        match config.positions {
            Positions::Sinusoid => {
                let signal = Tensor::state(POSITIONS, [config.seq, d]);
                let signal = match &sequence {
                    Sequence::Whole => signal,
                    Sequence::Step(step) => signal.gather(&step.position),
                };
                x = (x.reshape([batch, seq, d]) + signal).reshape([batch * seq, d]);
            }
            Positions::Relative => relative = Some(relative_scores(&mut root, config)),
        }
        let dims = Dims { batch, seq, d_model: d };
        let mut cx = Context { config, dims, sequence, relative, key, layer: 0, losses: Vec::new() };
        let mut residual_stream = vec![x.clone()];
        for layer in 0..config.layers {
            cx.layer = layer;
            let mut scope = root.child("blocks");
            let scope = scope.child(layer);
            x = match blocks {
                Blocks::Own => block(scope, &mut cx, &x)?,
                Blocks::Given(block) => block(scope, dims, &x),
            };
            residual_stream.push(x.clone());
        }
        let h = cx.final_norm().apply(root.child("final_norm"), &x, NORM_EPS);
        let logits = h.matmul_t(false, &embedding, true);

        let auxiliary_loss = cx.losses.into_iter().reduce(|a, b| a + b);
        let caches = match cx.sequence {
            Sequence::Whole => Vec::new(),
            Sequence::Step(step) => step.into_caches(),
        };
        let (specs, weights) = params.into_parts();
        let config = config.clone();
        let model = Self { config, batch, params: specs, weights, tokens, residual_stream, logits, auxiliary_loss };
        Ok((model, caches))
    }

    /// Cross entropy in nats of each position against `targets`, u32 `[batch·seq]`: `[batch·seq, 1]`.
    pub fn token_losses(&self, targets: &Tensor) -> Tensor {
        self.logits.cross_entropy(targets)
    }

    /// Name and shape of every parameter, in order.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.params.iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
    }

    /// Number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.params.iter().map(ParamSpec::numel).sum()
    }

    /// A state on `device` with the seed's initial parameters and the position signal.
    ///
    /// # Errors
    /// [`Tensor`](crate::Error::Tensor) where the device can't hold them.
    pub fn initial_state(&self, device: &Device, seed: u64) -> Result<State> {
        let mut state = State::new(device);
        for spec in &self.params {
            state.insert(&spec.name, spec.shape.as_slice(), &nn::initial_values(spec, seed))?;
        }
        self.insert_positions(&mut state)?;
        Ok(state)
    }

    /// Puts the position signal into `state`.
    ///
    /// # Errors
    /// [`Tensor`](crate::Error::Tensor) where the device can't hold it.
    pub fn insert_positions(&self, state: &mut State) -> Result<()> {
        let ModelConfig { seq, d_model, positions, .. } = self.config;
        let (width, signal) = match positions {
            Positions::Sinusoid => (d_model, nn::sinusoid(seq, d_model)),
            Positions::Relative => (seq, nn::relative_buckets(seq)),
        };
        Ok(state.insert(POSITIONS, [seq, width], &signal)?)
    }
}
