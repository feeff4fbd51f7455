//! Index arithmetic of the oracle: every element by its full index.

use super::Value;
use crate::Shape;

/// All indices of a shape in row-major order.
pub(super) fn indices(shape: &Shape) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.numel()).map(|flat| {
        let mut rest = flat;
        let mut index = vec![0; shape.rank()];
        for axis in (0..shape.rank()).rev() {
            index[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        index
    })
}

/// The element at a full index.
pub(super) fn at(x: &Value, index: &[usize]) -> f64 {
    let mut flat = 0;
    for (axis, &i) in index.iter().enumerate() {
        assert!(i < x.shape[axis], "index {i} outside axis {axis} of {}", x.shape);
        flat = flat * x.shape[axis] + i;
    }
    x.data[flat]
}

/// A tensor whose elements are given by index; `None` is zero.
pub(super) fn gather(shape: &Shape, element: impl Fn(&[usize]) -> Option<f64>) -> Vec<f64> {
    indices(shape).map(|index| element(&index).unwrap_or(0.0)).collect()
}

/// A tensor that differs from x along one axis only.
pub(super) fn gather_axis(x: &Value, shape: &Shape, axis: usize, source: impl Fn(usize) -> Option<usize>) -> Vec<f64> {
    gather(shape, |index| {
        let mut from = index.to_vec();
        from[axis] = source(index[axis])?;
        Some(at(x, &from))
    })
}

/// Tensors joined along one axis.
pub(super) fn concat(parts: &[&Value], shape: &Shape, axis: usize) -> Vec<f64> {
    gather(shape, |index| {
        let mut from = index.to_vec();
        for part in parts {
            if from[axis] < part.shape[axis] {
                return Some(at(part, &from));
            }
            from[axis] -= part.shape[axis];
        }
        None
    })
}
