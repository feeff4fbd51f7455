//! The causal half: where later positions are masked, a tile's square of n × n values is computed only up to its
//! diagonal.
//!
//! The rows of the square are cut into blocks, and each block is computed up to its last row's column. A product that
//! sums over the square's columns ends there too; one that sums over its rows starts at its block. This is exact where
//! values are finite: it is done only if what lies beyond the diagonal is known, whatever is computed from, to be the
//! identity of every reduction and zero in every product.

use crate::DType;
use crate::graph::{BinaryOp, CompareOp, ReduceOp};
use crate::plan::{BufferId, Extent, Instruction, Kernel, MatMul, Place, Plan, RowOp, RowProgram, Tiled, View};
use crate::reference::{binary, unary};

/// Most blocks: each costs a launch of every kernel on every tile.
const MAX_BLOCKS: usize = 8;
/// A constant below counts as −∞ under a maximum: a masked score.
const MASKED: f64 = -1e30;

/// Cuts the kernels of all tiles whose large values are causal squares, into blocks of at least `rows` rows.
pub(super) fn cut(plan: &mut Plan, rows: usize) {
    for position in 0..plan.kernels.len() {
        let Kernel::Tiled(tiled) = &plan.kernels[position] else { continue };
        if let Some(kernels) = Square::find(plan, tiled, rows).and_then(|square| square.cut(tiled, rows))
            && let Kernel::Tiled(tiled) = &mut plan.kernels[position]
        {
            tiled.kernels = kernels;
        }
    }
}

/// The local n × n buffers of a tile.
struct Square {
    n: usize,
    lead: usize,
    /// Each, and whether it is zero beyond the diagonal.
    buffers: Vec<(BufferId, bool)>,
}

/// What is known of a value beyond the diagonal: its column is later than its row.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Beyond {
    Unknown,
    /// The same for the whole row, and finite if the row is.
    Row,
    Constant(f64),
    Query,
    Key,
    Holds(bool),
}

impl Square {
    /// The squares of a tile, if it has some and all of their views are plain.
    fn find(plan: &Plan, tiled: &Tiled, rows: usize) -> Option<Self> {
        let lead = tiled.dims.len();
        let seed = tiled.kernels.iter().find_map(|kernel| match kernel {
            Kernel::MatMul(product) if tiled.locals.contains(&product.out.buffer) => Some(&product.out),
            _ => None,
        })?;
        let n = *seed.dims.last()?;
        let is_square = |view: &View| {
            let plain = view.offset == 0 && view.strides[lead..] == [n as isize, 1];
            let turned = view.offset == 0 && view.strides[lead..] == [1, n as isize];
            view.dims[lead..] == [n, n] && (plain || turned)
        };
        let mut buffers = Vec::new();
        for &local in &tiled.locals {
            if plan.buffers[local.index()].shape.numel() != tiled.tiles() * n * n {
                continue;
            }
            debug_assert_eq!(plan.buffers[local.index()].place, Place::Tile);
            let mut views = tiled.kernels.iter().flat_map(|k| k.reads().into_iter().chain(k.writes()));
            if !views.all(|view| view.buffer != local || is_square(view)) {
                return None;
            }
            buffers.push((local, false));
        }
        (n / 2 >= rows && !buffers.is_empty()).then_some(Self { n, lead, buffers })
    }

    fn zero_beyond(&self, buffer: BufferId) -> Option<bool> {
        self.buffers.iter().find(|(square, _)| *square == buffer).map(|&(_, zero)| zero)
    }

    fn is_turned(&self, view: &View) -> bool {
        view.strides[self.lead..] == [1, self.n as isize]
    }

    /// The kernels that compute no more than the blocks need; none where that is not exact.
    fn cut(mut self, tiled: &Tiled, rows: usize) -> Option<Vec<Kernel>> {
        let step = self.n.div_ceil(MAX_BLOCKS).max(rows);
        let blocks: Vec<(usize, usize)> =
            (0..self.n).step_by(step).map(|start| (start, (start + step).min(self.n))).collect();
        let mut kernels = Vec::new();
        for kernel in &tiled.kernels {
            let squares = kernel.reads().into_iter().chain(kernel.writes());
            if !squares.into_iter().any(|view| self.zero_beyond(view.buffer).is_some()) {
                kernels.push(kernel.clone());
                continue;
            }
            for &block in &blocks {
                kernels.push(match kernel {
                    Kernel::MatMul(product) => Kernel::MatMul(self.product(product, block)?),
                    Kernel::Row(program) => Kernel::Row(self.rows(program, block, tiled.tiles())?),
                    _ => return None,
                });
            }
        }
        Some(kernels)
    }

    /// A product's part that makes or takes one block.
    fn product(&self, product: &MatMul, (start, end): (usize, usize)) -> Option<MatMul> {
        let (row, col) = (self.lead, self.lead + 1);
        let squares = [&product.a, &product.b, &product.out].map(|view| self.zero_beyond(view.buffer));
        match squares {
            // Scores: rows of the block, columns up to its last row.
            [None, None, Some(_)] if !self.is_turned(&product.out) => Some(MatMul {
                a: product.a.slice(row, start, end),
                b: product.b.slice(col, 0, end),
                out: product.out.slice(row, start, end).slice(col, 0, end),
                epilogue: None,
            }),
            // A mixture of the columns up to the block's last row.
            [Some(true), None, None] if !self.is_turned(&product.a) => Some(MatMul {
                a: product.a.slice(row, start, end).slice(col, 0, end),
                b: product.b.slice(row, 0, end),
                out: product.out.slice(row, start, end),
                epilogue: None,
            }),
            // What the columns of the block give to the rows from its first on.
            [Some(true), None, None] => Some(MatMul {
                a: product.a.slice(row, start, end).slice(col, start, self.n),
                b: product.b.slice(row, start, self.n),
                out: product.out.slice(row, start, end),
                epilogue: None,
            }),
            _ => None,
        }
    }

    /// A row program's part over the rows of one block, up to the last one's column.
    fn rows(&mut self, program: &RowProgram, (start, end): (usize, usize), tiles: usize) -> Option<RowProgram> {
        if program.length != self.n || program.rows != tiles * self.n {
            return None;
        }
        let known = self.beyond(program)?;
        for store in &program.stores {
            let zero = known[store.value] == Beyond::Constant(0.0);
            let is_row = program.body[store.value].extent == Extent::Row;
            let is_turned = self.is_turned(&store.to);
            match self.buffers.iter_mut().find(|(square, _)| *square == store.to.buffer) {
                Some((_, zero_beyond)) if !is_row && !is_turned => *zero_beyond = zero,
                None if is_row => {}
                _ => return None,
            }
        }
        let cut = |view: &View| {
            let rows = (view.dims.len() == self.lead + 2).then(|| view.slice(self.lead, start, end))?;
            Some(if view.dims[self.lead + 1] == 1 { rows } else { rows.slice(self.lead + 1, 0, end) })
        };
        let mut body = Vec::new();
        let mut value_of = Vec::new();
        for instruction in &program.body {
            let mut instruction = instruction.clone();
            instruction.operands.iter_mut().for_each(|operand| *operand = value_of[*operand]);
            if let RowOp::Iota { divisor, modulus } = &mut instruction.op {
                let is_query = instruction.extent == Extent::Row || *divisor != 1;
                *modulus = if is_query { end - start } else { end };
                if *divisor != 1 {
                    *divisor = end;
                }
                if is_query {
                    value_of.push(count_from(&mut body, instruction, start));
                    continue;
                }
            }
            body.push(instruction);
            value_of.push(body.len() - 1);
        }
        let mut stores = program.stores.clone();
        for store in &mut stores {
            store.value = value_of[store.value];
            store.to = cut(&store.to)?;
        }
        let loads = program.loads.iter().map(cut).collect::<Option<Vec<_>>>()?;
        Some(RowProgram { rows: tiles * (end - start), length: end, loads, body, stores })
    }

    /// What is known of each value beyond the diagonal, if all reductions may end there.
    fn beyond(&self, program: &RowProgram) -> Option<Vec<Beyond>> {
        let mut known: Vec<Beyond> = Vec::new();
        for instruction in &program.body {
            let of = |operand: usize| known[instruction.operands[operand]];
            let value = match instruction.op {
                RowOp::Load(load) => match self.zero_beyond(program.loads[load].buffer) {
                    Some(_) if self.is_turned(&program.loads[load]) => return None,
                    Some(true) => Beyond::Constant(0.0),
                    Some(_) => Beyond::Unknown,
                    None if instruction.extent == Extent::Row => Beyond::Row,
                    None => Beyond::Unknown,
                },
                RowOp::Constant(value) => Beyond::Constant(f64::from(value)),
                RowOp::Index(_) => Beyond::Row,
                RowOp::Iota { divisor, modulus } => match (instruction.extent, divisor, modulus) {
                    (Extent::Full, 1, n) if n == self.n => Beyond::Key,
                    (Extent::Full, d, n) if d == self.n && n == self.n => Beyond::Query,
                    (Extent::Row, 1, n) if n == self.n => Beyond::Query,
                    _ => return None,
                },
                RowOp::Cast => of(0),
                RowOp::IsFinite => Beyond::Unknown,
                RowOp::Compare(op) => match (op, of(0), of(1)) {
                    (CompareOp::Less, Beyond::Query, Beyond::Key) => Beyond::Holds(true),
                    (CompareOp::Less, Beyond::Key, Beyond::Query)
                    | (CompareOp::Equal, Beyond::Key, Beyond::Query)
                    | (CompareOp::Equal, Beyond::Query, Beyond::Key) => Beyond::Holds(false),
                    _ => Beyond::Unknown,
                },
                RowOp::Select => match of(0) {
                    Beyond::Holds(true) => of(1),
                    Beyond::Holds(false) => of(2),
                    _ => Beyond::Unknown,
                },
                RowOp::Unary(op) => match of(0) {
                    Beyond::Constant(value) => Beyond::Constant(f64::from(unary(op, value) as f32)),
                    other => along(&[other]),
                },
                RowOp::Binary(op) => both(op, of(0), of(1)),
                RowOp::Reduce(op) => match of(0) {
                    Beyond::Constant(value) if is_identity(op, value) => Beyond::Row,
                    _ => return None,
                },
            };
            known.push(value);
        }
        Some(known)
    }
}

/// A function of values that are the same along the row.
fn along(values: &[Beyond]) -> Beyond {
    let is_row = |value: &Beyond| matches!(value, Beyond::Row | Beyond::Constant(_));
    if values.iter().all(is_row) { Beyond::Row } else { Beyond::Unknown }
}

/// a ∘ b, where other values than constants are finite and divisors aren't zero.
fn both(op: BinaryOp, a: Beyond, b: Beyond) -> Beyond {
    match (op, a, b) {
        (_, Beyond::Constant(a), Beyond::Constant(b)) => Beyond::Constant(f64::from(binary(op, a, b) as f32)),
        (BinaryOp::Mul, Beyond::Constant(0.0), _) | (BinaryOp::Mul, _, Beyond::Constant(0.0)) => Beyond::Constant(0.0),
        (BinaryOp::Div, Beyond::Constant(0.0), Beyond::Row) => Beyond::Constant(0.0),
        (BinaryOp::Sub, Beyond::Constant(value), Beyond::Row) if value <= MASKED => Beyond::Constant(value),
        _ => along(&[a, b]),
    }
}

fn is_identity(op: ReduceOp, value: f64) -> bool {
    match op {
        ReduceOp::Sum => value == 0.0,
        ReduceOp::Max => value <= MASKED,
        ReduceOp::Min => value >= -MASKED,
        ReduceOp::Prod => value == 1.0,
    }
}

/// Appends a counter that begins at `start`; its value's position.
fn count_from(body: &mut Vec<Instruction>, counter: Instruction, start: usize) -> usize {
    let (extent, dtype) = (counter.extent, counter.dtype);
    let mut push = |op: RowOp, operands: Vec<usize>, extent: Extent, dtype: DType| {
        body.push(Instruction { op, operands, extent, dtype });
        body.len() - 1
    };
    let counted = push(counter.op, counter.operands, extent, dtype);
    if start == 0 {
        return counted;
    }
    // Through f32, exactly: a square with 2²⁴ rows is beyond any memory.
    let start = push(RowOp::Constant(start as f32), Vec::new(), Extent::Row, DType::F32);
    let counted = if dtype == DType::F32 { counted } else { push(RowOp::Cast, vec![counted], extent, DType::F32) };
    let sum = push(RowOp::Binary(BinaryOp::Add), vec![counted, start], extent, DType::F32);
    if dtype == DType::F32 { sum } else { push(RowOp::Cast, vec![sum], extent, dtype) }
}
