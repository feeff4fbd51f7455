//! Squares: of the n × n values between the kernels of a tile, one block of rows is held at a time.
//!
//! All kernels that touch squares run on one block of rows before the next; a product that sums over the squares' rows,
//! such as the gradient of keys, adds what each block gives. So a tile holds a number of rows and no square, and memory
//! grows with n alone. Where later positions are masked, a block ends at its last row's column. This is exact where
//! values are finite: it is done only if what lies beyond the diagonal is known, whatever is computed from, to be the
//! identity of every reduction and zero in every product.

use std::collections::{BTreeSet, HashMap};

use crate::DType;
use crate::graph::{BinaryOp, CompareOp, ReduceOp};
use crate::plan::{BufferId, Extent, Instruction, Kernel, MatMul, Place, Plan, RowOp, RowProgram, Tiled, View};
use crate::reference::{binary, unary};

/// Blocks that a square has, unless their rows would be fewer than the device wants or more than [`MOST_ROWS`]: each
/// costs a launch of every kernel on every tile.
const BLOCKS: usize = 8;
/// Most rows of a block, where the device wants no more.
const MOST_ROWS: usize = 128;
/// Rows of a square that is cut into blocks though nothing of it is masked: smaller ones take little memory, and
/// products of whole squares are faster.
const UNMASKED: usize = 512;
/// A constant below counts as −∞ under a maximum: a masked score.
const MASKED: f64 = -1e30;

/// Cuts the kernels of all tiles that hold squares, into blocks of at least `rows` rows.
pub(super) fn cut(plan: &mut Plan, rows: usize) {
    for position in 0..plan.kernels.len() {
        let Kernel::Tiled(tiled) = &plan.kernels[position] else { continue };
        let Some(square) = Square::find(plan, tiled, rows) else { continue };
        let step = square.n.div_ceil(BLOCKS).clamp(rows, MOST_ROWS.max(rows));
        let mut kernels = square.clone().cut(tiled, step);
        if kernels.is_none() && square.n >= UNMASKED {
            kernels = Square { masked: false, ..square.clone() }.cut(tiled, step);
        }
        let Some(kernels) = kernels else { continue };
        let tiles = tiled.tiles();
        for (buffer, _) in &square.buffers {
            plan.buffers[buffer.index()].shape = [tiles * step * square.n].into();
        }
        if let Kernel::Tiled(tiled) = &mut plan.kernels[position] {
            tiled.kernels = kernels;
        }
    }
}

/// The local n × n buffers of a tile.
#[derive(Clone)]
struct Square {
    n: usize,
    lead: usize,
    /// Whether blocks end at the diagonal.
    masked: bool,
    /// Each, and whether it is zero beyond the diagonal.
    buffers: Vec<(BufferId, bool)>,
}

/// Rows of a square that are held at once.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    end: usize,
    /// Columns that are computed.
    columns: usize,
    /// Rows that the buffer has room for.
    room: usize,
    /// Whether another block has been computed before it.
    adds: bool,
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
        (n / 2 >= rows && !buffers.is_empty()).then_some(Self { n, lead, masked: true, buffers })
    }

    fn zero_beyond(&self, buffer: BufferId) -> Option<bool> {
        self.buffers.iter().find(|(square, _)| *square == buffer).map(|&(_, zero)| zero)
    }

    /// Whether it is a square's, transposed.
    fn is_turned(&self, view: &View) -> bool {
        self.zero_beyond(view.buffer).is_some() && view.strides[self.lead..] == [1, self.n as isize]
    }

    /// The kernels, block by block, the last rows first; none where they can't be, or blocks may not end at the diagonal.
    fn cut(mut self, tiled: &Tiled, step: usize) -> Option<Vec<Kernel>> {
        let [before, with, after] = self.order(tiled)?;
        let mut kernels: Vec<Kernel> = before.into_iter().cloned().collect();
        // The last block has all columns, so that what is added up has a start in every row.
        for start in (0..self.n).step_by(step).rev() {
            let end = (start + step).min(self.n);
            let columns = if self.masked { end } else { self.n };
            let block = Block { start, end, columns, room: step, adds: end < self.n };
            for kernel in &with {
                kernels.push(match kernel {
                    Kernel::MatMul(product) => Kernel::MatMul(self.product(product, block)?),
                    Kernel::Row(program) => Kernel::Row(self.rows(program, block, tiled.tiles())?),
                    _ => return None,
                });
            }
        }
        kernels.extend(after.into_iter().cloned());
        Some(kernels)
    }

    fn touches(&self, kernel: &Kernel) -> bool {
        let mut views = kernel.reads().into_iter().chain(kernel.writes());
        views.any(|view| self.zero_beyond(view.buffer).is_some())
    }

    /// The kernels that touch squares, and those that run before and after all of them. None where one would read what
    /// another block has yet to compute, or to add to.
    fn order<'a>(&self, tiled: &'a Tiled) -> Option<[Vec<&'a Kernel>; 3]> {
        let (mut before, mut with, mut after) = (Vec::new(), Vec::new(), Vec::new());
        // What blocks have written outside of squares, and how it is read where a block needs no other block's part:
        // not what is added up, or written part by part.
        let mut written: HashMap<BufferId, Option<&View>> = HashMap::new();
        // What they have read, and what kernels after them write and read.
        let (mut read, mut written_late, mut read_late) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for kernel in &tiled.kernels {
            if !self.touches(kernel) {
                let follows = |buffer: &BufferId| written.contains_key(buffer) || written_late.contains(buffer);
                let is_read = |buffer: &BufferId| read.contains(buffer) || read_late.contains(buffer);
                let is_after = kernel.reads().iter().any(|view| follows(&view.buffer))
                    || kernel.writes().iter().any(|view| follows(&view.buffer) || is_read(&view.buffer));
                if is_after {
                    written_late.extend(kernel.writes().iter().map(|view| view.buffer));
                    read_late.extend(kernel.reads().iter().map(|view| view.buffer));
                    after.push(kernel);
                } else {
                    before.push(kernel);
                }
                continue;
            }
            let is_square = |view: &&View| self.zero_beyond(view.buffer).is_some();
            // What a block needs of all rows, as many as it has columns.
            let all_rows: Option<&View> = match kernel {
                Kernel::MatMul(product) if !self.is_turned(&product.a) => Some(&product.b),
                _ => None,
            };
            for view in kernel.reads().into_iter().filter(|view| !is_square(view)) {
                let in_step = match written.get(&view.buffer) {
                    None => true,
                    Some(own) => own.is_some_and(|own| self.is_row_by_row(own, view)) && all_rows != Some(view),
                };
                if !in_step || written_late.contains(&view.buffer) {
                    return None;
                }
                read.insert(view.buffer);
            }
            for view in kernel.writes().into_iter().filter(|view| !is_square(view)) {
                if [&read, &written_late, &read_late].into_iter().any(|set| set.contains(&view.buffer)) {
                    return None;
                }
                let adds = matches!(kernel, Kernel::MatMul(product) if self.is_turned(&product.a));
                let own = (!adds && !written.contains_key(&view.buffer)).then_some(view);
                written.insert(view.buffer, own);
            }
            with.push(kernel);
        }
        Some([before, with, after])
    }

    /// Whether of what is written in one view another reads, in each row, that row alone.
    fn is_row_by_row(&self, written: &View, read: &View) -> bool {
        let column = self.lead + 1;
        let alike = |axis: usize| {
            let dim = written.dims[axis];
            read.dims[axis] == dim && (dim == 1 || read.strides[axis] == written.strides[axis])
        };
        written.dims.len() == column + 1
            && read.dims.len() == column + 1
            && written.offset == read.offset
            && (0..column).all(alike)
            && (read.dims[column] == 1 || read.strides[column] == 0 || alike(column))
    }

    /// The view of a block of a square, which lies in its buffer as its rows, one after the other.
    fn held(&self, view: &View, block: Block) -> View {
        let (row, column) = (self.lead, self.lead + 1);
        let Block { start, end, columns, room, .. } = block;
        let mut held = View { offset: 0, ..view.clone() };
        held.strides[..self.lead].iter_mut().for_each(|stride| *stride = *stride / self.n as isize * room as isize);
        let (rows, along) = if self.is_turned(view) { (column, row) } else { (row, column) };
        (held.dims[rows], held.strides[rows]) = (end - start, columns as isize);
        (held.dims[along], held.strides[along]) = (columns, 1);
        held
    }

    /// A product's part that makes or takes one block.
    fn product(&self, product: &MatMul, block: Block) -> Option<MatMul> {
        let (row, column) = (self.lead, self.lead + 1);
        let Block { start, end, columns, adds, .. } = block;
        let squares = [&product.a, &product.b, &product.out].map(|view| self.zero_beyond(view.buffer));
        // What lies beyond a block's columns must be nothing to a sum over them.
        let is_left_out = |zero: bool| zero || !self.masked;
        match squares {
            // Scores.
            [None, None, Some(_)] if !self.is_turned(&product.out) => Some(MatMul {
                a: product.a.slice(row, start, end),
                b: product.b.slice(column, 0, columns),
                out: self.held(&product.out, block),
                adds: false,
                epilogue: None,
            }),
            // A mixture of the columns.
            [Some(zero), None, None] if is_left_out(zero) && !self.is_turned(&product.a) => Some(MatMul {
                a: self.held(&product.a, block),
                b: product.b.slice(row, 0, columns),
                out: product.out.slice(row, start, end),
                adds: false,
                epilogue: None,
            }),
            // What the rows give to each column.
            [Some(zero), None, None] if is_left_out(zero) => Some(MatMul {
                a: self.held(&product.a, block),
                b: product.b.slice(row, start, end),
                out: product.out.slice(row, 0, columns),
                adds,
                epilogue: None,
            }),
            _ => None,
        }
    }

    /// A row program's part over the rows of one block.
    fn rows(&mut self, program: &RowProgram, block: Block, tiles: usize) -> Option<RowProgram> {
        let Block { start, end, columns, .. } = block;
        if program.length != self.n || program.rows != tiles * self.n {
            return None;
        }
        let known = if self.masked { Some(self.beyond(program)?) } else { None };
        for store in &program.stores {
            let zero = known.as_ref().is_some_and(|known| known[store.value] == Beyond::Constant(0.0));
            let is_row = program.body[store.value].extent == Extent::Row;
            let is_turned = self.is_turned(&store.to);
            match self.buffers.iter_mut().find(|(square, _)| *square == store.to.buffer) {
                Some((_, zero_beyond)) if !is_row && !is_turned => *zero_beyond = zero,
                None if is_row => {}
                _ => return None,
            }
        }
        let cut = |view: &View| {
            if self.zero_beyond(view.buffer).is_some() {
                return (!self.is_turned(view)).then(|| self.held(view, block));
            }
            let rows = (view.dims.len() == self.lead + 2).then(|| view.slice(self.lead, start, end))?;
            Some(if view.dims[self.lead + 1] == 1 { rows } else { rows.slice(self.lead + 1, 0, columns) })
        };
        let mut body = Vec::new();
        let mut value_of = Vec::new();
        for instruction in &program.body {
            let counter = self.counter(instruction);
            let mut instruction = instruction.clone();
            instruction.operands.iter_mut().for_each(|operand| *operand = value_of[*operand]);
            if let RowOp::Iota { divisor, modulus } = &mut instruction.op {
                let is_query = counter? == Beyond::Query;
                *modulus = if is_query { end - start } else { columns };
                if *divisor != 1 {
                    *divisor = columns;
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
        Some(RowProgram { rows: tiles * (end - start), length: columns, loads, body, stores })
    }

    /// Whether a counter counts rows of the square or columns; none where it counts something else, or is none.
    fn counter(&self, instruction: &Instruction) -> Option<Beyond> {
        let RowOp::Iota { divisor, modulus } = instruction.op else { return None };
        match (instruction.extent, divisor, modulus) {
            (Extent::Full, 1, n) if n == self.n => Some(Beyond::Key),
            (Extent::Full, d, n) if d == self.n && n == self.n => Some(Beyond::Query),
            (Extent::Row, 1, n) if n == self.n => Some(Beyond::Query),
            _ => None,
        }
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
                RowOp::Iota { .. } => self.counter(instruction)?,
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
