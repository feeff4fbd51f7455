//! The schedule, and the kernels of each unit.

use std::collections::{BTreeSet, HashMap};

use super::group::{Groups, Unit, is_inline};
use super::order::topological;
use super::rows::{RowBuilder, loaded};
use super::storage::Storage;
use super::views::node_of;
use crate::graph::{Graph, InputKind, NodeId, Op};
use crate::plan::{
    BufferId, BufferSpec, DepthwiseConv, DepthwiseConvFilterGrad, Extent, Instruction, Kernel, MatMul, Place, Plan,
    RowOp, RowProgram, Store, StoreKind, View,
};
use crate::{DType, Program, Shape};

/// Emits the kernels of all units in an order that respects their dependencies.
pub(super) fn lower(program: &Program, views: &[View], groups: &Groups, storage: &Storage) -> Plan {
    let mut lowering = Lowering {
        program,
        graph: &program.graph,
        views,
        groups,
        storage,
        plan: Plan::default(),
        buffers: HashMap::new(),
        needed: needed(program, views, groups, storage),
    };
    let mut copies: HashMap<NodeId, BufferId> = HashMap::new();
    for unit in schedule(groups) {
        match &groups.units[unit] {
            Unit::Rows(space, members) => lowering.rows(unit, *space, members),
            Unit::Single(id) => lowering.single(*id),
            Unit::Copy(root) => {
                let from = lowering.view(*root);
                let to = lowering.fresh(program.graph.shape(*root), program.graph.dtype(*root));
                let target = View::contiguous(to, program.graph.shape(*root));
                lowering.copy(from, target, program.graph.dtype(*root));
                copies.insert(*root, to);
            }
            Unit::Absorbed => {}
        }
    }
    for &(state, value) in &storage.copied_last {
        let to = View::contiguous(lowering.buffer(state), program.graph.shape(state));
        let from = match copies.get(&value) {
            Some(&buffer) => View::contiguous(buffer, program.graph.shape(value)),
            None => lowering.view(value),
        };
        lowering.copy(from, to, DType::F32);
    }
    for &output in &program.outputs {
        let buffer = match copies.get(&output) {
            Some(&buffer) => buffer,
            None => lowering.buffer(node_of(views[output.index()].buffer)),
        };
        lowering.plan.outputs.push(buffer);
    }
    lowering.plan
}

/// Topological order; among ready units the one whose last node comes first in the graph.
fn schedule(groups: &Groups) -> Vec<usize> {
    let units = groups.units.len();
    let present = |unit: &usize| !matches!(groups.units[*unit], Unit::Absorbed);
    let position = |unit: usize| match &groups.units[unit] {
        Unit::Rows(_, members) => members.last().map_or(0, |id| id.index()),
        Unit::Single(id) => id.index(),
        Unit::Copy(_) | Unit::Absorbed => 0,
    };
    let after: Vec<Vec<usize>> = (0..units)
        .map(|unit| {
            let waits = |other: &usize| present(&unit) && present(other) && groups.reach.depends(*other, unit);
            (0..units).filter(waits).collect()
        })
        .collect();
    let order = topological(&after, position);
    debug_assert_eq!(order.len(), units, "the units depend on each other in a circle");
    order.into_iter().filter(present).collect()
}

/// The nodes that must be in memory: what other units, copies and outputs read.
fn needed(program: &Program, views: &[View], groups: &Groups, storage: &Storage) -> BTreeSet<NodeId> {
    let graph = &program.graph;
    let mut needed = BTreeSet::new();
    for (unit, kind) in groups.units.iter().enumerate() {
        match kind {
            Unit::Rows(_, members) => {
                needed.extend(loaded(graph, groups, unit, members).map(|o| node_of(views[o.index()].buffer)))
            }
            Unit::Single(id) => needed.extend(groups.sources(graph, views, *id)),
            Unit::Copy(root) => {
                needed.insert(node_of(views[root.index()].buffer));
            }
            Unit::Absorbed => {}
        }
    }
    needed.extend(program.roots().map(|root| node_of(views[root.index()].buffer)));
    needed.extend(storage.in_state.keys());
    needed
}

struct Lowering<'a> {
    program: &'a Program,
    graph: &'a Graph,
    views: &'a [View],
    groups: &'a Groups,
    storage: &'a Storage,
    plan: Plan,
    buffers: HashMap<NodeId, BufferId>,
    needed: BTreeSet<NodeId>,
}

impl Lowering<'_> {
    fn rows(&mut self, unit: usize, space: super::group::Space, members: &[NodeId]) {
        let mut stores: HashMap<NodeId, View> = HashMap::new();
        for &member in members {
            if self.needed.contains(&member) {
                stores.insert(member, self.target(member));
            }
        }
        // Constants that are read through strides are filled before the program runs.
        for operand in loaded(self.graph, self.groups, unit, members) {
            self.view(operand);
        }
        let (graph, groups) = (self.graph, self.groups);
        let builder = RowBuilder::new(graph, groups, unit, space, members, |operand| self.view(operand));
        let program = builder.build(|member| stores.get(&member).cloned());
        self.plan.kernels.push(Kernel::Row(program));
    }

    fn single(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let out = self.target(id);
        if let Op::Concat { axis } = node.op {
            return self.concat(&node.operands, axis, &out);
        }
        if matches!(node.op, Op::Reshape(_)) && self.is_laid_out(node.operands[0]) {
            return;
        }
        let operands: Vec<View> = node.operands.iter().map(|&o| self.view(o)).collect();
        let kernel = match &node.op {
            Op::Reshape(_) => {
                let to = out.reshape(&operands[0].dims).expect("a new buffer is contiguous");
                return self.copy(operands[0].clone(), to, node.dtype);
            }
            Op::Pad { axis, before, .. } => {
                self.fill(out.clone(), 0.0);
                let to = out.slice(*axis, *before, before + operands[0].dims[*axis]);
                return self.copy(operands[0].clone(), to, DType::F32);
            }
            Op::MatMul { transpose_a, transpose_b } => {
                let transposed = |view: &View, on: bool| {
                    let r = view.dims.len();
                    let mut perm: Vec<usize> = (0..r).collect();
                    if on {
                        perm.swap(r - 2, r - 1);
                    }
                    view.permute(&perm)
                };
                let (a, b) = (transposed(&operands[0], *transpose_a), transposed(&operands[1], *transpose_b));
                Kernel::MatMul(MatMul { a, b, out, adds: false, epilogue: None })
            }
            Op::DepthwiseConv | Op::DepthwiseConvInputGrad => Kernel::DepthwiseConv(DepthwiseConv {
                x: self.contiguous(&operands[0], DType::F32),
                w: self.contiguous(&operands[1], DType::F32),
                out,
                adjoint: node.op == Op::DepthwiseConvInputGrad,
            }),
            Op::DepthwiseConvFilterGrad { .. } => Kernel::DepthwiseConvFilterGrad(DepthwiseConvFilterGrad {
                x: self.contiguous(&operands[0], DType::F32),
                dy: self.contiguous(&operands[1], DType::F32),
                out,
            }),
            Op::Gather => {
                let n = operands[1].numel();
                let d = operands[0].dims[1];
                Kernel::Gather {
                    table: self.contiguous(&operands[0], DType::F32),
                    indices: flat(self.contiguous(&operands[1], DType::U32), &[n]),
                    out: flat(out, &[n, d]),
                }
            }
            Op::ScatterAdd { .. } => {
                let n = operands[0].numel();
                let d = node.shape.last();
                Kernel::ScatterAdd {
                    indices: flat(self.contiguous(&operands[0], DType::U32), &[n]),
                    updates: flat(self.contiguous(&operands[1], DType::F32), &[n, d]),
                    out,
                }
            }
            Op::Random { shape, stream } => Kernel::Random {
                key: self.contiguous(&operands[0], DType::U32),
                out: flat(out, &[shape.numel()]),
                stream: *stream,
            },
            Op::LinRec { axis, reverse, start } => {
                let (outer, len, inner) = node.shape.around(*axis);
                Kernel::LinRec {
                    a: flat(self.contiguous(&operands[0], DType::F32), &[outer, len, inner]),
                    b: flat(self.contiguous(&operands[1], DType::F32), &[outer, len, inner]),
                    out: flat(out, &[outer, len, inner]),
                    reverse: *reverse,
                    start: start.get() as f32,
                }
            }
            _ => unreachable!("every other primitive is an input, a view, inlined or in a row program"),
        };
        self.plan.kernels.push(kernel);
    }

    fn concat(&mut self, parts: &[NodeId], axis: usize, out: &View) {
        let mut start = 0;
        for &part in parts {
            let end = start + self.graph.shape(part)[axis];
            if !self.is_laid_out(part) {
                let from = self.view(part);
                self.copy(from, out.slice(axis, start, end), DType::F32);
            }
            start = end;
        }
    }

    /// Whether the node's elements have been written where its one reader wants them.
    fn is_laid_out(&self, id: NodeId) -> bool {
        self.storage.laid_out.contains_key(&self.source(id))
    }

    /// The materialised node that a node shows.
    fn source(&self, id: NodeId) -> NodeId {
        node_of(self.views[id.index()].buffer)
    }

    /// The view of a node in the plan's buffers. Constants and counters are filled in on first use.
    fn view(&mut self, id: NodeId) -> View {
        let source = self.source(id);
        if is_inline(self.graph, source) && !self.buffers.contains_key(&source) {
            let to = self.target(source);
            self.fill_inline(source, to);
        }
        View { buffer: self.buffer(source), ..self.views[id.index()].clone() }
    }

    /// Where a materialised node is written.
    fn target(&mut self, id: NodeId) -> View {
        match self.storage.laid_out.get(&id) {
            Some(layout) => View { buffer: self.buffer(node_of(layout.buffer)), ..layout.clone() },
            None => View::contiguous(self.buffer(id), self.graph.shape(id)),
        }
    }

    /// The buffer of a materialised node.
    fn buffer(&mut self, id: NodeId) -> BufferId {
        let owner = self.storage.in_state.get(&id).copied().unwrap_or(id);
        if let Some(&buffer) = self.buffers.get(&owner) {
            return buffer;
        }
        let node = self.graph.node(owner);
        let place = match node.op {
            Op::Input(index) => {
                let info = &self.program.graph.inputs()[index];
                match info.kind {
                    InputKind::Data => Place::Data(info.name.clone()),
                    InputKind::State => Place::State(info.name.clone()),
                }
            }
            _ => Place::Slot(0),
        };
        let buffer = self.push_buffer(BufferSpec::new(node.shape.clone(), node.dtype, place));
        self.buffers.insert(owner, buffer);
        buffer
    }

    fn fresh(&mut self, shape: &Shape, dtype: DType) -> BufferId {
        self.push_buffer(BufferSpec::new(shape.clone(), dtype, Place::Slot(0)))
    }

    fn push_buffer(&mut self, spec: BufferSpec) -> BufferId {
        self.plan.buffers.push(spec);
        BufferId(u32::try_from(self.plan.buffers.len() - 1).expect("fewer than 2^32 buffers"))
    }

    /// The same elements without gaps: the view itself, or a copy.
    fn contiguous(&mut self, view: &View, dtype: DType) -> View {
        if view.is_contiguous() {
            return view.clone();
        }
        let shape = Shape::from(view.dims.as_slice());
        let to = View::contiguous(self.fresh(&shape, dtype), &shape);
        self.copy(view.clone(), to.clone(), dtype);
        to
    }

    fn copy(&mut self, from: View, to: View, dtype: DType) {
        let program = RowBuilder::<fn(NodeId) -> View>::copy(from, to, dtype);
        self.plan.kernels.push(Kernel::Row(program));
    }

    fn fill(&mut self, to: View, value: f32) {
        self.fill_with(to, RowOp::Constant(value), DType::F32);
    }

    fn fill_inline(&mut self, id: NodeId, to: View) {
        let node = self.graph.node(id);
        match &node.op {
            Op::Constant(value, DType::U32) => self.fill_with(to, RowOp::Index(value.get() as u32), DType::U32),
            Op::Constant(value, dtype) => self.fill_with(to, RowOp::Constant(value.get() as f32), *dtype),
            Op::Iota { shape, axis, .. } => {
                let (_, modulus, divisor) = shape.around(*axis);
                self.fill_with(to, RowOp::Iota { divisor, modulus }, node.dtype);
            }
            _ => unreachable!("a comparison is never read from memory"),
        }
    }

    /// A program that writes one value without operands everywhere.
    fn fill_with(&mut self, to: View, op: RowOp, dtype: DType) {
        // One element a row: what is filled has the extent of a row.
        let numel = to.numel();
        let to = match to.reshape(&[numel, 1]) {
            Some(column) => column,
            None => View {
                dims: to.dims.iter().copied().chain([1]).collect(),
                strides: to.strides.iter().copied().chain([1]).collect(),
                ..to
            },
        };
        let body = vec![Instruction { op, operands: Vec::new(), extent: Extent::Row, dtype }];
        let stores = vec![Store { value: 0, to, kind: StoreKind::Elements }];
        self.plan.kernels.push(Kernel::Row(RowProgram { rows: numel, length: 1, loads: Vec::new(), body, stores }));
    }
}

fn flat(view: View, dims: &[usize]) -> View {
    view.reshape(dims).expect("a contiguous view takes any shape")
}
