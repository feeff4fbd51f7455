//! Runs the instructions of one task over its blocks.

use super::access::Window;
use super::code::{Code, Home, Instruction, Load, Span, StoreTo};
use super::iota;
use super::ops::{Arg, Extent2, Operand, map1, map2, reduce, reduce_sum, select};
use super::sums::add_rows;
use super::{GAP, Partials, RowKernel};
use crate::cpu::Bases;
use crate::cpu::arena::Arena;
use crate::cpu::isa::{Isa, Simd, Vectorised};
use crate::cpu::math;
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};

/// Executes task `index`.
///
/// # Safety
/// As for [`RowKernel::run`]; `arena` is this thread's own and as large as the kernel asks.
pub(super) unsafe fn task(
    kernel: &RowKernel,
    bases: &Bases,
    arena: &mut Arena,
    partials: &Partials,
    index: usize,
    isa: Isa,
) {
    isa.dispatch(Task { kernel, bases, arena, partials, index });
}

struct Task<'a> {
    kernel: &'a RowKernel,
    bases: &'a Bases,
    arena: &'a mut Arena,
    partials: &'a Partials,
    index: usize,
}

impl Vectorised for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let kernel = self.kernel;
        let cut = &kernel.cut;
        let (row_task, col_task) = (self.index / cut.col_tasks, self.index % cut.col_tasks);
        let rows = row_task * cut.task_rows..((row_task + 1) * cut.task_rows).min(kernel.rows);
        let cols = col_task * cut.task_cols..((col_task + 1) * cut.task_cols).min(kernel.length);
        self.clear_partials(row_task, cols.clone());
        // The uniform values come first in the code and are computed with the first block only.
        let mut from = 0;
        let mut row = rows.start;
        while row < rows.end {
            let count = cut.block_rows.min(rows.end - row);
            let mut col = cols.start;
            loop {
                let width = cut.block_cols.min(cols.end - col);
                let window = Window { row, rows: count, col, width };
                self.point(window.col);
                self.stride(width);
                self.aim(window);
                for instruction in &kernel.code[from..] {
                    self.execute::<S>(instruction, window);
                }
                from = kernel.uniform;
                for store in &kernel.stores {
                    self.store::<S>(store, window, row_task);
                }
                col += width;
                if col >= cols.end {
                    break;
                }
            }
            row += count;
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn clear_partials(&mut self, row_task: usize, cols: std::ops::Range<usize>) {
        let kernel = self.kernel;
        for sum in 0..kernel.column_sums {
            let at = (sum * kernel.cut.row_tasks + row_task) * kernel.length;
            // SAFETY: the partial sums of this task, within the buffer.
            unsafe { std::slice::from_raw_parts_mut(self.partials.0.add(at + cols.start), cols.len()).fill(0.0) };
        }
    }

    /// Points registers and tables at their memory; tables at their column.
    #[inline(always)]
    fn point(&mut self, col: usize) {
        let kernel = self.kernel;
        let (row_register, full_register) = (kernel.row_register(), kernel.full_register());
        let row_start = kernel.files[0].next_multiple_of(GAP);
        let full_start = row_start + kernel.files[1] * row_register;
        let memory = self.arena.memory.as_mut_ptr();
        for (arg, home) in self.arena.args.iter_mut().zip(&kernel.homes) {
            // SAFETY: the arena holds all registers, the tables `length` elements each.
            unsafe {
                match *home {
                    Home::Memory => {}
                    Home::Uniform(i) => *arg = Arg { ptr: memory.add(i), stride: 0 },
                    Home::Row(i) => *arg = Arg { ptr: memory.add(row_start + i * row_register), stride: 1 },
                    Home::Full(i) => *arg = Arg { ptr: memory.add(full_start + i * full_register), stride: 0 },
                    Home::Table(first) => {
                        let table = kernel.tables.as_slice().as_ptr().add(first + col);
                        *arg = Arg { ptr: table.cast_mut(), stride: 0 };
                    }
                }
            }
        }
    }

    /// Rows of block registers follow one another without gaps.
    #[inline(always)]
    fn stride(&mut self, width: usize) {
        for (arg, home) in self.arena.args.iter_mut().zip(&self.kernel.homes) {
            if let Home::Full(_) = home {
                arg.stride = width as isize;
            }
        }
    }

    /// Points values that are stored at where they go, if a block's rows follow one another there.
    #[inline(always)]
    fn aim(&mut self, window: Window) {
        let kernel = self.kernel;
        for store in kernel.stores.iter().filter(|store| store.direct) {
            if let Some(run) = store.access.single_run(window.row, window.rows)
                && (!kernel.expand || run.stride == window.width as isize)
            {
                // SAFETY: the position of an element of the view, or one past it for an empty row.
                let ptr = unsafe { self.bases.get(store.access.buffer).offset(run.start + window.col as isize) };
                self.arena.args[store.value] = Arg { ptr, stride: run.stride };
            }
        }
    }

    /// The loop of an instruction: rows of a block, or one row where all operands lie without gaps.
    #[inline(always)]
    fn over(&self, instruction: &Instruction, window: Window) -> Extent2 {
        match instruction.span {
            Span::Uniform => Extent2 { rows: 1, width: 1 },
            Span::Row => Extent2 { rows: 1, width: window.rows },
            Span::Full => {
                let width = window.width as isize;
                let dense = (0..instruction.arity).all(|i| {
                    let stride = self.arena.args[instruction.args[i]].stride;
                    stride == if instruction.scalar[i] { 0 } else { width }
                });
                if dense && self.arena.args[instruction.out].stride == width {
                    Extent2 { rows: 1, width: window.rows * window.width }
                } else {
                    Extent2 { rows: window.rows, width: window.width }
                }
            }
        }
    }

    #[inline(always)]
    fn execute<S: Simd>(&mut self, instruction: &Instruction, window: Window) {
        let over = self.over(instruction, window);
        let arg = |i: usize| Operand { arg: self.arena.args[instruction.args[i]], scalar: instruction.scalar[i] };
        let (a, b, c) = (arg(0), arg(1), arg(2));
        let out = self.arena.args[instruction.out];
        // SAFETY: operands are registers of the arena, tables, or rows of loaded views, each with the elements that its
        // span says; the result's register is no operand's.
        unsafe {
            match instruction.code {
                Code::Load(load) => self.load(&self.kernel.loads[load], instruction, window),
                Code::Constant(bits) => out.ptr.write(f32::from_bits(bits)),
                Code::Iota { divisor, modulus, float } => {
                    let (first, count) = match instruction.span {
                        Span::Full => (0, window.width),
                        Span::Uniform | Span::Row => (window.row, over.width),
                    };
                    if instruction.span == Span::Full {
                        for row in 0..window.rows {
                            let to =
                                std::slice::from_raw_parts_mut(out.ptr.offset(row as isize * out.stride).cast(), count);
                            let linear = (window.row + row) * self.kernel.length + window.col;
                            iota::fill(linear, divisor, modulus, float, to);
                        }
                    } else {
                        let to = std::slice::from_raw_parts_mut(out.ptr.cast(), count);
                        iota::fill(first, divisor, modulus, float, to);
                    }
                }
                Code::Splat => map1(over, a, out, |x: u32| x),
                Code::Unary(op) => unary::<S>(op, over, a, out),
                Code::IsFinite => map1(over, a, out, math::is_finite),
                Code::FloatToIndex => map1(over, a, out, |x: f32| x as u32),
                Code::IndexToFloat => map1(over, a, out, |x: u32| x as f32),
                Code::MaskTo(bits) => map1(over, a, out, |x: u32| x & bits),
                Code::Binary(op) => binary(op, over, a, b, out),
                Code::LessFloat => map2(over, a, b, out, |x: f32, y: f32| math::mask(x < y)),
                Code::LessIndex => map2(over, a, b, out, |x: u32, y: u32| math::mask(x < y)),
                Code::EqualFloat => map2(over, a, b, out, |x: f32, y: f32| math::mask(x == y)),
                Code::EqualIndex => map2(over, a, b, out, |x: u32, y: u32| math::mask(x == y)),
                Code::Select => select(over, a, b, c, out),
                Code::Reduce(op) => {
                    let over = Extent2 { rows: window.rows, width: window.width };
                    match op {
                        ReduceOp::Sum => reduce_sum::<S>(over, a, out),
                        ReduceOp::Max => reduce::<S>(over, a, out, f32::NEG_INFINITY, math::max),
                        ReduceOp::Min => reduce::<S>(over, a, out, f32::INFINITY, math::min),
                        ReduceOp::Prod => reduce::<S>(over, a, out, 1.0, |x, y| x * y),
                    }
                }
            }
        }
    }

    /// Points the value at memory, or copies it into its register.
    ///
    /// # Safety
    /// As for [`RowKernel::run`].
    #[inline(always)]
    unsafe fn load(&mut self, load: &Load, instruction: &Instruction, window: Window) {
        let kernel = self.kernel;
        let access = &load.access;
        let (rows, col, width) = match instruction.span {
            Span::Uniform => (1, 0, 1),
            Span::Row => (window.rows, 0, 1),
            Span::Full => (window.rows, window.col, window.width),
        };
        let unit = instruction.span != Span::Full || kernel.length == 1;
        if !load.copy
            && (unit || access.elem == 1)
            && let Some(run) = access.single_run(window.row, rows)
        {
            let (dense, stride) = match instruction.span {
                Span::Uniform => (true, 0),
                _ if unit => (run.stride == 1, 1),
                _ => (!kernel.expand || run.stride == width as isize, run.stride),
            };
            if dense || rows == 1 {
                // SAFETY: the position of an element of the view, or one past it for an empty row.
                let ptr = unsafe { self.bases.get(access.buffer).offset(run.start + col as isize * access.elem) };
                self.arena.args[instruction.out] = Arg { ptr, stride };
                return;
            }
        }
        let memory = self.register(instruction.out, width);
        self.arena.args[instruction.out] = memory;
        // SAFETY: the register holds a block; the rest is the caller's.
        unsafe { access.gather(self.bases, window.row, rows, col, width, memory.ptr) };
    }

    /// The register of a value that a load may have pointed elsewhere.
    #[inline(always)]
    fn register(&mut self, value: usize, width: usize) -> Arg {
        let kernel = self.kernel;
        let row_start = kernel.files[0].next_multiple_of(GAP);
        let full_start = row_start + kernel.files[1] * kernel.row_register();
        let memory = self.arena.memory.as_mut_ptr();
        let (at, stride) = match kernel.homes[value] {
            Home::Uniform(i) => (i, 0),
            Home::Row(i) => (row_start + i * kernel.row_register(), 1),
            Home::Full(i) => (full_start + i * kernel.full_register(), width as isize),
            Home::Memory | Home::Table(_) => unreachable!("only a value with a register is copied"),
        };
        // SAFETY: the arena holds all registers.
        Arg { ptr: unsafe { memory.add(at) }, stride }
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, store: &StoreTo, window: Window, row_task: usize) {
        let kernel = self.kernel;
        let arg = self.arena.args[store.value];
        if let Some(index) = store.column_sum {
            let at = (index * kernel.cut.row_tasks + row_task) * kernel.length + window.col;
            // SAFETY: this task's partial sums; the value is full.
            unsafe {
                let sums = std::slice::from_raw_parts_mut(self.partials.0.add(at), window.width);
                add_rows::<S>(arg, window, sums);
            }
            return;
        }
        if store.direct && arg.ptr != self.register(store.value, window.width).ptr {
            return;
        }
        let (from_row, from_elem) = match store.span {
            Span::Uniform => (0, 0),
            Span::Row => (1, 0),
            Span::Full => (arg.stride, 1),
        };
        // With the last columns: the buffer may be that of a value which the columns before them still read.
        if store.one_a_row && window.col + window.width < kernel.length {
            return;
        }
        let at = if store.one_a_row { Window { col: 0, width: 1, ..window } } else { window };
        // SAFETY: the caller of `task` grants the views; the value has the elements that its span says.
        unsafe { store.access.scatter(self.bases, at, arg.ptr, from_row, from_elem) };
    }
}

/// # Safety
/// As for [`map1`].
#[inline(always)]
unsafe fn unary<S: Simd>(op: UnaryOp, over: Extent2, a: Operand, out: Arg) {
    // SAFETY: the caller's.
    unsafe {
        match op {
            UnaryOp::Neg => map1(over, a, out, |x: f32| -x),
            UnaryOp::Abs => map1(over, a, out, f32::abs),
            UnaryOp::Sign => map1(over, a, out, math::sign),
            UnaryOp::Sqrt => map1(over, a, out, f32::sqrt),
            UnaryOp::Exp => map1(over, a, out, math::exp::<S>),
            UnaryOp::Log => map1(over, a, out, math::log::<S>),
            UnaryOp::Sin => {
                map1(over, a, out, math::sin::<S>);
                exact(over, a, out, f64::sin);
            }
            UnaryOp::Cos => {
                map1(over, a, out, math::cos::<S>);
                exact(over, a, out, f64::cos);
            }
            UnaryOp::Tanh => map1(over, a, out, math::tanh::<S>),
            UnaryOp::Sigmoid => map1(over, a, out, math::sigmoid::<S>),
            UnaryOp::Recip => map1(over, a, out, math::recip),
        }
    }
}

/// # Safety
/// As for [`map1`].
#[inline(always)]
unsafe fn exact(over: Extent2, a: Operand, out: Arg, f: fn(f64) -> f64) {
    for row in 0..over.rows as isize {
        // SAFETY: the caller's.
        unsafe {
            let x = std::slice::from_raw_parts(a.arg.ptr.offset(row * a.arg.stride).cast_const(), over.width);
            if x.iter().fold(0.0f32, |m, v| if v.abs() > m { v.abs() } else { m }) > math::SIN_LIMIT {
                let y = std::slice::from_raw_parts_mut(out.ptr.offset(row * out.stride), over.width);
                math::sin_cos_exact(x, y, f);
            }
        }
    }
}

/// # Safety
/// As for [`map2`].
#[inline(always)]
unsafe fn binary(op: BinaryOp, over: Extent2, a: Operand, b: Operand, out: Arg) {
    // SAFETY: the caller's.
    unsafe {
        match op {
            BinaryOp::Add => map2(over, a, b, out, |x: f32, y: f32| x + y),
            BinaryOp::Sub => map2(over, a, b, out, |x: f32, y: f32| x - y),
            BinaryOp::Mul => map2(over, a, b, out, |x: f32, y: f32| x * y),
            BinaryOp::Div => map2(over, a, b, out, |x: f32, y: f32| x / y),
            BinaryOp::Max => map2(over, a, b, out, math::max),
            BinaryOp::Min => map2(over, a, b, out, math::min),
        }
    }
}
