//! What layers that mix positions see of a sequence: all of it, or one position after what they kept of the earlier
//! ones.

use std::cell::RefCell;

use primer_tensor::{CompareOp, DType, Shape, Tensor};

use super::params::Scope;

/// Whether a model reads whole sequences, or one token after another.
#[derive(Debug)]
pub enum Sequence {
    /// Every position at once.
    Whole,
    /// One position; what earlier ones left is in the state.
    Step(Step),
}

/// One position of a sequence of `length`.
#[derive(Debug)]
pub struct Step {
    /// Its number, u32 `[1]`.
    pub position: Tensor,
    /// Positions that fit.
    pub length: usize,
    caches: RefCell<Vec<Cache>>,
}

/// What a layer keeps of earlier positions; it starts as zeros.
#[derive(Debug)]
pub struct Cache {
    /// The state entry.
    pub entry: Tensor,
    /// Its value after this position.
    pub next: Tensor,
}

impl Step {
    /// A position of a sequence of `length`.
    pub fn new(position: Tensor, length: usize) -> Self {
        Self { position, length, caches: RefCell::default() }
    }

    /// What layers have asked to keep.
    pub fn into_caches(self) -> Vec<Cache> {
        self.caches.into_inner()
    }

    fn keep(&self, entry: Tensor, next: Tensor) {
        self.caches.borrow_mut().push(Cache { entry, next });
    }

    /// A bool `[.., length, ..]`: whether the index along `axis` compares so with the position.
    fn compare(&self, shape: &Shape, axis: usize, later: bool) -> Tensor {
        let index = Tensor::iota(shape.clone(), axis, DType::U32);
        let ones = vec![1; shape.rank()];
        let position = self.position.reshape(ones);
        if later { position.compare(CompareOp::Less, &index) } else { index.compare(CompareOp::Equal, &position) }
    }
}

fn entry(scope: &Scope<'_>, name: &str, shape: &[usize]) -> Tensor {
    Tensor::state(&format!("cache.{}", scope.name(name)), shape)
}

impl Sequence {
    /// The causal depthwise convolution of `[batch, n, c]` with taps `[k, c]`. A step keeps the k − 1 rows before it,
    /// as they came in.
    pub fn depthwise_conv(&self, scope: &Scope<'_>, name: &str, x: &Tensor, taps: &Tensor) -> Tensor {
        let Self::Step(step) = self else { return x.depthwise_conv(taps) };
        let (batch, c, k) = (x.shape()[0], x.shape().last(), taps.shape()[0]);
        if k == 1 {
            return x * taps.reshape([1, 1, c]);
        }
        let earlier = entry(scope, name, &[batch, k - 1, c]);
        let window = Tensor::concat(&[earlier.clone(), x.clone()], 1);
        step.keep(earlier, window.slice(1, 1, k));
        (window * taps.reverse(0).reshape([1, k, c])).sum_axis(1)
    }

    /// Keys or values `[batch, heads, n, d_head]` of every position up to this one; a step keeps them.
    pub fn all_positions(&self, scope: &Scope<'_>, name: &str, x: &Tensor) -> Tensor {
        let Self::Step(step) = self else { return x.clone() };
        let [batch, heads, _, d_head] = x.shape()[..] else { return x.clone() };
        let shape = Shape::from([batch, heads, step.length, d_head]);
        let earlier = entry(scope, name, &shape);
        let all = step.compare(&shape, 2, false).select(&x.broadcast_to(&shape), &earlier);
        step.keep(earlier, all.clone());
        all
    }

    /// Of scores for each pair of positions `[1, heads, seq, seq]`, the rows of the positions at hand: `[1, heads, n,
    /// seq]`.
    pub fn rows_of(&self, scores: &Tensor) -> Tensor {
        let Self::Step(step) = self else { return scores.clone() };
        let [_, heads, seq, _] = scores.shape()[..] else { return scores.clone() };
        let by_row = scores.permute(&[2, 0, 1, 3]).reshape([seq, heads * seq]);
        by_row.gather(&step.position).reshape([1, heads, 1, seq])
    }

    /// Where scores `[batch, heads, n, seq]` look at a later position, bool.
    pub fn future(&self, scores: &Shape) -> Tensor {
        match self {
            Self::Whole => {
                let row = Tensor::iota(scores.clone(), 2, DType::U32);
                row.compare(CompareOp::Less, &Tensor::iota(scores.clone(), 3, DType::U32))
            }
            Self::Step(step) => step.compare(scores, 3, true),
        }
    }
}
