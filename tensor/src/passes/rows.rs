//! A group of nodes becomes a row program.

use std::collections::HashMap;

use super::alias;
use super::group::{Groups, Space, is_column};
use crate::DType;
use crate::graph::{BinaryOp, Graph, NodeId, Op};
use crate::plan::{Extent, Instruction, RowOp, RowProgram, Store, StoreKind, View};

/// Where a row program finds an operand.
enum Found {
    Constant(f64, DType),
    /// A counter node, with the extent at which it counts.
    Counter(NodeId, Extent),
    Inline(NodeId),
    Member(NodeId),
    Memory,
}

/// The operands of members that are read from memory. These must be materialised by others.
pub(super) fn loaded<'a>(
    graph: &'a Graph,
    groups: &'a Groups,
    unit: usize,
    members: &'a [NodeId],
) -> impl Iterator<Item = NodeId> + 'a {
    members.iter().flat_map(move |&member| {
        let extent = alias::operand_extent(graph, member);
        groups
            .operands(graph, member)
            .into_iter()
            .filter(move |&operand| matches!(find(graph, groups, unit, members, operand, extent), Found::Memory))
    })
}

fn find(graph: &Graph, groups: &Groups, unit: usize, members: &[NodeId], operand: NodeId, extent: Extent) -> Found {
    let node = graph.node(operand);
    if let Some(value) = alias::constant(graph, operand) {
        return Found::Constant(value, node.dtype);
    }
    if node.dtype == DType::Bool {
        return Found::Inline(operand);
    }
    if let Some((counter, at)) = alias::counter(graph, operand, extent) {
        return Found::Counter(counter, at);
    }
    if let Some(node) = groups.again(graph, operand, extent, Some(unit)) {
        return Found::Inline(node);
    }
    match alias::member(graph, operand, extent) {
        Some(member) if members.binary_search(&member).is_ok() && !is_column(graph, member) => Found::Member(member),
        _ => Found::Memory,
    }
}

/// Builds the program of one group.
pub(super) struct RowBuilder<'a, F> {
    graph: &'a Graph,
    groups: &'a Groups,
    unit: usize,
    members: &'a [NodeId],
    program: RowProgram,
    values: HashMap<(NodeId, Extent), usize>,
    /// Gives the view of a node in memory.
    view: F,
}

impl<'a, F: FnMut(NodeId) -> View> RowBuilder<'a, F> {
    pub(super) fn new(
        graph: &'a Graph,
        groups: &'a Groups,
        unit: usize,
        space: Space,
        members: &'a [NodeId],
        view: F,
    ) -> Self {
        let program = RowProgram {
            rows: space.rows,
            length: space.length.unwrap_or(1),
            loads: Vec::new(),
            body: Vec::new(),
            stores: Vec::new(),
        };
        Self { graph, groups, unit, members, program, values: HashMap::new(), view }
    }

    /// The program that stores those members for which `store` gives a place.
    pub(super) fn build(mut self, mut store: impl FnMut(NodeId) -> Option<View>) -> RowProgram {
        let members = self.members;
        for &member in members {
            let value = self.member(member);
            let Some(mut to) = store(member) else { continue };
            if is_column(self.graph, member) {
                to = to.reshape(&[self.program.length]).expect("a column sum is written contiguously");
                let value = self.full(value);
                self.program.stores.push(Store { value, to, kind: StoreKind::ColumnSum });
                continue;
            }
            if to.dims.is_empty() {
                to = to.reshape(&[1]).expect("one element");
            }
            let value = if self.graph.shape(member).last() == 1 { value } else { self.full(value) };
            self.program.stores.push(Store { value, to, kind: StoreKind::Elements });
        }
        self.program
    }

    /// A program that copies one view to another of equal dimensions.
    pub(super) fn copy(from: View, to: View, dtype: DType) -> RowProgram {
        let (from, to) = match from.dims.len() {
            0 => (from.reshape(&[1]).expect("one element"), to.reshape(&[1]).expect("one element")),
            _ => (from, to),
        };
        let length = from.dims.last().copied().unwrap_or(1);
        let extent = if length == 1 { Extent::Row } else { Extent::Full };
        RowProgram {
            rows: from.dims.iter().rev().skip(1).product(),
            length,
            loads: vec![from],
            body: vec![Instruction { op: RowOp::Load(0), operands: Vec::new(), extent, dtype }],
            stores: vec![Store { value: 0, to, kind: StoreKind::Elements }],
        }
    }

    /// The value of a member; that of a column sum is its summand.
    fn member(&mut self, id: NodeId) -> usize {
        let extent = alias::operand_extent(self.graph, id);
        if let Some(&value) = self.values.get(&(id, extent)) {
            return value;
        }
        let node = self.graph.node(id);
        let operands: Vec<usize> = node.operands.iter().map(|&operand| self.operand(operand, extent)).collect();
        let value = match &node.op {
            Op::Reduce { .. } if is_column(self.graph, id) => operands[0],
            Op::Reduce { op, .. } => {
                let operand = self.full(operands[0]);
                self.push(RowOp::Reduce(*op), vec![operand], Extent::Row, DType::F32)
            }
            op => self.elementwise(op, operands, node.dtype),
        };
        self.values.insert((id, extent), value);
        value
    }

    fn elementwise(&mut self, op: &Op, operands: Vec<usize>, dtype: DType) -> usize {
        let op = match op {
            Op::Unary(op) => RowOp::Unary(*op),
            Op::IsFinite => RowOp::IsFinite,
            Op::Cast(_) => RowOp::Cast,
            Op::Binary(op) => RowOp::Binary(*op),
            Op::Compare(op) => RowOp::Compare(*op),
            Op::Select => RowOp::Select,
            _ => unreachable!("members are elementwise or reductions"),
        };
        let full = operands.iter().any(|&o| self.program.body[o].extent == Extent::Full);
        self.push(op, operands, if full { Extent::Full } else { Extent::Row }, dtype)
    }

    fn operand(&mut self, operand: NodeId, extent: Extent) -> usize {
        let dtype = self.graph.dtype(operand);
        match find(self.graph, self.groups, self.unit, self.members, operand, extent) {
            Found::Constant(value, DType::U32) => {
                self.push(RowOp::Index(value as u32), Vec::new(), Extent::Row, DType::U32)
            }
            Found::Constant(value, dtype) => self.push(RowOp::Constant(value as f32), Vec::new(), Extent::Row, dtype),
            Found::Counter(counter, at) => {
                let Op::Iota { shape, axis, .. } = &self.graph.node(counter).op else { unreachable!("a counter") };
                let (_, modulus, divisor) = shape.around(*axis);
                self.push(RowOp::Iota { divisor, modulus }, Vec::new(), at, dtype)
            }
            Found::Inline(id) => {
                if let Some(&value) = self.values.get(&(id, extent)) {
                    return value;
                }
                let node = self.graph.node(id);
                let operands = node.operands.iter().map(|&o| self.operand(o, extent)).collect();
                let value = self.elementwise(&node.op, operands, node.dtype);
                self.values.insert((id, extent), value);
                value
            }
            Found::Member(id) => self.member(id),
            Found::Memory => {
                let mut view = (self.view)(operand);
                let mut at = extent;
                if view.dims.is_empty() {
                    view = view.reshape(&[1]).expect("one element");
                }
                // What repeats along the row is read once a row.
                let last = view.dims.len() - 1;
                if extent == Extent::Full && view.strides[last] == 0 && view.dims[last] > 1 {
                    view.dims[last] = 1;
                    at = Extent::Row;
                }
                let load = match self.program.loads.iter().position(|known| *known == view) {
                    Some(known) => known,
                    None => {
                        self.program.loads.push(view);
                        self.program.loads.len() - 1
                    }
                };
                self.push(RowOp::Load(load), Vec::new(), at, dtype)
            }
        }
    }

    /// The value with an element for each position of the row.
    fn full(&mut self, value: usize) -> usize {
        let Instruction { extent, dtype, .. } = self.program.body[value];
        if extent == Extent::Full || self.program.length == 1 {
            return value;
        }
        if dtype == DType::U32 {
            return self.push(RowOp::Cast, vec![value], Extent::Full, DType::U32);
        }
        let one = self.push(RowOp::Constant(1.0), Vec::new(), Extent::Row, DType::F32);
        self.push(RowOp::Binary(BinaryOp::Mul), vec![value, one], Extent::Full, DType::F32)
    }

    fn push(&mut self, op: RowOp, operands: Vec<usize>, extent: Extent, dtype: DType) -> usize {
        let instruction = Instruction { op, operands, extent, dtype };
        // 0.0 and −0.0 are equal, and not the same.
        let bits = |op: &RowOp| if let RowOp::Constant(value) = op { value.to_bits() } else { 0 };
        let is_known = |i: &Instruction| *i == instruction && bits(&i.op) == bits(&instruction.op);
        if let Some(known) = self.program.body.iter().position(is_known) {
            return known;
        }
        self.program.body.push(instruction);
        self.program.body.len() - 1
    }
}
