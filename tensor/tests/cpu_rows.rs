//! Row programs on the CPU against the scalar f64 interpreter.

use primer_tensor::plan::{Extent, Instruction, Kernel, RowOp, RowProgram, Store, StoreKind, View};
use primer_tensor::{BinaryOp, CompareOp, DType, ReduceOp, UnaryOp};

use crate::cpu_support::{assert_close, dense, interpret, numbers, plan, run, view};

/// Builds a body, one instruction a call.
struct Body {
    rows: usize,
    length: usize,
    loads: Vec<View>,
    body: Vec<Instruction>,
    stores: Vec<Store>,
}

impl Body {
    fn new(rows: usize, length: usize) -> Self {
        Self { rows, length, loads: vec![], body: vec![], stores: vec![] }
    }

    fn push(&mut self, op: RowOp, operands: &[usize], extent: Extent, dtype: DType) -> usize {
        self.body.push(Instruction { op, operands: operands.to_vec(), extent, dtype });
        self.body.len() - 1
    }

    fn widest(&self, operands: &[usize]) -> Extent {
        let full = operands.iter().any(|&o| self.body[o].extent == Extent::Full);
        if full { Extent::Full } else { Extent::Row }
    }

    fn load(&mut self, view: View) -> usize {
        let full = view.numel() == self.rows * self.length && view.dims.last() == Some(&self.length);
        self.loads.push(view);
        let extent = if full { Extent::Full } else { Extent::Row };
        self.push(RowOp::Load(self.loads.len() - 1), &[], extent, DType::F32)
    }

    fn constant(&mut self, value: f32) -> usize {
        self.push(RowOp::Constant(value), &[], Extent::Row, DType::F32)
    }

    fn unary(&mut self, op: UnaryOp, a: usize) -> usize {
        self.push(RowOp::Unary(op), &[a], self.widest(&[a]), DType::F32)
    }

    fn binary(&mut self, op: BinaryOp, a: usize, b: usize) -> usize {
        self.push(RowOp::Binary(op), &[a, b], self.widest(&[a, b]), DType::F32)
    }

    fn less(&mut self, a: usize, b: usize) -> usize {
        self.push(RowOp::Compare(CompareOp::Less), &[a, b], self.widest(&[a, b]), DType::Bool)
    }

    fn select(&mut self, c: usize, a: usize, b: usize) -> usize {
        self.push(RowOp::Select, &[c, a, b], self.widest(&[c, a, b]), DType::F32)
    }

    fn reduce(&mut self, op: ReduceOp, a: usize) -> usize {
        self.push(RowOp::Reduce(op), &[a], Extent::Row, DType::F32)
    }

    fn store(&mut self, value: usize, to: View) {
        self.stores.push(Store { value, to, kind: StoreKind::Elements });
    }

    fn column_sum(&mut self, value: usize, to: View) {
        self.stores.push(Store { value, to, kind: StoreKind::ColumnSum });
    }

    fn program(self) -> RowProgram {
        RowProgram { rows: self.rows, length: self.length, loads: self.loads, body: self.body, stores: self.stores }
    }
}

fn check(program: RowProgram, buffers: &[Vec<f32>], tolerance: f64, what: &str) {
    let expected = interpret(&program, buffers);
    let lengths: Vec<usize> = buffers.iter().map(Vec::len).collect();
    let found = run(&plan(&lengths, Kernel::Row(program)), buffers);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_close(found, expected, tolerance, &format!("{what}, buffer {i}"));
    }
}

/// Shapes on both sides of every limit: empty, one, short rows, blocks, rows that are cut.
const SHAPES: [(usize, usize); 16] = [
    (0, 5),
    (5, 0),
    (1, 1),
    (3, 1),
    (700, 1),
    (1, 7),
    (9, 3),
    (4, 15),
    (4, 16),
    (33, 128),
    (300, 40),
    (7, 2048),
    (3, 4095),
    (2, 4097),
    (2, 9001),
    (1, 20_000),
];

#[test]
fn elementwise_functions_of_every_shape() {
    for (rows, length) in SHAPES {
        let n = rows * length;
        let mut b = Body::new(rows, length);
        let (x, y) = (b.load(dense(0, &[rows, length])), b.load(dense(1, &[rows, length])));
        let r = b.load(dense(2, &[rows, 1]));
        let c = b.constant(0.75);
        let xy = b.binary(BinaryOp::Mul, x, y);
        let xr = b.binary(BinaryOp::Sub, xy, r);
        let rc = b.binary(BinaryOp::Div, r, c);
        let t = b.unary(UnaryOp::Tanh, xr);
        let u = b.binary(BinaryOp::Add, rc, t);
        b.store(u, dense(3, &[rows, length]));
        b.store(rc, dense(4, &[rows, 1]));
        let buffers = [numbers(1, n), numbers(2, n), numbers(3, rows), vec![7.0; n], vec![7.0; rows]];
        check(b.program(), &buffers, 1e-6, &format!("{rows}x{length}"));
    }
}

#[test]
fn reductions_of_every_shape() {
    for (rows, length) in SHAPES {
        for op in ReduceOp::ALL {
            let n = rows * length;
            let mut b = Body::new(rows, length);
            let x = b.load(dense(0, &[rows, length]));
            // Near 1, so that a long product stays in range.
            let y = if op == ReduceOp::Prod {
                let (c, one) = (b.constant(1e-3), b.constant(1.0));
                let small = b.binary(BinaryOp::Mul, x, c);
                b.binary(BinaryOp::Add, small, one)
            } else {
                x
            };
            let r = b.reduce(op, y);
            let centred = b.binary(BinaryOp::Sub, x, r);
            b.store(r, dense(1, &[rows, 1]));
            b.store(centred, dense(2, &[rows, length]));
            let buffers = [numbers(4, n), vec![7.0; rows], vec![7.0; n]];
            check(b.program(), &buffers, 2e-5, &format!("{op:?} {rows}x{length}"));
        }
    }
}

#[test]
fn softmax_and_column_sums() {
    for (rows, length) in [(0, 4), (1, 1), (50, 1), (3000, 5), (64, 128), (130, 1000), (3, 5000)] {
        let n = rows * length;
        let mut b = Body::new(rows, length);
        let x = b.load(dense(0, &[rows, length]));
        let m = b.reduce(ReduceOp::Max, x);
        let d = b.binary(BinaryOp::Sub, x, m);
        let e = b.unary(UnaryOp::Exp, d);
        let s = b.reduce(ReduceOp::Sum, e);
        let p = b.binary(BinaryOp::Div, e, s);
        b.store(p, dense(1, &[rows, length]));
        b.column_sum(p, dense(2, &[length]));
        b.column_sum(x, dense(3, &[length]));
        let buffers = [numbers(5, n), vec![7.0; n], vec![7.0; length], vec![7.0; length]];
        check(b.program(), &buffers, 1e-4, &format!("softmax {rows}x{length}"));
    }
}

#[test]
fn strided_views_are_read_and_written() {
    // [2, 3, 4, 20] seen with heads before time, reversed, repeated, cut and transposed.
    let (rows, length) = (24, 20);
    let source = dense(0, &[2, 4, 3, 20]);
    let views = [
        source.permute(&[0, 2, 1, 3]),
        source.reverse(1),
        source.reverse(3),
        view(0, 3, &[24, 20], &[0, 1]),
        view(0, 3, &[24, 20], &[1, 0]),
        view(0, 3, &[24, 20], &[0, 0]),
        view(0, 5, &[24, 20], &[1, 19]),
        view(0, 400, &[2, 12, 20], &[-5, 3, -4]),
        view(0, 0, &[2, 3, 4, 20], &[0, 20, 0, 1]),
    ];
    let outs = [dense(2, &[rows, length]), dense(2, &[20, 24]).permute(&[1, 0]), view(2, 479, &[24, 20], &[-20, -1])];
    for (i, from) in views.iter().enumerate() {
        for (j, to) in outs.iter().enumerate() {
            let mut b = Body::new(rows, length);
            let x = b.load(from.clone());
            let r = b.load(view(1, 2, &[2, 12, 1], &[-1, 2, 1]));
            let y = b.binary(BinaryOp::Mul, x, r);
            let s = b.reduce(ReduceOp::Sum, x);
            b.store(y, to.clone());
            b.store(s, view(3, 1, &[24, 1], &[2, 1]));
            b.column_sum(x, dense(4, &[20]));
            let buffers = [numbers(6, 480), numbers(7, 40), vec![0.5; 480], vec![0.5; 60], vec![0.5; 20]];
            check(b.program(), &buffers, 1e-5, &format!("view {i} to {j}"));
        }
    }
}

#[test]
fn short_rows_without_reduction() {
    for length in [1, 2, 3, 15] {
        let rows = 500;
        let mut b = Body::new(rows, length);
        let x = b.load(view(0, 0, &[rows, length], &[1, 500]));
        let r = b.load(view(1, 0, &[20, 25, 1], &[25, 1, 1]));
        let c = b.load(view(2, 0, &[rows, length], &[0, 1]));
        let u = b.load(view(2, 0, &[rows, 1], &[0, 1]));
        let a = b.binary(BinaryOp::Add, x, r);
        let ru = b.binary(BinaryOp::Mul, r, u);
        let a = b.binary(BinaryOp::Mul, a, c);
        let a = b.binary(BinaryOp::Sub, a, ru);
        b.store(a, dense(3, &[rows, length]));
        b.store(ru, view(4, 499, &[rows, 1], &[-1, 1]));
        b.column_sum(a, dense(5, &[length]));
        let n = rows * length;
        let buffers =
            [numbers(8, n), numbers(9, rows), numbers(10, 15), vec![0.0; n], vec![0.0; rows], vec![0.0; length]];
        check(b.program(), &buffers, 1e-4, &format!("short {length}"));
    }
}

#[test]
fn counters_masks_and_casts() {
    // The causal mask of [2, 4, 6, 6], and counters of every axis.
    for dims in [[2, 4, 6, 6], [3, 1, 40, 17], [1, 2, 3, 1], [1, 1, 1, 5000]] {
        let (length, rows) = (dims[3], dims[0] * dims[1] * dims[2]);
        let n = rows * length;
        let mut b = Body::new(rows, length);
        let mut stored = vec![];
        for axis in 0..4 {
            let divisor = dims[axis + 1..].iter().product();
            for dtype in [DType::U32, DType::F32] {
                let i = b.push(RowOp::Iota { divisor, modulus: dims[axis] }, &[], Extent::Full, dtype);
                stored.push(b.push(RowOp::Cast, &[i], Extent::Full, DType::F32));
            }
        }
        let q = b.push(RowOp::Iota { divisor: length, modulus: dims[2] }, &[], Extent::Full, DType::U32);
        let k = b.push(RowOp::Iota { divisor: 1, modulus: length }, &[], Extent::Full, DType::U32);
        let mask = b.less(q, k);
        let x = b.load(dense(0, &[rows, length]));
        let low = b.constant(-1e30);
        stored.push(b.select(mask, low, x));
        stored.push(b.push(RowOp::Cast, &[mask], Extent::Full, DType::F32));
        let row = b.push(RowOp::Iota { divisor: dims[2], modulus: dims[1] }, &[], Extent::Row, DType::U32);
        let two = b.push(RowOp::Index(2), &[], Extent::Row, DType::U32);
        let same = b.push(RowOp::Compare(CompareOp::Equal), &[row, two], Extent::Row, DType::Bool);
        stored.push(b.select(same, x, low));
        let index = b.push(RowOp::Cast, &[x], Extent::Full, DType::U32);
        stored.push(b.push(RowOp::Cast, &[index], Extent::Full, DType::F32));
        let mut buffers = vec![numbers(11, n)];
        for (i, value) in stored.into_iter().enumerate() {
            b.store(value, dense(1 + i as u32, &[rows, length]));
            buffers.push(vec![7.0; n]);
        }
        check(b.program(), &buffers, 0.0, &format!("{dims:?}"));
    }
}

#[test]
fn edge_values_of_every_function() {
    let edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-45,
        -1e-40,
        1e-20,
        0.1,
        -0.3,
        9.0,
        15.0,
        43.9,
        88.0,
        88.8,
        -88.0,
        -104.5,
        1e4,
        -1e4,
        1.2e5,
        -3e7,
        1e30,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.5,
        2.0,
    ];
    let n = edges.len();
    for op in UnaryOp::ALL {
        let mut b = Body::new(1, n);
        let x = b.load(dense(0, &[1, n]));
        let y = b.unary(op, x);
        let f = b.push(RowOp::IsFinite, &[y], Extent::Full, DType::Bool);
        let zero = b.constant(0.0);
        let kept = b.select(f, y, zero);
        b.store(y, dense(1, &[1, n]));
        b.store(kept, dense(2, &[1, n]));
        check_finite(b.program(), &[edges.to_vec(), vec![7.0; n], vec![7.0; n]], op.name());
    }
    for op in BinaryOp::ALL {
        let mut b = Body::new(n, n);
        let x = b.load(view(0, 0, &[n, n], &[0, 1]));
        let y = b.load(view(0, 0, &[n, n], &[1, 0]));
        let z = b.binary(op, x, y);
        b.store(z, dense(1, &[n, n]));
        check(b.program(), &[edges.to_vec(), vec![7.0; n * n]], 1e-6, op.name());
    }
}

/// As [`check`], but what overflows f32 only counts as infinite when the f64 value rounds to infinity.
fn check_finite(program: RowProgram, buffers: &[Vec<f32>], what: &str) {
    let mut expected = interpret(&program, buffers);
    expected[2] = expected[1].iter().map(|&y| if (y as f32).is_finite() { y } else { 0.0 }).collect();
    let found = run(&plan(&[buffers[0].len(); 3], Kernel::Row(program)), buffers);
    for i in 1..3 {
        assert_close(&found[i], &expected[i], 1e-6, what);
    }
}

#[test]
fn an_update_in_place_reads_the_old_values() {
    // p ← p − lr·m, m ← p (the old one): the second store is a value that the first overwrites.
    for (rows, length) in [(1, 10), (3, 5000), (40, 64)] {
        let n = rows * length;
        let mut b = Body::new(rows, length);
        let (p, m) = (b.load(dense(0, &[rows, length])), b.load(dense(1, &[rows, length])));
        let lr = b.load(view(2, 0, &[rows, 1], &[0, 1]));
        let step = b.binary(BinaryOp::Mul, lr, m);
        let new = b.binary(BinaryOp::Sub, p, step);
        b.store(new, dense(0, &[rows, length]));
        b.store(p, dense(1, &[rows, length]));
        // Both old values are read after the new one is known.
        let change = b.binary(BinaryOp::Sub, new, p);
        b.store(change, dense(3, &[rows, length]));
        check(b.program(), &[numbers(12, n), numbers(13, n), vec![0.1], vec![0.5; n]], 1e-6, "swap");
    }
}

#[test]
fn long_sums_are_accurate() {
    // 2²² times 0.1 in f32: a running sum would be off by percents. Without vector instructions an accumulator takes
    // 256 terms of a stretch, which is off by 2.4e-6.
    let n = 1 << 22;
    let mut b = Body::new(1, n);
    let x = b.load(view(0, 0, &[1, n], &[0, 0]));
    let s = b.reduce(ReduceOp::Sum, x);
    b.store(s, dense(1, &[1, 1]));
    check(b.program(), &[vec![0.1], vec![0.0]], 4e-6, "row sum");
    // 2¹⁸ rows of 3: the sum over rows.
    let rows = 1 << 18;
    let mut b = Body::new(rows, 3);
    let x = b.load(view(0, 0, &[rows, 3], &[0, 1]));
    b.column_sum(x, dense(1, &[3]));
    check(b.program(), &[vec![0.1, 1.0, 1e-3], vec![0.0; 3]], 1e-5, "column sum");
}

#[test]
fn random_programs_agree_with_the_interpreter() {
    for seed in 0..60 {
        let (program, buffers) = random(seed);
        check(program, &buffers, 1e-3, &format!("seed {seed}"));
    }
}

/// A program of smooth functions over random shapes, views, extents and stores.
fn random(seed: u32) -> (RowProgram, Vec<Vec<f32>>) {
    let mut bits = numbers(seed + 1000, 400).into_iter().map(|x| ((x + 2.0) * 1e6) as usize);
    let mut pick = |n: usize| bits.next().expect("enough numbers") % n;
    let (rows, length) = ([1, 2, 5, 31, 260][pick(5)], [1, 3, 16, 100, 513, 5000][pick(6)]);
    let n = rows * length;
    let mut b = Body::new(rows, length);
    let mut buffers = vec![];
    for _ in 0..1 + pick(4) {
        let id = buffers.len() as u32;
        let (view, len) = match pick(5) {
            0 => (dense(id, &[rows, length]), n),
            1 => (view(id, 0, &[rows, length], &[0, 1]), length),
            2 => (view(id, 0, &[rows, 1], &[1, 1]), rows),
            3 => (view(id, 0, &[rows, length], &[1, rows as isize]), n),
            _ => (view(id, 0, &[rows, 1], &[0, 1]), 1),
        };
        buffers.push(numbers(seed * 7 + id, len));
        b.load(view);
    }
    for _ in 0..3 + pick(12) {
        let count = b.body.len();
        let floats: Vec<usize> = (0..count).filter(|&i| b.body[i].dtype == DType::F32).collect();
        let (x, y) = (floats[pick(floats.len())], floats[pick(floats.len())]);
        match pick(8) {
            0 => b.unary([UnaryOp::Sin, UnaryOp::Tanh, UnaryOp::Sigmoid, UnaryOp::Neg, UnaryOp::Abs][pick(5)], x),
            1 => b.binary(BinaryOp::Add, x, y),
            2 => {
                let t = b.unary(UnaryOp::Tanh, x);
                b.binary(BinaryOp::Mul, t, y)
            }
            3 => b.binary([BinaryOp::Max, BinaryOp::Min][pick(2)], x, y),
            4 => b.constant(pick(5) as f32 - 2.0),
            5 => {
                let max = b.reduce([ReduceOp::Max, ReduceOp::Min][pick(2)], x);
                b.binary(BinaryOp::Sub, x, max)
            }
            6 => {
                let scale = b.constant(1.0 / length as f32);
                let sum = b.reduce(ReduceOp::Sum, x);
                b.binary(BinaryOp::Mul, sum, scale)
            }
            _ => {
                let modulus = 1 + pick(9);
                let i = b.push(RowOp::Iota { divisor: 1 + pick(7), modulus }, &[], Extent::Full, DType::U32);
                let two = b.push(RowOp::Index(2), &[], Extent::Row, DType::U32);
                let mask = b.less(i, two);
                b.select(mask, x, y)
            }
        };
    }
    for _ in 0..1 + pick(3) {
        let count = b.body.len();
        let floats: Vec<usize> = (0..count).filter(|&i| b.body[i].dtype == DType::F32).collect();
        let value = floats[pick(floats.len())];
        let id = buffers.len() as u32;
        let full = b.body[value].extent == Extent::Full;
        if full && pick(3) == 0 && rows < 100 {
            b.column_sum(value, dense(id, &[length]));
            buffers.push(vec![0.0; length]);
        } else if full {
            b.store(value, dense(id, &[rows, length]));
            buffers.push(vec![0.0; n]);
        } else {
            b.store(value, dense(id, &[rows, 1]));
            buffers.push(vec![0.0; rows]);
        }
    }
    (b.program(), buffers)
}
