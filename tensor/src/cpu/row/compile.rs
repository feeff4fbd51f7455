//! From a row program to instructions, registers and a cut.

use super::RowKernel;
use super::access::Access;
use super::code::{Code, Cut, Home, Instruction, Load, Span, StoreTo};
use super::iota;
use crate::cpu::CpuBuffer;
use crate::graph::CompareOp;
use crate::plan::{Extent, RowOp, RowProgram, StoreKind, View};
use crate::{DType, Result};

/// Rows shorter than this are not looped over one by one unless something is reduced: what is constant along the row is
/// repeated.
const SHORT: usize = 16;
/// Longest row of a precomputed counter.
const TABLE: usize = 1 << 16;

/// Compiles a program. Where nothing depends on the ends of rows and views allow it, all rows become one.
///
/// # Errors
/// As [`CpuBuffer::zeroed`].
pub(super) fn compile(program: &RowProgram) -> Result<RowKernel> {
    let unit = (program.length == 1).then(|| unit_rows(program));
    let program = unit.as_ref().unwrap_or(program);
    let flat = flatten(program);
    let program = flat.as_ref().unwrap_or(program);
    let mut builder = Builder::new(program);
    builder.translate();
    builder.stores();
    builder.finish()
}

/// With rows of one element every value is full, and a reduction is the element itself.
fn unit_rows(program: &RowProgram) -> RowProgram {
    let mut program = program.clone();
    for instruction in &mut program.body {
        instruction.extent = Extent::Full;
        if let RowOp::Reduce(_) = instruction.op {
            instruction.op = RowOp::Cast;
        }
    }
    program
}

/// The same program over one row, where nothing depends on where a row ends.
fn flatten(program: &RowProgram) -> Option<RowProgram> {
    let n = program.rows * program.length;
    let row_iota = |i: &crate::plan::Instruction| matches!(i.op, RowOp::Iota { .. }) && i.extent == Extent::Row;
    let sums = program.stores.iter().any(|s| s.kind == StoreKind::ColumnSum);
    if program.rows == 1 || n == 0 || sums || program.has_reduction() || program.body.iter().any(row_iota) {
        return None;
    }
    let load = |view: &View| {
        if view.numel() != n {
            let uniform = view.strides.iter().zip(&view.dims).all(|(&s, &d)| s == 0 || d == 1);
            return uniform.then(|| View { dims: vec![1, 1], strides: vec![0, 0], ..view.clone() });
        }
        view.reshape(&[1, n])
    };
    let loads = program.loads.iter().map(load).collect::<Option<Vec<_>>>()?;
    let stores = program.stores.iter().map(|store| {
        // A value stored once a row has no place in a single row.
        let to = (store.to.numel() == n).then(|| store.to.reshape(&[1, n])).flatten()?;
        Some(crate::plan::Store { to, ..store.clone() })
    });
    let stores = stores.collect::<Option<Vec<_>>>()?;
    Some(RowProgram { rows: 1, length: n, loads, body: program.body.clone(), stores })
}

struct Builder<'a> {
    program: &'a RowProgram,
    reduces: bool,
    /// Rows are too short to be looped over.
    expand: bool,
    /// The value that each instruction of the program became.
    value_of: Vec<usize>,
    spans: Vec<Span>,
    tables: Vec<u32>,
    table_of: Vec<Option<usize>>,
    code: Vec<Instruction>,
    loads: Vec<Load>,
    stores: Vec<StoreTo>,
}

impl<'a> Builder<'a> {
    fn new(program: &'a RowProgram) -> Self {
        let reduces = program.has_reduction();
        let stored = |view: &View| program.stores.iter().any(|s| s.to.buffer == view.buffer);
        let loads =
            program.loads.iter().map(|view| Load { access: Access::new(view), copy: stored(view), direct: false });
        Self {
            program,
            reduces,
            expand: (1..SHORT).contains(&program.length) && !reduces,
            value_of: Vec::new(),
            spans: Vec::new(),
            tables: Vec::new(),
            table_of: Vec::new(),
            code: Vec::new(),
            loads: loads.collect(),
            stores: Vec::new(),
        }
    }

    fn push(&mut self, code: Code, span: Span, args: &[usize]) -> usize {
        let out = self.spans.len();
        self.spans.push(span);
        self.table_of.push(None);
        let mut instruction = Instruction { code, span, out, args: [0; 3], arity: args.len(), scalar: [false; 3] };
        for (i, &arg) in args.iter().enumerate() {
            instruction.args[i] = arg;
            instruction.scalar[i] = self.spans[arg] < span;
        }
        self.code.push(instruction);
        out
    }

    /// A span as this kernel treats it: with short rows nothing lies between uniform and full.
    fn lift(&self, span: Span) -> Span {
        if self.expand && span == Span::Row { Span::Full } else { span }
    }

    /// The value with every element of `span` in its own place.
    fn widen(&mut self, value: usize, span: Span) -> usize {
        if self.spans[value] < span { self.push(Code::Splat, span, &[value]) } else { value }
    }

    fn translate(&mut self) {
        for instruction in &self.program.body {
            let args: Vec<usize> = instruction.operands.iter().map(|&o| self.value_of[o]).collect();
            let widest = args.iter().map(|&a| self.spans[a]).max().unwrap_or(Span::Uniform);
            let value = match instruction.op {
                RowOp::Load(index) => {
                    let access = &self.loads[index].access;
                    let span = if access.is_empty {
                        // Of which nothing is read, where one for all or one a row would be.
                        Span::Full
                    } else if access.is_uniform() {
                        Span::Uniform
                    } else if access.elem == 0 && self.program.length != 1 {
                        self.lift(Span::Row)
                    } else {
                        Span::Full
                    };
                    self.push(Code::Load(index), span, &[])
                }
                RowOp::Constant(value) => self.push(Code::Constant(value.to_bits()), Span::Uniform, &[]),
                RowOp::Index(value) => self.push(Code::Constant(value), Span::Uniform, &[]),
                RowOp::Iota { divisor, modulus } => {
                    self.iota(divisor, modulus, instruction.extent, instruction.dtype == DType::F32)
                }
                RowOp::Cast => {
                    let from = self.program.body[instruction.operands[0]].dtype;
                    match (from, instruction.dtype) {
                        (DType::F32, DType::U32) => self.push(Code::FloatToIndex, widest, &args),
                        (DType::U32, DType::F32) => self.push(Code::IndexToFloat, widest, &args),
                        (DType::Bool, DType::U32) => self.push(Code::MaskTo(1), widest, &args),
                        (DType::Bool, DType::F32) => self.push(Code::MaskTo(1f32.to_bits()), widest, &args),
                        _ => args[0],
                    }
                }
                RowOp::Unary(op) => self.push(Code::Unary(op), widest, &args),
                RowOp::IsFinite => self.push(Code::IsFinite, widest, &args),
                RowOp::Binary(op) => self.push(Code::Binary(op), widest, &args),
                RowOp::Compare(op) => {
                    let index = self.program.body[instruction.operands[0]].dtype == DType::U32;
                    let code = match (op, index) {
                        (CompareOp::Less, false) => Code::LessFloat,
                        (CompareOp::Less, true) => Code::LessIndex,
                        (CompareOp::Equal, false) => Code::EqualFloat,
                        (CompareOp::Equal, true) => Code::EqualIndex,
                    };
                    self.push(code, widest, &args)
                }
                RowOp::Select => {
                    let cond = self.widen(args[0], widest);
                    self.push(Code::Select, widest, &[cond, args[1], args[2]])
                }
                RowOp::Reduce(op) => {
                    let full = self.widen(args[0], Span::Full);
                    self.push(Code::Reduce(op), Span::Row, &[full])
                }
            };
            self.value_of.push(value);
        }
    }

    fn iota(&mut self, divisor: usize, modulus: usize, extent: Extent, float: bool) -> usize {
        let length = self.program.length;
        let code = |divisor| Code::Iota { divisor, modulus, float };
        if extent == Extent::Row && !self.expand {
            return self.push(code(divisor), Span::Row, &[]);
        }
        if extent == Extent::Row {
            // One index a row, repeated: of all elements, `length` share it.
            return self.push(code(divisor.saturating_mul(length)), Span::Full, &[]);
        }
        if !self.expand && length > 0 && divisor.is_multiple_of(length) && divisor > 0 {
            return self.push(code(divisor / length), Span::Row, &[]);
        }
        let repeats = divisor.checked_mul(modulus).is_some_and(|period| period > 0 && length.is_multiple_of(period));
        if !self.expand && length <= TABLE && (repeats || self.program.rows == 1) {
            let out = self.push(code(divisor), Span::Full, &[]);
            self.code.pop();
            self.table_of[out] = Some(self.tables.len());
            self.tables.extend((0..length).map(|i| iota::element(i, divisor, modulus, float)));
            return out;
        }
        self.push(code(divisor), Span::Full, &[])
    }

    fn stores(&mut self) {
        let mut sums = 0;
        for store in &self.program.stores {
            let mut value = self.value_of[store.value];
            let column_sum = (store.kind == StoreKind::ColumnSum).then(|| {
                value = self.widen(value, Span::Full);
                sums += 1;
                sums - 1
            });
            let one_a_row = column_sum.is_none() && store.to.dims.last() == Some(&1) && self.program.length != 1;
            let access = Access::new(&store.to);
            let direct =
                column_sum.is_none() && !one_a_row && access.elem == 1 && self.may_lie_in(value, access.buffer);
            self.stores.push(StoreTo { value, span: self.spans[value], access, one_a_row, column_sum, direct });
        }
        // A load may stay in place although its buffer is stored to, unless its own value is what is stored.
        for instruction in &self.code {
            if let Code::Load(index) = instruction.code {
                let (length, expand) = (self.program.length, self.expand);
                let load = &mut self.loads[index];
                load.copy &= self.stores.iter().any(|s| s.value == instruction.out);
                let stride = load.access.row_stride();
                load.direct = !load.copy
                    && match instruction.span {
                        Span::Uniform => true,
                        Span::Row => stride == Some(1),
                        Span::Full if length == 1 => stride == Some(1),
                        Span::Full => load.access.elem == 1 && stride.is_some_and(|s| !expand || s == length as isize),
                    };
            }
        }
    }

    /// Whether a value may be computed in the memory of a buffer that it is stored to: it is a block that no other
    /// store has already, and nothing that was loaded from there is read from then on, nor loaded from there later.
    fn may_lie_in(&self, value: usize, buffer: usize) -> bool {
        let loads = |i: &Instruction| matches!(i.code, Code::Load(load) if self.loads[load].access.buffer == buffer);
        let loaded = |arg: &usize| self.code.iter().any(|i| i.out == *arg && loads(i));
        let Some(at) = self.code.iter().position(|i| i.out == value) else { return false };
        self.spans[value] == Span::Full
            && !matches!(self.code[at].code, Code::Load(_))
            && !self.stores.iter().any(|store| store.direct && store.value == value)
            && !self.code[at..].iter().any(|i| loads(i) || i.args[..i.arity].iter().any(loaded))
    }

    fn finish(self) -> Result<RowKernel> {
        let (homes, files) = allocate(&self);
        let column_sums = self.stores.iter().filter(|s| s.column_sum.is_some()).count();
        let (rows, length) = (self.program.rows, self.program.length);
        let is_read = |store: &StoreTo| self.loads.iter().any(|load| load.access.buffer == store.access.buffer);
        let replaces_row_values = self.stores.iter().any(|store| store.one_a_row && is_read(store));
        let cut = Cut::new(rows, length, self.code.len(), self.reduces, column_sums > 0, replaces_row_values);
        let (mut code, rest): (Vec<_>, Vec<_>) = self.code.into_iter().partition(|i| i.span == Span::Uniform);
        let uniform = code.len();
        code.extend(rest);
        let tables: Vec<f32> = self.tables.iter().map(|&bits| f32::from_bits(bits)).collect();
        Ok(RowKernel {
            rows,
            length,
            cut,
            expand: self.expand,
            code,
            uniform,
            loads: self.loads,
            stores: self.stores,
            homes,
            files,
            tables: CpuBuffer::from_slice(&tables)?,
            partials: CpuBuffer::zeroed(column_sums * cut.row_tasks * length)?,
            column_sums,
        })
    }
}

/// Gives each value a register: linear scan over the code in order. A result never takes the register of an operand, so
/// that the loops may assume that nothing overlaps.
fn allocate(builder: &Builder<'_>) -> (Vec<Home>, [usize; 3]) {
    let mut last_use = vec![0; builder.spans.len()];
    for (at, instruction) in builder.code.iter().enumerate() {
        last_use[instruction.out] = at;
        for &arg in &instruction.args[..instruction.arity] {
            last_use[arg] = at;
        }
    }
    for store in &builder.stores {
        last_use[store.value] = usize::MAX;
    }
    let mut homes = vec![Home::Memory; builder.spans.len()];
    for (value, table) in builder.table_of.iter().enumerate() {
        if let Some(first) = table {
            homes[value] = Home::Table(*first);
        }
    }
    let mut files = [0usize; 3];
    let mut free: [Vec<usize>; 3] = Default::default();
    let mut dying: Vec<(usize, usize)> = Vec::new();
    for (at, instruction) in builder.code.iter().enumerate() {
        let span = instruction.span as usize;
        if !matches!(instruction.code, Code::Load(i) if builder.loads[i].direct) {
            let register = free[span].pop().unwrap_or_else(|| {
                files[span] += 1;
                files[span] - 1
            });
            homes[instruction.out] = match instruction.span {
                Span::Uniform => Home::Uniform(register),
                Span::Row => Home::Row(register),
                Span::Full => Home::Full(register),
            };
        }
        // Uniform values are computed before all others, so they live throughout.
        dying.clear();
        let arguments = instruction.args[..instruction.arity].iter().chain([&instruction.out]);
        for &value in arguments {
            if last_use[value] == at {
                match homes[value] {
                    Home::Row(register) => dying.push((1, register)),
                    Home::Full(register) => dying.push((2, register)),
                    Home::Uniform(_) | Home::Memory | Home::Table(_) => {}
                }
                last_use[value] = usize::MAX;
            }
        }
        for &(span, register) in &dying {
            free[span].push(register);
        }
    }
    (homes, files)
}
