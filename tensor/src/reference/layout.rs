//! Index arithmetic of the oracle: every element by its full index.

use super::Value;
use crate::Shape;

/// Calls `visit` with every index of a shape, in row-major order.
fn each_index(shape: &Shape, mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.rank()];
    for _ in 0..shape.numel() {
        visit(&index);
        for axis in (0..shape.rank()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
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
pub(super) fn gather(shape: &Shape, mut element: impl FnMut(&[usize]) -> Option<f64>) -> Vec<f64> {
    let mut data = Vec::with_capacity(shape.numel());
    each_index(shape, |index| data.push(element(index).unwrap_or(0.0)));
    data
}

/// The elements of x at the indices that `source` writes into its second argument, which is as long as x has axes;
/// `None` is zero.
pub(super) fn gather_from(
    x: &Value,
    shape: &Shape,
    mut source: impl FnMut(&[usize], &mut [usize]) -> Option<()>,
) -> Vec<f64> {
    let mut from = vec![0; x.shape.rank()];
    gather(shape, |index| {
        source(index, &mut from)?;
        Some(at(x, &from))
    })
}

/// A tensor that differs from x along one axis only.
pub(super) fn gather_axis(x: &Value, shape: &Shape, axis: usize, source: impl Fn(usize) -> Option<usize>) -> Vec<f64> {
    gather_from(x, shape, |index, from| {
        from.copy_from_slice(index);
        from[axis] = source(index[axis])?;
        Some(())
    })
}

/// Tensors joined along one axis.
pub(super) fn concat(parts: &[&Value], shape: &Shape, axis: usize) -> Vec<f64> {
    let mut from = vec![0; shape.rank()];
    gather(shape, |index| {
        from.copy_from_slice(index);
        for part in parts {
            if from[axis] < part.shape[axis] {
                return Some(at(part, &from));
            }
            from[axis] -= part.shape[axis];
        }
        None
    })
}
