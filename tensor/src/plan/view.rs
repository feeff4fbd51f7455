//! Strided windows into a buffer.

use super::BufferId;
use crate::Shape;

/// Elements of a buffer seen as a tensor: element `i` is at `offset + Σ i[axis]·strides[axis]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// Position of element `[0, …, 0]`.
    pub offset: usize,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Distance in elements between neighbours along each dimension; 0 repeats, negative reverses.
    pub strides: Vec<isize>,
}

impl View {
    /// The whole buffer of that shape, row-major.
    pub fn contiguous(buffer: BufferId, shape: &Shape) -> Self {
        Self { buffer, offset: 0, dims: shape.to_vec(), strides: shape.strides() }
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.dims.iter().product()
    }

    /// Number of different buffer elements.
    pub fn distinct(&self) -> usize {
        self.dims.iter().zip(&self.strides).map(|(&d, &s)| if s == 0 { d.min(1) } else { d }).product()
    }

    /// The lowest and the highest position of an element; none where there is no element.
    pub fn reach(&self) -> Option<(i128, i128)> {
        if self.dims.contains(&0) {
            return None;
        }
        let (mut low, mut high) = (self.offset as i128, self.offset as i128);
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            let reach = (dim as i128 - 1) * stride as i128;
            if reach < 0 { low += reach } else { high += reach }
        }
        Some((low, high))
    }

    /// Whether the elements follow one another without gaps in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (&dim, &stride) in self.dims.iter().zip(&self.strides).rev() {
            if dim != 1 && stride != expected {
                return false;
            }
            expected *= dim as isize;
        }
        true
    }

    /// The view under a permutation of its axes.
    pub fn permute(&self, perm: &[usize]) -> Self {
        Self {
            dims: perm.iter().map(|&p| self.dims[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            ..self.clone()
        }
    }

    /// Axes of length 1 repeated to `dims`.
    pub fn broadcast(&self, dims: &[usize]) -> Self {
        let strides = dims.iter().enumerate().map(|(i, &d)| if self.dims[i] == d { self.strides[i] } else { 0 });
        Self { strides: strides.collect(), dims: dims.to_vec(), ..self.clone() }
    }

    /// Elements `start..end` along `axis`.
    pub fn slice(&self, axis: usize, start: usize, end: usize) -> Self {
        let mut view = self.clone();
        view.dims[axis] = end - start;
        if end > start {
            view.offset = (self.offset as isize + start as isize * self.strides[axis]) as usize;
        }
        view
    }

    /// Order reversed along `axis`.
    pub fn reverse(&self, axis: usize) -> Self {
        let mut view = self.clone();
        if self.dims[axis] > 0 {
            view.offset = (self.offset as isize + (self.dims[axis] as isize - 1) * self.strides[axis]) as usize;
        }
        view.strides[axis] = -self.strides[axis];
        view
    }

    /// The same elements in the same order under other dimensions, if strides can say so without a copy.
    pub fn reshape(&self, dims: &[usize]) -> Option<Self> {
        if dims.iter().product::<usize>() == 0 {
            return Some(Self { dims: dims.to_vec(), strides: vec![0; dims.len()], ..self.clone() });
        }
        // Blocks of axes that are walked with one stride, innermost first.
        let mut blocks: Vec<(usize, isize)> = Vec::new();
        for (&dim, &stride) in self.dims.iter().zip(&self.strides).rev() {
            match blocks.last_mut() {
                _ if dim == 1 => {}
                Some((len, inner)) if stride == *inner * *len as isize => *len *= dim,
                _ => blocks.push((dim, stride)),
            }
        }
        let mut strides = vec![0; dims.len()];
        let mut blocks = blocks.into_iter();
        let (mut left, mut stride) = blocks.next().unwrap_or((1, 1));
        for (axis, &dim) in dims.iter().enumerate().rev() {
            if dim == 1 {
                strides[axis] = stride;
                continue;
            }
            if left == 1 {
                (left, stride) = blocks.next()?;
            }
            if !left.is_multiple_of(dim) {
                return None;
            }
            strides[axis] = stride;
            stride *= dim as isize;
            left /= dim;
        }
        Some(Self { dims: dims.to_vec(), strides, ..self.clone() })
    }

    /// The view as (rows, length) if its outer axes are walked with one stride: `(row stride, element stride)`.
    pub fn as_matrix(&self) -> Option<(isize, isize)> {
        let length = self.dims.last().copied().unwrap_or(1);
        let rows = self.dims.iter().rev().skip(1).product();
        let flat = self.reshape(&[rows, length])?;
        Some((flat.strides[0], flat.strides[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(dims: &[usize], strides: &[isize]) -> View {
        View { buffer: BufferId(0), offset: 0, dims: dims.to_vec(), strides: strides.to_vec() }
    }

    fn elements(view: &View) -> Vec<isize> {
        let mut out = vec![view.offset as isize];
        for (&dim, &stride) in view.dims.iter().zip(&view.strides) {
            out = out.iter().flat_map(|&base| (0..dim as isize).map(move |i| base + i * stride)).collect();
        }
        out
    }

    #[test]
    fn reshape_keeps_the_order_of_elements() {
        let cases: [(View, &[usize]); 6] = [
            (view(&[2, 3, 4], &[12, 4, 1]), &[6, 4]),
            (view(&[2, 3, 4], &[12, 4, 1]), &[2, 2, 6]),
            (view(&[4, 6], &[1, 4]), &[2, 2, 3, 2]),
            (view(&[3, 1, 5], &[5, 77, 1]), &[15]),
            (view(&[3, 4], &[0, 1]), &[3, 2, 2]),
            (view(&[2, 3, 4], &[12, 4, 1]).reverse(1), &[2, 3, 2, 2]),
        ];
        for (v, dims) in cases {
            let reshaped = v.reshape(dims).expect("expressible");
            assert_eq!(elements(&reshaped), elements(&v), "{v:?} to {dims:?}");
        }
    }

    #[test]
    fn reshape_refuses_what_needs_a_copy() {
        assert!(view(&[4, 6], &[1, 4]).reshape(&[24]).is_none());
        assert!(view(&[2, 3], &[0, 1]).reshape(&[6]).is_none());
        assert!(view(&[2, 4], &[8, 1]).reshape(&[8]).is_none());
    }

    #[test]
    fn contiguity_ignores_axes_of_length_one() {
        assert!(view(&[2, 1, 3], &[3, 99, 1]).is_contiguous());
        assert!(!view(&[2, 3], &[6, 1]).is_contiguous());
    }
}
