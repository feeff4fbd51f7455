//! The reference of plans: scalar loops in f64 with real bounds checks. What the passes make of a program is tested
//! against it.

use std::collections::HashMap;

use half::f16;

use super::eval::{binary, compare, unary};
use crate::philox::{philox, uniform};
use crate::plan::{BufferId, Extent, Kernel, Place, Plan, RowOp, RowProgram, StoreKind, Tiled, View};
use crate::{DType, ReduceOp};

/// Runs a plan on inputs by name; `state` is updated in place. Gives back the outputs.
///
/// # Panics
/// Where the plan breaks an invariant: a view leaves its buffer, a kernel writes data or reads what it writes, an input
/// is absent.
pub fn run_plan(plan: &Plan, data: &HashMap<String, Vec<f64>>, state: &mut HashMap<String, Vec<f64>>) -> Vec<Vec<f64>> {
    // Scratch starts as NaN: whatever is read before it is written shows.
    let mut slots: Vec<Vec<f64>> = vec![Vec::new(); plan.slots.len()];
    for spec in &plan.buffers {
        if let Place::Slot(slot) = spec.place {
            assert!(spec.size() <= 4 * plan.slots[slot] as u64, "{spec:?} exceeds its slot");
            let held = slots[slot].len().max(spec.shape.numel());
            slots[slot].resize(held, f64::NAN);
        }
    }
    let mut memory = Memory { plan, slots, tile: HashMap::new(), data, state };
    for kernel in &plan.kernels {
        memory.execute(kernel);
    }
    plan.outputs
        .iter()
        .map(|&buffer| {
            let view = View::contiguous(buffer, &plan.buffers[buffer.index()].shape);
            offsets(&view).map(|at| memory.get(&view, at)).collect()
        })
        .collect()
}

struct Memory<'a> {
    plan: &'a Plan,
    slots: Vec<Vec<f64>>,
    /// The parts of local buffers that belong to the tile at work.
    tile: HashMap<BufferId, Vec<f64>>,
    data: &'a HashMap<String, Vec<f64>>,
    state: &'a mut HashMap<String, Vec<f64>>,
}

/// The positions of a view's elements in row-major order.
fn offsets(view: &View) -> impl Iterator<Item = usize> {
    let mut out = vec![view.offset as isize];
    for (&dim, &stride) in view.dims.iter().zip(&view.strides) {
        out = out.iter().flat_map(|&base| (0..dim as isize).map(move |i| base + i * stride)).collect();
    }
    out.into_iter().map(|at| usize::try_from(at).expect("a view stays in its buffer"))
}

impl Memory<'_> {
    fn get(&self, view: &View, at: usize) -> f64 {
        let spec = &self.plan.buffers[view.buffer.index()];
        assert!(at < spec.shape.numel(), "{view:?} leaves {}", spec.shape);
        match &spec.place {
            Place::Data(name) => self.data[name][at],
            Place::State(name) => self.state[name][at],
            Place::Slot(slot) => self.slots[*slot][at],
            Place::Tile => self.tile[&view.buffer][at],
        }
    }

    fn set(&mut self, view: &View, at: usize, value: f64) {
        let spec = &self.plan.buffers[view.buffer.index()];
        assert!(at < spec.shape.numel(), "{view:?} leaves {}", spec.shape);
        match &spec.place {
            Place::Data(name) => panic!("data {name} is written"),
            Place::State(name) => self.state.get_mut(name).expect("known state")[at] = value,
            Place::Slot(slot) if spec.half => self.slots[*slot][at] = f16::from_f64(value).into(),
            Place::Slot(slot) => self.slots[*slot][at] = value,
            Place::Tile => self.tile.get_mut(&view.buffer).expect("a local buffer of this kernel")[at] = value,
        }
    }

    fn read(&self, view: &View) -> Vec<f64> {
        offsets(view).map(|at| self.get(view, at)).collect()
    }

    fn write(&mut self, view: &View, values: &[f64]) {
        let places: Vec<usize> = offsets(view).collect();
        assert_eq!(places.len(), values.len(), "{view:?}");
        for (at, &value) in places.into_iter().zip(values) {
            self.set(view, at, value);
        }
    }

    /// Last tile first: no tile may need another.
    fn tiled(&mut self, tiled: &Tiled) {
        for tile in (0..tiled.tiles()).rev() {
            for &local in &tiled.locals {
                let part = self.plan.buffers[local.index()].shape.numel() / tiled.tiles();
                self.tile.insert(local, vec![f64::NAN; part]);
            }
            let kernels = tiled.on_tile(|view| {
                let start = if tiled.locals.contains(&view.buffer) { 0 } else { tiled.start(view, tile) };
                let offset = usize::try_from(view.offset as isize + start).expect("a view stays in its buffer");
                View { offset, ..tiled.part(view) }
            });
            kernels.iter().for_each(|kernel| self.execute(kernel));
            self.tile.clear();
        }
    }

    fn execute(&mut self, kernel: &Kernel) {
        if let Kernel::Tiled(tiled) = kernel {
            return self.tiled(tiled);
        }
        for write in kernel.writes() {
            let spec = &self.plan.buffers[write.buffer.index()];
            for read in kernel.reads() {
                let by_element = match kernel {
                    Kernel::Row(_) => true,
                    Kernel::MatMul(k) => ![k.a.buffer, k.b.buffer].contains(&read.buffer),
                    _ => false,
                };
                let in_place = matches!(spec.place, Place::State(_)) && by_element;
                let place = &self.plan.buffers[read.buffer.index()].place;
                let same = if *place == Place::Tile { read.buffer == write.buffer } else { *place == spec.place };
                assert!(!same || in_place, "a kernel reads what it writes: {kernel:?}");
            }
        }
        match kernel {
            Kernel::Row(program) => self.rows(program, |_| None),
            Kernel::MatMul(k) => {
                let (batch, m, n, inner) = k.dims();
                let (a, b) = (self.read(&k.a), self.read(&k.b));
                let mut out = Vec::new();
                for s in 0..batch {
                    for i in 0..m {
                        for j in 0..n {
                            out.push((0..inner).map(|p| a[(s * m + i) * inner + p] * b[(s * inner + p) * n + j]).sum());
                        }
                    }
                }
                if k.adds {
                    out.iter_mut().zip(self.read(&k.out)).for_each(|(sum, before)| *sum += before);
                }
                match &k.epilogue {
                    None => self.write(&k.out, &out),
                    Some(program) => self.rows(program, |view| (view.buffer == k.out.buffer).then(|| out.clone())),
                }
            }
            Kernel::DepthwiseConv(k) => {
                let (batch, n, c) = (k.x.dims[0], k.x.dims[1], k.x.dims[2]);
                let (x, w) = (self.read(&k.x), self.read(&k.w));
                let mut out = vec![0.0; batch * n * c];
                for (at, y) in out.iter_mut().enumerate() {
                    let (b, t, ch) = (at / (n * c), at / c % n, at % c);
                    for j in 0..k.w.dims[0] {
                        let from = if k.adjoint { Some(t + j).filter(|&t| t < n) } else { t.checked_sub(j) };
                        *y += from.map_or(0.0, |t| w[j * c + ch] * x[(b * n + t) * c + ch]);
                    }
                }
                self.write(&k.out, &out);
            }
            Kernel::DepthwiseConvFilterGrad(k) => {
                let (batch, n, c) = (k.x.dims[0], k.x.dims[1], k.x.dims[2]);
                let (x, dy) = (self.read(&k.x), self.read(&k.dy));
                let mut out = vec![0.0; k.out.numel()];
                for (at, dw) in out.iter_mut().enumerate() {
                    let (j, ch) = (at / c, at % c);
                    for b in 0..batch {
                        for t in j..n {
                            *dw += dy[(b * n + t) * c + ch] * x[(b * n + t - j) * c + ch];
                        }
                    }
                }
                self.write(&k.out, &out);
            }
            Kernel::Gather { table, indices, out } => {
                let (values, d) = (self.read(table), table.dims[1]);
                let rows = self.read(indices).into_iter().map(|i| (i as usize).min(table.dims[0] - 1));
                let result: Vec<f64> = rows.flat_map(|row| values[row * d..][..d].to_vec()).collect();
                self.write(out, &result);
            }
            Kernel::ScatterAdd { indices, updates, out } => {
                let d = out.dims[1];
                let mut result = vec![0.0; out.numel()];
                let updates = self.read(updates);
                for (i, index) in self.read(indices).into_iter().enumerate() {
                    let row = (index as usize).min(out.dims[0] - 1);
                    for c in 0..d {
                        result[row * d + c] += updates[i * d + c];
                    }
                }
                self.write(out, &result);
            }
            Kernel::Random { key, out, stream } => {
                let key = self.read(key);
                let key = [key[0] as u32, key[1] as u32];
                let word = |i: usize| philox([(i / 4) as u32, 0, *stream, 0], key)[i % 4];
                let values: Vec<f64> = (0..out.numel()).map(|i| f64::from(uniform(word(i)))).collect();
                self.write(out, &values);
            }
            Kernel::LinRec { a, b, out, reverse, start } => {
                let (outer, len, inner) = (a.dims[0], a.dims[1], a.dims[2]);
                let (a, b) = (self.read(a), self.read(b));
                let mut result = vec![0.0; a.len()];
                for o in 0..outer {
                    for i in 0..inner {
                        let mut s = f64::from(*start);
                        for step in 0..len {
                            let at = (o * len + if *reverse { len - 1 - step } else { step }) * inner + i;
                            s = a[at] * s + b[at];
                            result[at] = s;
                        }
                    }
                }
                self.write(out, &result);
            }
            Kernel::Tiled(_) => unreachable!("a tile has no tiles"),
        }
    }

    /// `held`: the elements of a view that aren't in memory.
    fn rows(&mut self, program: &RowProgram, held: impl Fn(&View) -> Option<Vec<f64>>) {
        let load = |view: &View| held(view).unwrap_or_else(|| self.read(view));
        let loads: Vec<Vec<f64>> = program.loads.iter().map(load).collect();
        let mut sums: HashMap<usize, Vec<f64>> = HashMap::new();
        let mut elements: HashMap<usize, Vec<f64>> = HashMap::new();
        for row in 0..program.rows {
            let values = evaluate(program, &loads, row);
            for (i, store) in program.stores.iter().enumerate() {
                match store.kind {
                    StoreKind::Elements => elements.entry(i).or_default().extend(&values[store.value]),
                    StoreKind::ColumnSum => {
                        let sum = sums.entry(i).or_insert_with(|| vec![0.0; program.length]);
                        sum.iter_mut().zip(&values[store.value]).for_each(|(s, v)| *s += v);
                    }
                }
            }
        }
        for (i, store) in program.stores.iter().enumerate() {
            let values = match store.kind {
                StoreKind::Elements => elements.remove(&i).unwrap_or_default(),
                StoreKind::ColumnSum => sums.remove(&i).unwrap_or_else(|| vec![0.0; program.length]),
            };
            self.write(&store.to, &values);
        }
    }
}

/// All values of one row.
fn evaluate(program: &RowProgram, loads: &[Vec<f64>], row: usize) -> Vec<Vec<f64>> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    for instruction in &program.body {
        let len = match instruction.extent {
            Extent::Full => program.length,
            Extent::Row => 1,
        };
        let at = |operand: usize, i: usize| {
            let value: &Vec<f64> = &values[instruction.operands[operand]];
            if value.len() == 1 { value[0] } else { value[i] }
        };
        let value = (0..len).map(|i| match instruction.op {
            RowOp::Load(load) => loads[load][row * len + i],
            RowOp::Constant(value) => f64::from(value),
            RowOp::Index(value) => f64::from(value),
            RowOp::Iota { divisor, modulus } => ((row * len + i) / divisor % modulus) as f64,
            RowOp::Unary(op) => unary(op, at(0, i)),
            RowOp::IsFinite => f64::from(u8::from(at(0, i).is_finite())),
            RowOp::Cast if instruction.dtype == DType::U32 => f64::from(at(0, i) as u32),
            RowOp::Cast => at(0, i),
            RowOp::Binary(op) => binary(op, at(0, i), at(1, i)),
            RowOp::Compare(op) => f64::from(u8::from(compare(op, at(0, i), at(1, i)))),
            RowOp::Select => {
                if at(0, i) != 0.0 {
                    at(1, i)
                } else {
                    at(2, i)
                }
            }
            RowOp::Reduce(op) => {
                let operand = &values[instruction.operands[0]];
                assert_eq!(operand.len(), program.length, "a reduction of something shorter than a row");
                operand.iter().fold(op.identity(), |acc, &x| match op {
                    ReduceOp::Sum => acc + x,
                    ReduceOp::Prod => acc * x,
                    ReduceOp::Max => binary(crate::BinaryOp::Max, acc, x),
                    ReduceOp::Min => binary(crate::BinaryOp::Min, acc, x),
                })
            }
        });
        let value = value.collect();
        values.push(value);
    }
    values
}
