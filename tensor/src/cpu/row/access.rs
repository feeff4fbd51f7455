//! Walking the rows of a strided view.

use crate::cpu::Bases;
use crate::plan::View;

/// A view as rows of elements, its outer axes merged as far as strides allow.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub buffer: usize,
    offset: isize,
    /// (length, stride) of the axes that count rows, outermost first; never empty.
    outer: Vec<(usize, isize)>,
    /// Distance of neighbours in a row.
    pub elem: isize,
    /// There are no elements. The strides say nothing then.
    pub is_empty: bool,
}

/// Rows that follow one another with one stride.
pub(super) struct Run {
    /// The first row, counted from the first one asked for.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Position in the buffer of element 0 of the first row.
    pub start: isize,
    /// Distance of two rows.
    pub stride: isize,
}

impl Access {
    /// A view of (rows, length): the last dimension is the row.
    pub(super) fn new(view: &View) -> Self {
        let last = view.dims.len().saturating_sub(1);
        let mut outer: Vec<(usize, isize)> = Vec::new();
        for (&dim, &stride) in view.dims[..last].iter().zip(&view.strides) {
            match outer.last_mut() {
                _ if dim == 1 => {}
                Some((len, above)) if *above == stride * dim as isize => (*len, *above) = (*len * dim, stride),
                _ => outer.push((dim, stride)),
            }
        }
        if outer.is_empty() {
            outer.push((usize::MAX, 0));
        }
        let elem = if view.dims.last().is_none_or(|&d| d == 1) { 0 } else { view.strides[last] };
        let is_empty = view.dims.contains(&0);
        Self { buffer: view.buffer.index(), offset: view.offset as isize, outer, elem, is_empty }
    }

    /// The distance of neighbouring rows, if it is the same for all.
    pub(super) fn row_stride(&self) -> Option<isize> {
        (self.outer.len() == 1).then(|| self.outer[0].1)
    }

    /// Whether all elements are one.
    pub(super) fn is_uniform(&self) -> bool {
        self.elem == 0 && self.outer.iter().all(|&(_, stride)| stride == 0)
    }

    /// Rows `row .. row + count` as runs, in order.
    #[inline(always)]
    pub(super) fn runs(&self, row: usize, count: usize, mut visit: impl FnMut(Run)) {
        let (inner, stride) = self.outer[self.outer.len() - 1];
        let mut first = 0;
        while first < count {
            let mut rest = row + first;
            let within = rest % inner;
            rest /= inner;
            let mut start = self.offset + within as isize * stride;
            for &(dim, stride) in self.outer[..self.outer.len() - 1].iter().rev() {
                start += (rest % dim) as isize * stride;
                rest /= dim;
            }
            let here = (count - first).min(inner - within);
            visit(Run { first, count: here, start, stride });
            first += here;
        }
    }

    /// Where those rows lie, if they are a single run.
    #[inline(always)]
    pub(super) fn single_run(&self, row: usize, count: usize) -> Option<Run> {
        let mut found = None;
        let inner = self.outer[self.outer.len() - 1].0;
        if row % inner + count <= inner {
            self.runs(row, count, |run| found = Some(run));
        }
        found
    }

    /// Copies columns `col .. col + width` of rows `row .. row + count` to `to`, `width` elements a row.
    ///
    /// # Safety
    /// The view lies within its buffer, the rows and columns within the view, and `to` holds `count · width` elements.
    #[inline(always)]
    pub(super) unsafe fn gather(
        &self,
        bases: &Bases,
        row: usize,
        count: usize,
        col: usize,
        width: usize,
        to: *mut f32,
    ) {
        let base = bases.get(self.buffer);
        let elem = self.elem;
        self.runs(row, count, |run| {
            // SAFETY: all positions are those of the view's elements.
            unsafe {
                let from = base.offset(run.start + col as isize * elem);
                let to = to.add(run.first * width);
                if elem == 1 || width == 1 {
                    if width == 1 {
                        for r in 0..run.count {
                            *to.add(r) = *from.offset(r as isize * run.stride);
                        }
                    } else {
                        for r in 0..run.count {
                            std::ptr::copy_nonoverlapping(
                                from.offset(r as isize * run.stride),
                                to.add(r * width),
                                width,
                            );
                        }
                    }
                } else if run.stride.abs() < elem.abs() {
                    // Columns outside: what is near in memory is read together.
                    for c in 0..width {
                        let from = from.offset(c as isize * elem);
                        for r in 0..run.count {
                            *to.add(r * width + c) = *from.offset(r as isize * run.stride);
                        }
                    }
                } else {
                    for r in 0..run.count {
                        let from = from.offset(r as isize * run.stride);
                        for c in 0..width {
                            *to.add(r * width + c) = *from.offset(c as isize * elem);
                        }
                    }
                }
            }
        });
    }

    /// Writes values to columns `col .. col + width` of rows `row .. row + count`: element c of row r is at
    /// `from[r · from_row + c · from_elem]`.
    ///
    /// # Safety
    /// As for [`Access::gather`], with `from` readable at those positions; no one else touches the elements.
    #[inline(always)]
    pub(super) unsafe fn scatter(
        &self,
        bases: &Bases,
        at: Window,
        from: *const f32,
        from_row: isize,
        from_elem: isize,
    ) {
        let base = bases.get(self.buffer);
        let elem = self.elem;
        self.runs(at.row, at.rows, |run| {
            // SAFETY: as above.
            unsafe {
                let to = base.offset(run.start + at.col as isize * elem);
                let dense = elem == 1 && from_elem == 1 && run.stride == from_row && from_row == at.width as isize;
                if dense {
                    let from = from.offset(run.first as isize * from_row);
                    std::ptr::copy(from, to, run.count * at.width);
                    return;
                }
                for r in 0..run.count {
                    let to = to.offset(r as isize * run.stride);
                    let from = from.offset((run.first + r) as isize * from_row);
                    if elem == 1 && from_elem == 1 {
                        // A value may be stored where it was read in place.
                        std::ptr::copy(from, to, at.width);
                    } else {
                        for c in 0..at.width {
                            *to.offset(c as isize * elem) = *from.offset(c as isize * from_elem);
                        }
                    }
                }
            }
        });
    }
}

/// A block of a (rows × length) space.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub row: usize,
    pub rows: usize,
    pub col: usize,
    pub width: usize,
}
