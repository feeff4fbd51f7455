//! Causal self-attention, plain or multi-depthwise-head.

use primer_tensor::{CompareOp, DType, Tensor};

use super::Dims;
use super::params::{Init, Scope};
use crate::config::{ModelConfig, Qkv, QueryScale, Softmax};

/// Start of the three taps of MDHA's convolutions, the present position first (spec §3.3).
const TAPS: [f64; 3] = [0.5, 1.0 / 6.0, 1.0 / 6.0];

/// A future score, before its exponential: finite, so that no device meets an infinity, and exp of it is exactly 0.
const FUTURE: f64 = -1e30;

/// Multi-head causal self-attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Conventions and numbers of heads.
    pub config: &'a ModelConfig,
    /// Shapes.
    pub dims: Dims,
    /// Whether a causal 3-tap depthwise convolution follows each of the three projections: multi-depthwise-head attention.
    pub depthwise: bool,
}

impl Attention<'_> {
    /// softmax(QKᵀ)·V of rows `[batch·seq, d]`, heads joined and projected once more; no biases.
    pub fn apply(self, mut scope: Scope<'_>, x: &Tensor) -> Tensor {
        let d = self.dims.d_model;
        let [q, k, v] = self.project(&mut scope, x);
        let wo = scope.dense("wo", d, d);
        let q = match self.config.query_scale {
            QueryScale::Runtime => self.split_heads(&q) * (self.config.d_head() as f64).powf(-0.5),
            QueryScale::Init => self.split_heads(&q),
        };
        let scores = q.matmul_t(false, &self.split_heads(&k), true);
        let mixed = causal_softmax(&scores, self.config.softmax).matmul(&self.split_heads(&v));
        mixed.permute(&[0, 2, 1, 3]).reshape([self.dims.batch * self.dims.seq, d]).matmul(&wo)
    }

    /// Queries, keys and values, each `[batch, seq, d]`.
    fn project(self, scope: &mut Scope<'_>, x: &Tensor) -> [Tensor; 3] {
        let Dims { batch, seq, d_model: d } = self.dims;
        let fan_in = (d as f64).powf(-0.5);
        // With 1/√d_k folded in, the queries start that much smaller.
        let query = match self.config.query_scale {
            QueryScale::Init => fan_in * (self.config.d_head() as f64).powf(-0.5),
            QueryScale::Runtime => fan_in,
        };
        let starts = [query, fan_in, fan_in].map(Init::Normal);
        let taps = || Init::Rows(TAPS.to_vec());
        match self.config.qkv {
            Qkv::Fused => {
                let w = scope.param("wqkv", &[d, 3 * d], Init::Columns(starts.to_vec()));
                let mut all = x.matmul(&w).reshape([batch, seq, 3 * d]);
                if self.depthwise {
                    all = all.depthwise_conv(&scope.param("taps_qkv", &[TAPS.len(), 3 * d], taps()));
                }
                [0, 1, 2].map(|i| all.slice(2, i * d, (i + 1) * d))
            }
            Qkv::Separate => {
                let mut starts = starts.into_iter();
                ["q", "k", "v"].map(|part| {
                    let start = starts.next().unwrap_or(Init::Normal(fan_in));
                    let w = scope.param(&format!("w{part}"), &[d, d], start);
                    let projected = x.matmul(&w).reshape([batch, seq, d]);
                    if self.depthwise {
                        let taps = scope.param(&format!("taps_{part}"), &[TAPS.len(), d], taps());
                        projected.depthwise_conv(&taps)
                    } else {
                        projected
                    }
                })
            }
        }
    }

    /// `[batch, seq, d]` as `[batch, heads, seq, d/heads]`.
    fn split_heads(self, x: &Tensor) -> Tensor {
        let Dims { batch, seq, .. } = self.dims;
        x.reshape([batch, seq, self.config.heads, self.config.d_head()]).permute(&[0, 2, 1, 3])
    }
}

/// Attention's weights from scores `[.., n, n]`: row t over the columns up to t.
pub fn causal_softmax(scores: &Tensor, form: Softmax) -> Tensor {
    let last = scores.shape().rank() - 1;
    let row = Tensor::iota(scores.shape(), last - 1, DType::U32);
    let column = Tensor::iota(scores.shape(), last, DType::U32);
    let future = row.compare(CompareOp::Less, &column);
    let exponentials = match form {
        Softmax::Stable => {
            let masked = future.select(&Tensor::constant(FUTURE), scores);
            (&masked - masked.max_axis(last).stop_gradient()).exp()
        }
        Softmax::ExpMask => future.select(&Tensor::constant(0.0), &scores.exp()),
    };
    let total = exponentials.sum_axis(last);
    exponentials / total
}
