//! A mixture of experts with one expert a token (Fedus et al. 2021).

use primer_tensor::{CompareOp, DType, Tensor};

use super::params::{Init, Scope};
use super::{Activation, Dims};

/// Most tokens that are shared out together.
const GROUP: usize = 1024;

/// Weight of the loss that keeps experts equally busy.
const BALANCE: f64 = 1e-2;

/// Noise of the router's input in training: a factor in 1 ± this.
const JITTER: f64 = 1e-2;

/// A feed-forward part of which each token takes one expert's.
#[derive(Debug, Clone, Copy)]
pub struct Experts<'a> {
    /// Shapes.
    pub dims: Dims,
    /// Number of experts.
    pub experts: usize,
    /// Room of an expert, as a multiple of an equal share of a group's tokens; a token beyond it is passed on
    /// unchanged.
    pub capacity: f64,
    /// Width inside an expert.
    pub d_ff: usize,
    /// What lies between an expert's two matrices.
    pub activation: Activation,
    /// The key of the router's noise, `[2]` u32, and the stream of this layer; none outside of training.
    pub jitter: Option<(&'a Tensor, u32)>,
}

impl Experts<'_> {
    /// What the experts make of rows `[batch·seq, d]`, zero for a token that found no room, and the loss that keeps
    /// them equally busy: 10⁻²·E²·mean(share of tokens · mean probability), over experts and groups.
    pub fn apply(self, mut scope: Scope<'_>, x: &Tensor) -> (Tensor, Tensor) {
        let (tokens, d, experts) = (x.shape()[0], x.shape().last(), self.experts);
        let (groups, size) = self.groups();
        let room = ((size as f64 * self.capacity / experts as f64).ceil() as usize).clamp(1, size);

        let routed = match self.jitter {
            Some((key, stream)) => x * (key.random(x.shape(), stream) * (2.0 * JITTER) + (1.0 - JITTER)),
            None => x.clone(),
        };
        let router = scope.param("router", &[d, experts], Init::TruncatedNormal((0.1 / d as f64).sqrt()));
        let probabilities = routed.matmul(&router).softmax();
        let (probability, expert) = probabilities.top_k(1, 1);
        let ids = Tensor::iota([tokens, experts], 1, DType::U32);
        let (one, zero) = (Tensor::constant(1.0), Tensor::constant(0.0));
        let chosen = ids.compare(CompareOp::Equal, &expert).select(&one, &zero);

        // A token's place in its expert is the number of earlier tokens of the group that chose the same.
        let by_group = chosen.reshape([groups, size, experts]);
        let earlier = (by_group.cumsum(1) - 1.0).reshape([tokens, experts]);
        let place = (&earlier * &chosen).sum_axis(1);
        let group = Tensor::iota([groups, size, 1], 0, DType::F32).reshape([tokens, 1]);
        let slot = (group * experts as f64 + expert.to_f32()) * room as f64 + &place;
        let slots = groups * experts * room;
        let full = Tensor::constant(room as f64 - 0.5).compare(CompareOp::Less, &place);
        // One slot more takes the tokens without room.
        let slot = full.select(&Tensor::constant(slots as f64), &slot).to_u32().reshape([tokens]);

        let sorted = x.scatter_add(&slot, slots + 1).slice(0, 0, slots).reshape([groups, experts, room, d]);
        let inputs = sorted.permute(&[1, 0, 2, 3]).reshape([experts, groups * room, d]);
        let outputs = self.run(&mut scope, &inputs).reshape([experts, groups, room, d]).permute(&[1, 0, 2, 3]);
        let mixed = outputs.reshape([slots, d]).pad(0, 0, 1).gather(&slot) * probability;

        let share = by_group.mean_axis(1);
        let mean = probabilities.reshape([groups, size, experts]).mean_axis(1);
        let balance = (share.stop_gradient() * mean).mean() * (BALANCE * (experts * experts) as f64);
        (mixed, balance)
    }

    /// The experts' feed-forward parts on `[experts, rows, d]`; no biases.
    fn run(self, scope: &mut Scope<'_>, inputs: &Tensor) -> Tensor {
        let (experts, d, d_ff) = (self.experts, inputs.shape().last(), self.d_ff);
        let fan_in = |n: usize| Init::TruncatedNormal((0.1 / n as f64).sqrt());
        let w1 = scope.param("w1", &[experts, d, d_ff], fan_in(d));
        let w2 = scope.param("w2", &[experts, d_ff, d], fan_in(d_ff));
        self.activation.apply(&inputs.matmul(&w1)).matmul(&w2)
    }

    /// Groups of whole sequences, and the tokens of one.
    fn groups(self) -> (usize, usize) {
        let Dims { batch, seq, .. } = self.dims;
        let rows = (1..=batch).rev().find(|rows| batch % rows == 0 && (rows * seq <= GROUP || *rows == 1)).unwrap_or(1);
        (batch / rows, rows * seq)
    }
}
