//! Compositions that every user needs. They get their speed from fusion, not from kernels of their own.

use super::Tensor;
use crate::graph::{CompareOp, ReduceOp};
use crate::{DType, Shape};

/// A function made of primitives, for tables and tests.
#[derive(Clone, Copy, Debug)]
pub struct Composition {
    /// Its name.
    pub name: &'static str,
    /// What it computes, in a few words.
    pub computes: &'static str,
    /// The function, of a matrix of at least two columns and no more rows than columns.
    pub apply: fn(&Tensor) -> Tensor,
}

impl Composition {
    const fn new(name: &'static str, computes: &'static str, apply: fn(&Tensor) -> Tensor) -> Self {
        Self { name, computes, apply }
    }
}

/// Every composition.
pub const COMPOSITIONS: [Composition; 13] = [
    Composition::new("relu", "max(x, 0)", |x| x.relu()),
    Composition::new("square", "x x", |x| x.square()),
    Composition::new("sum", "of all elements", |x| x.sum()),
    Composition::new("mean", "of all elements", |x| x.mean()),
    Composition::new("mean_axis", "along an axis", |x| x.mean_axis(0)),
    Composition::new("softmax", "over the last axis, its maximum subtracted", |x| x.softmax()),
    Composition::new("logsumexp", "over the last axis, its maximum subtracted", |x| x.logsumexp()),
    Composition::new("cross_entropy", "of logits against target ids, in nats", |x| {
        x.cross_entropy(&Tensor::iota([x.shape()[0]], 0, DType::U32))
    }),
    Composition::new("cumsum", "sum of an element and those before it", |x| x.cumsum(1)),
    Composition::new("cumprod", "product of an element and those before it", |x| x.cumprod(0)),
    Composition::new("argmax", "index of the largest, the first of equal ones", |x| x.argmax(1)),
    Composition::new("top_k", "the k largest in order", |x| x.top_k(2, 1).0),
    Composition::new("top_k indices", "where the k largest are", |x| x.top_k(2, 1).1),
];

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

    /// The sum of each element and those before it along `axis`.
    #[track_caller]
    pub fn cumsum(&self, axis: usize) -> Self {
        Tensor::constant(1.0).linrec(self, axis, false, 0.0)
    }

    /// The product of each element and those before it along `axis`.
    #[track_caller]
    pub fn cumprod(&self, axis: usize) -> Self {
        self.linrec(&Tensor::constant(0.0), axis, false, 1.0)
    }

    /// The index of the largest element along `axis`, u32, kept with length 1; see [`Tensor::top_k`].
    ///
    /// # Panics
    /// Where the axis is empty or longer than 2²⁴.
    #[track_caller]
    pub fn argmax(&self, axis: usize) -> Self {
        self.top_k(1, axis).1
    }

    /// The `k` largest elements along `axis` in descending order, and their indices, u32. Of equal elements the first
    /// comes first; NaN counts as −∞. A gradient goes to the elements that were taken.
    ///
    /// One round a rank: the largest of what is left, and the first index at which it stands. A round costs two
    /// reductions, so this is for the few experts or tokens of a routing or a sample; half a vocabulary is better
    /// sorted elsewhere.
    ///
    /// # Panics
    /// Where the axis holds fewer than `k` elements or more than 2²⁴, the largest index that f32 can count.
    #[track_caller]
    pub fn top_k(&self, k: usize, axis: usize) -> (Self, Self) {
        let shape = self.shape();
        let n = shape[axis];
        assert!((1..=n).contains(&k) && n <= 1 << 24, "top_k: no {k} largest along axis {axis} of {shape}");
        let (zero, lowest, taken) =
            (Tensor::constant(0.0), Tensor::constant(f64::NEG_INFINITY), Tensor::constant(n as f64));
        let infinite = zero.compare(CompareOp::Less, self).select(&Tensor::constant(f64::INFINITY), &lowest);
        let mut left = self.is_finite().select(self, &infinite);
        let mut ids = Tensor::iota(shape, axis, DType::F32);
        let (mut values, mut indices) = (Vec::new(), Vec::new());
        for _ in 0..k {
            let largest = left.max_axis(axis);
            let index = left.compare(CompareOp::Equal, &largest).select(&ids, &taken).reduce(ReduceOp::Min, axis);
            let hit = ids.compare(CompareOp::Equal, &index);
            values.push(hit.select(self, &zero).sum_axis(axis));
            indices.push(index);
            left = hit.select(&lowest, &left);
            ids = hit.select(&taken, &ids);
        }
        (Tensor::concat(&values, axis), Tensor::concat(&indices, axis).to_u32())
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
