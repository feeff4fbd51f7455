//! Architectures, one file each, and the shell around their blocks.
//!
//! Shell: input √d·E\[x\] + sinusoid, the blocks, a final layer norm, logits h·Eᵀ with the same E ~ N(0, 1/d).
//!
//! Parameters: `embedding` \[vocab, d\]; for block i `blocks.i.norm1.scale`, `.shift` \[d\]; `blocks.i.attn.wqkv` \[d, 3d\] or
//! `wq`, `wk`, `wv` \[d, d\]; for Primer-EZ `blocks.i.attn.taps_qkv` \[3, 3d\] or `taps_q`, `taps_k`, `taps_v` \[3, d\];
//! `blocks.i.attn.wo` \[d, d\]; `blocks.i.norm2.scale`, `.shift`; `blocks.i.ffn.w1` \[d, ff\], `b1` \[ff\], `w2` \[ff, d\],
//! `b2` \[d\]; `final_norm.scale`, `.shift`. A matrix multiplies rows from the right: y = x·W.

mod primer_ez;
mod vanilla;

use primer_tensor::{DType, Device, State, Tensor};

use crate::config::{Arch, ModelConfig, NORM_EPS};
use crate::error::Result;
use crate::nn::{self, Dims, Init, ParamSpec, Params};

/// The data input with the token ids.
pub const TOKENS: &str = "tokens";
/// The state entry with the position signal; computed, never trained, not in checkpoints.
pub const POSITIONS: &str = "positions";

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
    /// Scores before the softmax, `[batch·seq, vocab]`.
    pub logits: Tensor,
}

impl Model {
    /// Records the forward pass of `config` for `batch` rows.
    ///
    /// # Errors
    /// [`BadValue`](crate::Error::BadValue) from [`ModelConfig::validate`], or for a batch that makes an activation too large.
    pub fn build(config: &ModelConfig, batch: usize) -> Result<Self> {
        config.validate()?;
        config.check_batch(batch)?;
        let ModelConfig { vocab, d_model: d, seq, .. } = *config;
        let dims = Dims { batch, seq, d_model: d };
        let mut params = Params::new();
        let mut root = params.root();

        let embedding = root.param("embedding", &[vocab, d], Init::Normal((d as f64).powf(-0.5)));
        let tokens = Tensor::data(TOKENS, [batch * seq], DType::U32);
        let positions = Tensor::state(POSITIONS, [seq, d]);
        let embedded = (embedding.gather(&tokens) * (d as f64).sqrt()).reshape([batch, seq, d]);
        let mut x = (embedded + positions).reshape([batch * seq, d]);
        for layer in 0..config.layers {
            let mut blocks = root.child("blocks");
            let scope = blocks.child(layer);
            x = match config.arch {
                Arch::Vanilla => vanilla::block(scope, config, dims, &x),
                Arch::PrimerEz => primer_ez::block(scope, config, dims, &x),
            };
        }
        let h = nn::layer_norm(root.child("final_norm"), &x, NORM_EPS);
        let logits = h.matmul_t(false, &embedding, true);

        let (specs, weights) = params.into_parts();
        Ok(Self { config: config.clone(), batch, params: specs, weights, tokens, logits })
    }

    /// Cross entropy in nats of each position against `targets`, u32 `[batch·seq]`: `[batch·seq, 1]`.
    pub fn token_losses(&self, targets: &Tensor) -> Tensor {
        self.logits.cross_entropy(targets)
    }

    /// Log-probabilities of the next token at each position, `[batch·seq, vocab]`.
    pub fn log_probabilities(&self) -> Tensor {
        &self.logits - self.logits.logsumexp()
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
        let ModelConfig { seq, d_model, .. } = self.config;
        Ok(state.insert(POSITIONS, [seq, d_model], &nn::sinusoid(seq, d_model))?)
    }
}
