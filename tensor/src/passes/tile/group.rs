//! Which kernels share tiles.

use super::Uses;
use crate::DType;
use crate::passes::order::topological;
use crate::plan::{BufferId, Extent, Kernel, Place, Plan, RowOp, StoreKind, Tiled, View};

/// Kernels of a plan that run tile by tile.
struct Group {
    /// The positions of the members, in ascending order.
    members: Vec<usize>,
    /// The members, fitted to the tiles; local buffers are not known yet.
    tiled: Tiled,
}

impl Group {
    fn new(dims: &[usize]) -> Self {
        Self { members: Vec::new(), tiled: Tiled { dims: dims.to_vec(), kernels: Vec::new(), locals: Vec::new() } }
    }

    fn insert(&mut self, position: usize, kernel: Kernel) {
        let at = self.members.partition_point(|&member| member < position);
        self.members.insert(at, position);
        self.tiled.kernels.insert(at, kernel);
    }

    fn remove(&mut self, position: usize) {
        let at = self.members.partition_point(|&member| member < position);
        self.members.remove(at);
        self.tiled.kernels.remove(at);
    }

    /// Whether tiles stay independent with this kernel: of what one member writes, another reads or overwrites only the
    /// same tile's part.
    fn is_in_step(&self, plan: &Plan, kernel: &Kernel) -> bool {
        kernel.buffers().into_iter().all(|buffer| {
            let of = |views: Vec<&View>| views.into_iter().filter(|view| view.buffer == buffer).cloned().collect();
            let (mut writes, mut reads): (Vec<View>, Vec<View>) = (of(kernel.writes()), of(kernel.reads()));
            for member in &self.tiled.kernels {
                writes.extend(of(member.writes()));
                reads.extend(of(member.reads()));
            }
            let shape = &plan.buffers[buffer.index()].shape;
            let in_parts = || writes.iter().chain(&reads).all(|view| self.tiled.is_in_parts(view, shape.numel()));
            let apart = || {
                let columns: Option<Vec<_>> = writes.iter().map(|view| columns(view, shape.last())).collect();
                columns.is_some_and(|mut columns| {
                    columns.sort_unstable();
                    columns.windows(2).all(|pair| pair[0].1 <= pair[1].0)
                })
            };
            writes.is_empty() || (reads.is_empty() && (writes.len() == 1 || apart())) || in_parts()
        })
    }
}

/// Of a buffer with rows of `width` elements, the columns that a view lies in, if those are neighbours in every row.
fn columns(view: &View, width: usize) -> Option<(usize, usize)> {
    let first = view.offset.checked_rem(width)?;
    let mut end = first + 1;
    for (&dim, &stride) in view.dims.iter().zip(&view.strides).filter(|&(&dim, _)| dim > 1) {
        let stride = usize::try_from(stride).ok()?;
        if stride % width != 0 {
            end += (dim - 1) * stride;
        }
    }
    (end <= width).then_some((first, end))
}

/// Whether n × n values are too many to be stored, however few tiles and so threads then share them.
fn is_huge_square(dims: &[usize]) -> bool {
    const HUGE: usize = (64 << 20) / 4;
    matches!(dims, [_, .., rows, columns] if rows == columns)
        && dims.len() > 2
        && dims.iter().product::<usize>() >= HUGE
}

/// For each kernel those that must come later since they read or write what it writes, or write what it reads.
fn successors(plan: &Plan, uses: &Uses) -> Vec<Vec<usize>> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); plan.kernels.len()];
    for (position, kernel) in plan.kernels.iter().enumerate() {
        let mut before: Vec<usize> =
            kernel.reads().iter().flat_map(|v| &uses.writers[v.buffer.index()]).copied().collect();
        before.extend(kernel.writes().iter().flat_map(|view| uses.all(view.buffer)));
        before.retain(|&earlier| earlier < position);
        before.sort_unstable();
        before.dedup();
        before.into_iter().for_each(|earlier| after[earlier].push(position));
    }
    after
}

/// The kernel with views whose leading dimensions are `dims`, if it computes each index of these by itself.
fn fit(kernel: &Kernel, dims: &[usize]) -> Option<Kernel> {
    match kernel {
        Kernel::MatMul(product) => {
            let leads = product.out.dims.len() >= dims.len() + 2 && product.out.dims.starts_with(dims);
            leads.then(|| kernel.clone())
        }
        Kernel::Row(program) => {
            let tiles: usize = dims.iter().product();
            let in_place = |view: &View| program.stores.iter().any(|store| store.to.buffer == view.buffer);
            let sums = program.stores.iter().any(|store| store.kind == StoreKind::ColumnSum);
            if program.rows % tiles != 0 || sums || program.loads.iter().any(in_place) {
                return None;
            }
            let rows = program.rows / tiles;
            // A counter must count the same in every tile.
            let counts_alike = program.body.iter().all(|instruction| match instruction.op {
                RowOp::Iota { divisor, modulus } => {
                    let elements = if instruction.extent == Extent::Full { rows * program.length } else { rows };
                    elements % (divisor * modulus) == 0
                }
                _ => true,
            });
            if !counts_alike {
                return None;
            }
            let mut program = program.clone();
            for view in program.loads.iter_mut().chain(program.stores.iter_mut().map(|store| &mut store.to)) {
                if view.dims.len() <= dims.len() || !view.dims.starts_with(dims) {
                    let last = view.dims.last().copied()?;
                    let cut: Vec<usize> = dims.iter().copied().chain([rows, last]).collect();
                    *view = view.reshape(&cut)?;
                }
            }
            Some(Kernel::Row(program))
        }
        _ => None,
    }
}

/// Groups while they grow.
pub(super) struct Tiling<'a> {
    plan: &'a Plan,
    after: Vec<Vec<usize>>,
    uses: Uses,
    /// The one kernel that writes each large scratch tensor.
    writer: Vec<Option<usize>>,
    /// Fewest tiles of a group, unless its squares are huge.
    fewest: usize,
    group_of: Vec<Option<usize>>,
    groups: Vec<Group>,
}

impl<'a> Tiling<'a> {
    /// `large`: fewest elements of a tensor worth holding by tiles, of which there are to be `fewest` at least.
    pub(super) fn new(plan: &'a Plan, large: usize, fewest: usize) -> Self {
        let uses = Uses::of(plan);
        let writer = plan.buffers.iter().zip(&uses.writers).enumerate().map(|(buffer, (spec, writers))| {
            let is_large =
                matches!(spec.place, Place::Slot(_)) && spec.dtype == DType::F32 && spec.shape.numel() >= large;
            let is_output = plan.outputs.contains(&BufferId(buffer as u32));
            match writers[..] {
                [one] if is_large && !is_output => Some(one),
                _ => None,
            }
        });
        Self {
            plan,
            after: successors(plan, &uses),
            writer: writer.collect(),
            uses,
            fewest,
            group_of: vec![None; plan.kernels.len()],
            groups: Vec::new(),
        }
    }

    /// Starts a group at each batched product with a large result, in order.
    pub(super) fn grow_all(&mut self) {
        for seed in 0..self.plan.kernels.len() {
            let Kernel::MatMul(product) = &self.plan.kernels[seed] else { continue };
            let dims = &product.out.dims[..product.out.dims.len() - 2];
            let is_large = self.writer[product.out.buffer.index()] == Some(seed);
            let enough = dims.iter().product::<usize>() >= self.fewest || is_huge_square(&product.out.dims);
            if self.group_of[seed].is_none() && is_large && enough {
                let mut group = Group::new(dims);
                group.insert(seed, self.plan.kernels[seed].clone());
                self.groups.push(group);
                self.group_of[seed] = Some(self.groups.len() - 1);
                self.grow(self.groups.len() - 1);
            }
        }
    }

    fn grow(&mut self, group: usize) {
        let mut grown = true;
        while std::mem::take(&mut grown) {
            for position in 0..self.plan.kernels.len() {
                if self.group_of[position].is_none() && self.connects(position, group) && self.try_join(position, group)
                {
                    grown = true;
                }
            }
        }
    }

    fn try_join(&mut self, position: usize, group: usize) -> bool {
        let Some(kernel) = fit(&self.plan.kernels[position], &self.groups[group].tiled.dims) else { return false };
        if !self.groups[group].is_in_step(self.plan, &kernel) {
            return false;
        }
        self.groups[group].insert(position, kernel);
        self.group_of[position] = Some(group);
        if !self.has_order() {
            self.groups[group].remove(position);
            self.group_of[position] = None;
            return false;
        }
        true
    }

    /// Whether the kernel shares a large value with the group: one reads what the other writes, or both read what a
    /// third group would have to compute for them.
    fn connects(&self, kernel: usize, group: usize) -> bool {
        let inside = |kernel: &usize| self.group_of[*kernel] == Some(group);
        let read = self.plan.kernels[kernel].reads().into_iter().any(|view| {
            let buffer = view.buffer.index();
            match self.writer[buffer] {
                Some(writer) if inside(&writer) => true,
                Some(writer) => self.group_of[writer].is_some() && self.uses.readers[buffer].iter().any(inside),
                None => false,
            }
        });
        let written = || {
            self.plan.kernels[kernel].writes().into_iter().any(|view| {
                let buffer = view.buffer.index();
                let readers = &self.uses.readers[buffer];
                self.writer[buffer] == Some(kernel) && !readers.is_empty() && readers.iter().all(inside)
            })
        };
        read || written()
    }

    /// For each unit those that must come later. A unit is a kernel, or past all kernels a group; a kernel in a group
    /// stands alone.
    fn units_after(&self) -> Vec<Vec<usize>> {
        let singles = self.plan.kernels.len();
        let unit = |kernel: usize| self.group_of[kernel].map_or(kernel, |group| singles + group);
        let mut after = vec![Vec::new(); singles + self.groups.len()];
        for (kernel, later) in self.after.iter().enumerate() {
            let later = later.iter().map(|&later| unit(later)).filter(|&later| later != unit(kernel));
            after[unit(kernel)].extend(later);
        }
        after
    }

    /// Whether groups and single kernels can be put in an order.
    fn has_order(&self) -> bool {
        let after = self.units_after();
        topological(&after, |unit| unit).len() == after.len()
    }

    /// All kernels in order, each group where its last one was; none if there is no group of more than one kernel.
    pub(super) fn finish(self) -> Option<Vec<Kernel>> {
        if self.groups.iter().all(|group| group.members.len() == 1) {
            return None;
        }
        let singles = self.plan.kernels.len();
        let place = |unit: usize| match unit.checked_sub(singles) {
            Some(group) => self.groups[group].members.last().copied().unwrap_or_default(),
            None => unit,
        };
        let order = topological(&self.units_after(), place);
        let kernels =
            order.into_iter().filter_map(|unit| match unit.checked_sub(singles).map(|group| &self.groups[group]) {
                Some(group) if group.members.len() > 1 => Some(Kernel::Tiled(group.tiled.clone())),
                Some(group) => group.members.first().map(|&kernel| self.plan.kernels[kernel].clone()),
                None => self.group_of[unit].is_none().then(|| self.plan.kernels[unit].clone()),
            });
        Some(kernels.collect())
    }
}
