//! Hand-built plans, and a scalar f64 interpreter of row programs.

use primer_tensor::cpu::{CpuDevice, PlanRunner};
use primer_tensor::plan::{
    BufferId, BufferSpec, Extent, Instruction, Kernel, Place, Plan, RowOp, RowProgram, StoreKind, View,
};
use primer_tensor::reference::{binary, unary};
use primer_tensor::{CompareOp, DType, ReduceOp};

/// A plan of one kernel over buffers of those lengths.
pub fn plan(lengths: &[usize], kernel: Kernel) -> Plan {
    let spec = |(slot, &len): (usize, &usize)| BufferSpec::new([len].into(), DType::F32, Place::Slot(slot));
    Plan { buffers: lengths.iter().enumerate().map(spec).collect(), kernels: vec![kernel], ..Plan::default() }
}

/// A view of buffer `buffer`.
pub fn view(buffer: u32, offset: usize, dims: &[usize], strides: &[isize]) -> View {
    View { buffer: BufferId(buffer), offset, dims: dims.to_vec(), strides: strides.to_vec() }
}

/// A contiguous view.
pub fn dense(buffer: u32, dims: &[usize]) -> View {
    View::contiguous(BufferId(buffer), &dims.into())
}

/// Runs a plan on the given buffers with 1, 2 and 4 threads, checks that all bits agree, and gives the buffers back.
pub fn run(plan: &Plan, buffers: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut results = [1, 2, 4].map(|threads| {
        let device = CpuDevice::new(Some(threads));
        // SAFETY: the tests write plans whose views fit one another.
        let mut runner = unsafe { device.runner(plan) }.expect("a plan whose views fit");
        fill(&mut runner, buffers);
        runner.run();
        (0..buffers.len()).map(|i| runner.read(BufferId(i as u32)).to_vec()).collect::<Vec<_>>()
    });
    let bits = |r: &Vec<Vec<f32>>| r.iter().map(|b| b.iter().map(|x| x.to_bits()).collect()).collect::<Vec<Vec<u32>>>();
    assert_eq!(bits(&results[0]), bits(&results[1]), "two threads differ from one");
    assert_eq!(bits(&results[0]), bits(&results[2]), "four threads differ from one");
    std::mem::take(&mut results[0])
}

fn fill(runner: &mut PlanRunner, buffers: &[Vec<f32>]) {
    for (i, values) in buffers.iter().enumerate() {
        runner.write(BufferId(i as u32), values).expect("a buffer of the plan's length");
    }
}

/// Indices as a buffer holds them.
pub fn indices(values: &[u32]) -> Vec<f32> {
    values.iter().map(|&x| f32::from_bits(x)).collect()
}

/// Numbers in [−2, 2), the same for the same seed.
pub fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..count).map(next).collect()
}

/// |found − expected| ≤ tolerance·(1 + |expected|), classes of non-finite values equal.
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&y, &e)) in found.iter().zip(expected).enumerate() {
        let rounded = e as f32;
        let same_class = if rounded.is_finite() && y.is_finite() {
            (f64::from(y) - e).abs() <= tolerance * (1.0 + e.abs())
        } else {
            rounded.is_nan() && y.is_nan() || rounded == y
        };
        assert!(same_class, "{what}: element {i} is {y}, expected {e}");
    }
}

/// Positions of a view's elements in row-major order.
pub fn positions(view: &View) -> Vec<usize> {
    let mut out = vec![view.offset as isize];
    for (&dim, &stride) in view.dims.iter().zip(&view.strides) {
        out = out.iter().flat_map(|&base| (0..dim as isize).map(move |i| base + i * stride)).collect();
    }
    out.into_iter().map(|x| x as usize).collect()
}

/// What a row program leaves in the buffers, in f64 and by definition. Buffers of `u32` hold bits, as on the device.
pub fn interpret(program: &RowProgram, buffers: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let (rows, length) = (program.rows, program.length);
    let mut values: Vec<Vec<f64>> = Vec::new();
    for instruction in &program.body {
        let value = evaluate(program, instruction, &values, buffers);
        values.push(value);
    }
    let mut out: Vec<Vec<f64>> = buffers.iter().map(|b| b.iter().map(|&x| f64::from(x)).collect()).collect();
    for store in &program.stores {
        let extent = program.body[store.value].extent;
        let value = &values[store.value];
        let to = &mut out[store.to.buffer.index()];
        let at = positions(&store.to);
        match store.kind {
            StoreKind::Elements => {
                let element = |i: usize| if extent == Extent::Row && at.len() != rows { i / length } else { i };
                at.iter().enumerate().for_each(|(i, &p)| to[p] = value[element(i)]);
            }
            StoreKind::ColumnSum => {
                for (c, &p) in at.iter().enumerate() {
                    to[p] = (0..rows).map(|r| value[r * length + c]).sum();
                }
            }
        }
    }
    out
}

fn evaluate(program: &RowProgram, instruction: &Instruction, values: &[Vec<f64>], buffers: &[Vec<f32>]) -> Vec<f64> {
    let (rows, length) = (program.rows, program.length);
    let count = if instruction.extent == Extent::Full { rows * length } else { rows };
    let operand = |which: usize, i: usize| {
        let id = instruction.operands[which];
        let row = instruction.extent == Extent::Full && program.body[id].extent == Extent::Row;
        values[id][if row { i / length } else { i }]
    };
    let from = instruction.operands.first().map(|&o| program.body[o].dtype);
    match instruction.op {
        RowOp::Load(index) => {
            let view = &program.loads[index];
            let bits = |x: f32| if instruction.dtype == DType::U32 { f64::from(x.to_bits()) } else { f64::from(x) };
            positions(view).into_iter().map(|p| bits(buffers[view.buffer.index()][p])).collect()
        }
        RowOp::Constant(x) => vec![f64::from(x); count],
        RowOp::Index(x) => vec![f64::from(x); count],
        RowOp::Iota { divisor, modulus } => (0..count).map(|i| ((i / divisor) % modulus) as f64).collect(),
        RowOp::Unary(op) => (0..count).map(|i| unary(op, operand(0, i))).collect(),
        RowOp::IsFinite => (0..count).map(|i| f64::from(u8::from(operand(0, i).is_finite()))).collect(),
        RowOp::Cast if instruction.dtype == DType::U32 && from == Some(DType::F32) => {
            (0..count).map(|i| f64::from(operand(0, i) as u32)).collect()
        }
        RowOp::Cast => (0..count).map(|i| operand(0, i)).collect(),
        RowOp::Binary(op) => (0..count).map(|i| binary(op, operand(0, i), operand(1, i))).collect(),
        RowOp::Compare(CompareOp::Less) => {
            (0..count).map(|i| f64::from(u8::from(operand(0, i) < operand(1, i)))).collect()
        }
        RowOp::Compare(CompareOp::Equal) => {
            (0..count).map(|i| f64::from(u8::from(operand(0, i) == operand(1, i)))).collect()
        }
        RowOp::Select => (0..count).map(|i| if operand(0, i) != 0.0 { operand(1, i) } else { operand(2, i) }).collect(),
        RowOp::Reduce(op) => {
            let id = instruction.operands[0];
            let row = program.body[id].extent == Extent::Row;
            let at = |r: usize, c: usize| values[id][if row { r } else { r * length + c }];
            (0..rows).map(|r| (0..length).fold(op.identity(), |acc, c| reduce(op, acc, at(r, c)))).collect()
        }
    }
}

fn reduce(op: ReduceOp, a: f64, b: f64) -> f64 {
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        ReduceOp::Max => binary(primer_tensor::BinaryOp::Max, a, b),
        ReduceOp::Min => binary(primer_tensor::BinaryOp::Min, a, b),
    }
}
