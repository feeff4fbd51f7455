//! Causal self-attention and the changes to it: depthwise convolutions, shared queries, learned scores.

use primer_tensor::Tensor;

use super::params::{Init, Scope};
use super::{Dims, Sequence};
use crate::config::{ModelConfig, Projections, QueryScale, SharedQueries, Softmax};

/// Start of the three taps of MDHA's convolutions, the present position first (spec §3.3).
const TAPS: [f64; 3] = [0.5, 1.0 / 6.0, 1.0 / 6.0];

/// A future score, before its exponential: finite, so that no device meets an infinity, and exp of it is exactly 0.
const FUTURE: f64 = -1e30;

/// Where a causal 3-tap depthwise convolution stands beside each projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convolution {
    /// There is none.
    None,
    /// Before it: the separable convolution of the paper's comparison.
    Before,
    /// After it: multi-depthwise-head attention.
    After,
}

/// Multi-head causal self-attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Conventions.
    pub config: &'a ModelConfig,
    /// Shapes.
    pub dims: Dims,
    /// What is seen of the sequence.
    pub sequence: &'a Sequence,
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Convolutions beside the projections.
    pub convolution: Convolution,
    /// Whether queries are computed from the keys.
    pub shared_queries: bool,
    /// Whether a learned score for each head and pair of positions is added (Tay et al. 2020, random, plus dot
    /// product).
    pub learned_scores: bool,
    /// Scores by relative position, `[1, heads, seq, seq]`.
    pub relative: Option<&'a Tensor>,
}

impl Attention<'_> {
    /// softmax(QKᵀ)·V of rows `[batch·seq, d]`, heads joined and projected once more; no biases.
    pub fn apply(self, mut scope: Scope<'_>, x: &Tensor) -> Tensor {
        let Dims { batch, seq, d_model: d } = self.dims;
        let [q, k, v] = self.project(&mut scope, x);
        let q = match self.config.query_scale {
            QueryScale::Runtime => self.split_heads(&q) * (self.d_head as f64).powf(-0.5),
            QueryScale::Init => self.split_heads(&q),
        };
        let k = self.sequence.all_positions(&scope, "keys", &self.split_heads(&k));
        let v = self.sequence.all_positions(&scope, "values", &self.split_heads(&v));
        let mut scores = q.matmul_t(false, &k, true);
        if self.learned_scores {
            let length = scores.shape().last();
            let shape = [self.heads, length, length];
            let learned = scope.param("scores", &shape, Init::Normal((length as f64).powf(-0.5)));
            scores = scores + self.sequence.rows_of(&learned.reshape([1, self.heads, length, length]));
        }
        if let Some(relative) = self.relative {
            scores = scores + self.sequence.rows_of(relative);
        }
        let future = self.sequence.future(scores.shape());
        let mixed = masked_softmax(&scores, &future, self.config.softmax).matmul(&v);
        let wo = scope.dense("wo", self.width(), d);
        mixed.permute(&[0, 2, 1, 3]).reshape([batch * seq, self.width()]).matmul(&wo)
    }

    /// Queries, keys and values, each `[batch, seq, heads·d_head]`.
    fn project(self, scope: &mut Scope<'_>, x: &Tensor) -> [Tensor; 3] {
        let fan_in = (self.dims.d_model as f64).powf(-0.5);
        // With 1/√d_head folded in, the queries start that much smaller; shared, the keys that they are computed from.
        let small = match self.config.query_scale {
            QueryScale::Init => fan_in * (self.d_head as f64).powf(-0.5),
            QueryScale::Runtime => fan_in,
        };
        if self.shared_queries {
            let [k, v] = self.projections(scope, x, [("k", small), ("v", fan_in)]);
            return [self.queries_from(scope, &k), k, v];
        }
        self.projections(scope, x, [("q", small), ("k", fan_in), ("v", fan_in)])
    }

    /// Projections of the same rows, each given by its name and the deviation of its start, with their convolutions.
    fn projections<const N: usize>(self, scope: &mut Scope<'_>, x: &Tensor, parts: [(&str, f64); N]) -> [Tensor; N] {
        let Dims { batch, seq, d_model: d } = self.dims;
        let width = self.width();
        let taps = |scope: &mut Scope<'_>, name: &str, width: usize| {
            scope.param(&format!("taps_{name}"), &[TAPS.len(), width], Init::Rows(TAPS.to_vec()))
        };
        if self.config.projections == Projections::Fused && self.convolution != Convolution::Before {
            let names: String = parts.iter().map(|(name, _)| *name).collect();
            let starts = parts.iter().map(|&(_, deviation)| Init::Normal(deviation)).collect();
            let w = scope.param(&format!("w{names}"), &[d, N * width], Init::Columns(starts));
            let mut all = x.matmul(&w).reshape([batch, seq, N * width]);
            if self.convolution == Convolution::After {
                let taps = taps(scope, &names, N * width);
                all = self.sequence.depthwise_conv(scope, &names, &all, &taps);
            }
            return std::array::from_fn(|i| all.slice(2, i * width, (i + 1) * width));
        }
        parts.map(|(name, deviation)| {
            let mut rows = x.clone();
            if self.convolution == Convolution::Before {
                let taps = taps(scope, name, d);
                let convolved = self.sequence.depthwise_conv(scope, name, &x.reshape([batch, seq, d]), &taps);
                rows = convolved.reshape([batch * seq, d]);
            }
            let w = scope.param(&format!("w{name}"), &[d, width], Init::Normal(deviation));
            let projected = rows.matmul(&w).reshape([batch, seq, width]);
            if self.convolution == Convolution::After {
                let taps = taps(scope, name, width);
                self.sequence.depthwise_conv(scope, name, &projected, &taps)
            } else {
                projected
            }
        })
    }

    /// Queries K·W, `[batch, seq, heads·d_head]`: `wq` over all heads together, or one matrix a head.
    fn queries_from(self, scope: &mut Scope<'_>, k: &Tensor) -> Tensor {
        let (rows, width) = (self.dims.batch * self.dims.seq, self.width());
        let q = match self.config.shared_queries {
            SharedQueries::Joint => {
                let start = Init::TruncatedNormal((width as f64).powf(-0.5));
                k.reshape([rows, width]).matmul(&scope.param("wq", &[width, width], start))
            }
            SharedQueries::PerHead => {
                let start = Init::TruncatedNormal((self.d_head as f64).powf(-0.5));
                let w = scope.param("wq", &[self.heads, self.d_head, self.d_head], start);
                let by_head = k.reshape([rows, self.heads, self.d_head]).permute(&[1, 0, 2]);
                by_head.matmul(&w).permute(&[1, 0, 2])
            }
        };
        q.reshape(k.shape())
    }

    /// Width of all heads together.
    fn width(self) -> usize {
        self.heads * self.d_head
    }

    /// `[batch, seq, heads·d_head]` as `[batch, heads, seq, d_head]`.
    fn split_heads(self, x: &Tensor) -> Tensor {
        let Dims { batch, seq, .. } = self.dims;
        x.reshape([batch, seq, self.heads, self.d_head]).permute(&[0, 2, 1, 3])
    }
}

/// Attention's weights from scores `[batch, heads, n, seq]`, none where `future`, a bool of that shape, is set.
pub fn masked_softmax(scores: &Tensor, future: &Tensor, form: Softmax) -> Tensor {
    let last = scores.shape().rank() - 1;
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
