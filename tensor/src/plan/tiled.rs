//! Kernels that run tile by tile.

use super::{BufferId, Kernel, View};

/// Kernels that all run on one tile before any runs on the next, so that the values between them are held for one tile
/// only: attention's scores and weights for one head at a time, say.
///
/// The tiles are the common leading dimensions of all views. No tile reads what another writes, so they may run in any
/// order and at once.
#[derive(Clone, Debug)]
pub struct Tiled {
    /// The leading dimensions of every view.
    pub dims: Vec<usize>,
    /// What runs on each tile, in order.
    pub kernels: Vec<Kernel>,
    /// Buffers that only these kernels touch. Each tile's part is contiguous.
    pub locals: Vec<BufferId>,
}

impl Tiled {
    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.dims.iter().product()
    }

    /// The distance in elements from where a view begins to where its part for one tile does.
    pub fn start(&self, view: &View, mut tile: usize) -> isize {
        let mut start = 0;
        for (&dim, &stride) in self.dims.iter().zip(&view.strides).rev() {
            start += (tile % dim) as isize * stride;
            tile /= dim;
        }
        start
    }

    /// The kernels on one tile, given what each view becomes: [`Tiled::part`] of it, in a buffer of the caller's
    /// choice.
    pub fn on_tile(&self, mut view: impl FnMut(&View) -> View) -> Vec<Kernel> {
        let mut kernels = self.kernels.clone();
        for kernel in &mut kernels {
            for part in kernel.views_mut() {
                *part = view(part);
            }
            if let Kernel::Row(program) = kernel {
                program.rows /= self.tiles().max(1);
            }
        }
        kernels
    }

    /// The part of a view that belongs to the first tile.
    pub fn part(&self, view: &View) -> View {
        let lead = self.dims.len();
        View { dims: view.dims[lead..].to_vec(), strides: view.strides[lead..].to_vec(), ..*view }
    }

    /// Whether the view has the tiles' dimensions and, in a buffer of `numel` elements, keeps each tile in a contiguous
    /// part of its own, as views of local buffers do.
    pub fn is_in_parts(&self, view: &View, numel: usize) -> bool {
        if !view.dims.starts_with(&self.dims) || view.strides.len() != view.dims.len() || self.tiles() == 0 {
            return false;
        }
        let mut step = numel;
        let leads = self.dims.iter().zip(&view.strides).all(|(&dim, &stride)| {
            step /= dim;
            dim == 1 || stride == step as isize
        });
        let part = (numel / self.tiles()) as i128;
        leads && self.part(view).reach().is_some_and(|(low, high)| low >= 0 && high < part)
    }

    /// The views of the kernels, without those of local buffers.
    pub(super) fn outer<'a>(&'a self, of: impl Fn(&'a Kernel) -> Vec<&'a View> + 'a) -> impl Iterator<Item = &'a View> {
        self.kernels.iter().flat_map(of).filter(|view| !self.locals.contains(&view.buffer))
    }
}
