//! Compositions that every user needs. They get their speed from fusion, not from kernels of their own.

use super::Tensor;
use crate::graph::CompareOp;
use crate::{DType, Shape};

#[allow(clippy::missing_panics_doc)] // as the primitives they are made of
impl Tensor {
    /// max(x, 0)
    #[track_caller]
    pub fn relu(&self) -> Self {
        self.maximum(&Tensor::constant(0.0))
    }

    /// x²
    #[track_caller]
    pub fn square(&self) -> Self {
        self * self
    }

    /// The sum of all elements, a scalar. The last axis is summed first, then the rows.
    #[track_caller]
    pub fn sum(&self) -> Self {
        let last = self.shape().last();
        let rows = self.shape().numel().checked_div(last).unwrap_or(0);
        let by_row = self.reshape([rows, last]).sum_axis(1);
        by_row.reshape([1, rows]).sum_axis(1).reshape(Shape::scalar())
    }

    /// The mean of all elements, a scalar.
    #[track_caller]
    pub fn mean(&self) -> Self {
        self.sum() * (1.0 / self.shape().numel() as f64)
    }

    /// The mean over one axis, kept with length 1.
    #[track_caller]
    pub fn mean_axis(&self, axis: usize) -> Self {
        self.sum_axis(axis) * (1.0 / self.shape()[axis] as f64)
    }

    /// exp(x − max) / Σ exp(x − max) over the last axis.
    #[track_caller]
    pub fn softmax(&self) -> Self {
        let axis = self.shape().rank() - 1;
        let e = (self - self.max_axis(axis).stop_gradient()).exp();
        let total = e.sum_axis(axis);
        e / total
    }

    /// ln Σ exp(x) over the last axis, kept with length 1.
    #[track_caller]
    pub fn logsumexp(&self) -> Self {
        let axis = self.shape().rank() - 1;
        let max = self.max_axis(axis).stop_gradient();
        (self - &max).exp().sum_axis(axis).log() + max
    }

    /// Cross entropy in nats of logits `[n, v]` against target ids u32 `[n]`, one value a row: `[n, 1]`.
    #[track_caller]
    pub fn cross_entropy(&self, targets: &Tensor) -> Self {
        let n = self.shape()[0];
        let ids = Tensor::iota(self.shape(), 1, DType::U32);
        let hit = ids.compare(CompareOp::Equal, &targets.reshape([n, 1]));
        let picked = hit.select(self, &Tensor::constant(0.0)).sum_axis(1);
        self.logsumexp() - picked
    }
}
