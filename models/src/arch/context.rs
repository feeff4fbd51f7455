//! What the blocks of one model share.

use primer_tensor::Tensor;

use crate::config::{Arch, FinalNorm, ModelConfig};
use crate::nn::{Activation, Attention, Convolution, Dims, Experts, Norm, Scope, Sequence, feed_forward};

/// Experts are in every block whose number, counted from 1, is a multiple of this.
const EXPERTS_EVERY: usize = 4;

/// Configuration and shapes, and what blocks hand to the shell.
pub(super) struct Context<'a> {
    pub config: &'a ModelConfig,
    pub dims: Dims,
    pub sequence: Sequence,
    /// Scores by relative position, `[1, heads, seq, seq]`.
    pub relative: Option<Tensor>,
    /// The key of random numbers, in training.
    pub key: Option<Tensor>,
    /// The block at work, counted from 0.
    pub layer: usize,
    /// Losses of layers that ask for one.
    pub losses: Vec<Tensor>,
}

impl Context<'_> {
    /// The baseline's attention.
    pub fn attention(&self) -> Attention<'_> {
        Attention {
            config: self.config,
            dims: self.dims,
            sequence: &self.sequence,
            heads: self.config.heads,
            d_head: self.config.d_head(),
            convolution: Convolution::None,
            shared_queries: false,
            learned_scores: false,
            relative: self.relative.as_ref(),
        }
    }

    /// The norm after the last block.
    pub fn final_norm(&self) -> Norm {
        match self.config.arch {
            _ if self.config.final_norm == FinalNorm::Layer => Norm::Layer,
            Arch::TransformerPlusplus => Norm::Rms,
            Arch::Primer => Norm::Primer,
            _ => Norm::Layer,
        }
    }

    /// The feed-forward part of this block, by experts where the block has some.
    pub fn feed_forward_or_experts(&mut self, mut scope: Scope<'_>, x: &Tensor, activation: Activation) -> Tensor {
        let config = self.config;
        // A model with fewer blocks has its experts in the last.
        let every = EXPERTS_EVERY.min(config.layers);
        if !(self.layer + 1).is_multiple_of(every) {
            return feed_forward(scope.child("ffn"), x, config.d_ff, activation);
        }
        let experts = Experts {
            dims: self.dims,
            experts: config.experts,
            capacity: if self.key.is_some() { config.expert_capacity } else { config.expert_eval_capacity },
            d_ff: config.d_ff,
            activation,
            jitter: self.key.as_ref().map(|key| (key, self.layer as u32)),
        };
        let (mixed, balance) = experts.apply(scope.child("experts"), x);
        self.losses.push(balance);
        mixed
    }
}
