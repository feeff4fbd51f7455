//! Passes before and after: a plan computes what its graph means, and is as fused as it should be.

use std::collections::HashMap;

use super::{PlanLimits, TileLimits, plan};
use crate::graph::InputKind;
use crate::plan::{BufferId, Kernel, Place, Plan};
use crate::reference::{Precision, evaluate, run_plan};
use crate::{DType, Op, Program, Tensor};

/// Plans the program, runs the plan and the graph on the same data, and compares outputs and new state.
fn check(outputs: &[Tensor], updates: &[(Tensor, Tensor)], buffers: usize) -> Plan {
    let program = Program::trace(outputs, updates).expect("traces");
    let limits = PlanLimits { buffers, ..PlanLimits::default() };
    let tiles = TileLimits { bytes: 1, rows: 2, fewest: 16, chunk: None };
    check_plan(&program, PlanLimits { tiles: Some(tiles), ..limits });
    let chunks = Some(TileLimits { fewest: 2, chunk: Some(500), ..tiles });
    check_plan(&program, PlanLimits { tiles: chunks, ..limits });
    check_plan(&program, PlanLimits { tiles: chunks, epilogues: true, ..limits });
    check_plan(&program, PlanLimits { epilogues: true, ..limits });
    check_plan(&program, PlanLimits { tiles: chunks, epilogues: true, half_operands: true, ..limits });
    check_plan(&program, PlanLimits { half_operands: true, ..limits });
    check_plan(&program, limits)
}

pub(super) fn check_plan(program: &Program, limits: PlanLimits) -> Plan {
    let plan = plan(program, limits).expect("plans");
    let mut seed = 1u64;
    let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
    for info in program.graph.inputs() {
        let node = program.graph.node(info.node);
        let draw = |_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = (seed >> 33) as f64 / f64::from(1u32 << 31);
            if node.dtype == DType::U32 { (x * 5.0).floor() } else { x * 2.0 - 1.0 }
        };
        inputs.insert(info.name.clone(), (0..node.shape.numel()).map(draw).collect());
    }
    let expected = evaluate(program, &inputs, Precision::F64).expect("evaluates");
    let of_kind = |kind: InputKind| {
        program.inputs(kind).map(|i| (i.name.clone(), inputs[&i.name].clone())).collect::<HashMap<_, _>>()
    };
    let (data, mut state) = (of_kind(InputKind::Data), of_kind(InputKind::State));
    let found = run_plan(&plan, &data, &mut state);
    // Of 11 bits are what products multiply in half precision, of which the tests have a few after one another.
    let tolerance = if limits.half_operands { 4e-3 } else { 1e-6 };
    for (id, found) in program.outputs.iter().zip(&found) {
        close(&expected[id].data, found, tolerance);
    }
    for (target, value) in &program.updates {
        let Op::Input(index) = program.graph.node(*target).op else { panic!("an update of no input") };
        close(&expected[value].data, &state[&program.graph.inputs()[index].name], tolerance);
    }
    for (i, buffer) in plan.buffers.iter().enumerate() {
        let touches = |kernel: &Kernel| {
            let local = matches!(kernel, Kernel::Tiled(tiled) if tiled.locals.contains(&BufferId(i as u32)));
            let product = matches!(kernel, Kernel::MatMul(product) if product.out.buffer.index() == i);
            local || product || kernel.buffers().contains(&BufferId(i as u32))
        };
        let used = plan.kernels.iter().any(touches);
        assert!(used || plan.outputs.iter().any(|id| id.index() == i), "nothing uses buffer {i}, {buffer:?}");
    }
    for kernel in &plan.kernels {
        let bound = kernel.buffers().len();
        assert!(bound <= limits.buffers, "{bound} buffers in {kernel:?}");
    }
    plan
}

fn close(expected: &[f64], found: &[f64], tolerance: f64) {
    assert_eq!(expected.len(), found.len());
    for (e, f) in expected.iter().zip(found) {
        assert!((e - f).abs() <= tolerance * (1.0 + e.abs()) || (e.is_nan() && f.is_nan()), "{expected:?} {found:?}");
    }
}

fn data(name: &str, shape: &[usize]) -> Tensor {
    Tensor::data(name, shape, DType::F32)
}

fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor) -> Tensor {
    let axis = x.shape().rank() - 1;
    let centred = x - x.mean_axis(axis);
    let variance = centred.square().mean_axis(axis);
    centred / (variance + 1e-6).sqrt() * gain + bias
}

#[test]
fn a_layer_norm_is_one_kernel() {
    let y = layer_norm(&data("x", &[6, 5]), &data("g", &[5]), &data("b", &[5]));
    let plan = check(&[y], &[], usize::MAX);
    assert_eq!(plan.kernels.len(), 1);
}

#[test]
fn a_masked_softmax_is_one_kernel() {
    let x = data("x", &[2, 3, 4, 4]);
    let keys = Tensor::iota(x.shape(), 3, DType::U32);
    let queries = Tensor::iota(x.shape(), 2, DType::U32);
    let masked = queries.compare(crate::CompareOp::Less, &keys).select(&Tensor::constant(-1e9), &x);
    let plan = check(&[masked.softmax()], &[], usize::MAX);
    assert_eq!(plan.kernels.len(), 1);
}

#[test]
fn cross_entropy_is_two_kernels() {
    let logits = data("x", &[6, 5]);
    let targets = Tensor::data("t", [6], DType::U32);
    let plan = check(&[logits.cross_entropy(&targets).mean()], &[], usize::MAX);
    assert_eq!(plan.kernels.len(), 2, "the rows, then their mean");
}

#[test]
fn heads_cost_no_copies() {
    let (b, t, h, d) = (2, 3, 2, 4);
    let x = data("x", &[b * t, h * d]);
    let heads = |w: &str| {
        let y = x.matmul(&data(w, &[h * d, h * d]));
        y.reshape([b, t, h, d]).permute(&[0, 2, 1, 3])
    };
    let scores = heads("q").matmul_t(false, &heads("k"), true);
    let mixed = scores.softmax().matmul(&heads("v"));
    let merged = mixed.permute(&[0, 2, 1, 3]).reshape([b * t, h * d]);
    let plan = check(&[merged.matmul(&data("o", &[h * d, h * d]))], &[], usize::MAX);
    assert_eq!(plan.kernels.len(), 7, "six products and a softmax");
}

#[test]
fn state_is_updated_in_place() {
    let p = Tensor::state("p", [4, 3]);
    let m = Tensor::state("m", [4, 3]);
    let x = data("x", &[2, 4]);
    let y = x.matmul(&p);
    let g = x.matmul_t(true, &y, false);
    let new_m = &m * 0.9 + &g * 0.1;
    let new_p = &p - &new_m * 0.5;
    let plan = check(&[y.sum()], &[(p, new_p), (m, new_m)], usize::MAX);
    assert!(plan.kernels.len() <= 5, "{plan:#?}");
    let copies = plan.kernels.iter().filter(|k| matches!(k, Kernel::Row(r) if r.body.len() == 1)).count();
    assert_eq!(copies, 0);
}

#[test]
fn swapped_and_shifted_states_see_the_old_values() {
    let (a, b) = (Tensor::state("a", [3]), Tensor::state("b", [3]));
    check(&[], &[(a.clone(), b.clone()), (b.clone(), a.clone())], usize::MAX);
    check(&[], &[(a.clone(), &b + 1.0), (b.clone(), &a * 2.0)], usize::MAX);
    check(&[a.clone(), &a + &b], &[(a.clone(), a.reverse(0) + 1.0), (b.clone(), a.clone())], usize::MAX);
    check(std::slice::from_ref(&a), &[(a.clone(), Tensor::constant(3.0).broadcast_to([3]))], usize::MAX);
}

#[test]
fn views_of_every_kind_agree() {
    let x = data("x", &[2, 3, 4]);
    let outputs = [
        x.permute(&[2, 0, 1]).reshape([8, 3]) + 1.0,
        x.slice(1, 1, 3).reverse(2) * 2.0,
        x.pad(1, 2, 1).exp(),
        Tensor::concat(&[x.clone(), x.reverse(0), &x + 1.0], 2),
        x.permute(&[1, 2, 0]).sum_axis(0),
        x.sum_axis(1),
        x.max_axis(0),
        x.reduce(crate::ReduceOp::Prod, 1),
        x.reshape([6, 4]).sum_axis(0),
        x.permute(&[0, 2, 1]),
        x.slice(0, 1, 2),
        Tensor::iota([2, 3], 1, DType::F32).broadcast_to([4, 2, 3]).permute(&[1, 0, 2]),
        Tensor::constant(2.0),
        x.reshape([24]).linrec(&x.permute(&[2, 1, 0]).reshape([24]), 0, true, 1.0),
    ];
    check(&outputs, &[], usize::MAX);
    for output in outputs {
        check(&[output], &[], 7);
    }
}

#[test]
fn convolutions_and_gathers_agree() {
    let x = data("x", &[2, 4, 3]);
    let ids = Tensor::data("ids", [2, 4], DType::U32);
    let table = data("table", &[5, 3]);
    let y = (table.gather(&ids) + x.permute(&[0, 1, 2])).depthwise_conv(&data("w", &[3, 3]));
    check(&[y.clone(), y.permute(&[2, 0, 1])], &[], usize::MAX);
}

#[test]
fn a_kernel_binds_no_more_buffers_than_granted() {
    let inputs: Vec<Tensor> = (0..12).map(|i| data(&format!("x{i}"), &[4, 3])).collect();
    let mut sum = inputs[0].clone();
    let mut outputs = Vec::new();
    for x in &inputs[1..] {
        sum = (sum + x).tanh();
        outputs.push(sum.clone());
    }
    check(&outputs, &[], 7);
    check(&[sum], &[], 7);
}

#[test]
fn no_kernel_waits_for_itself() {
    // b needs a product of a, c needs both: c cannot join a's kernel.
    let a = data("x", &[4, 4]).exp();
    let b = a.matmul(&data("w", &[4, 4]));
    let c = &a + &b;
    let d = (&c * &a).sum_axis(1) + c.sum_axis(1);
    check(&[d, c], &[], usize::MAX);
}

#[test]
fn empty_tensors_are_planned() {
    let x = data("x", &[0, 3]);
    check(&[x.sum(), x.sum_axis(1), &x * 2.0, data("y", &[3, 0]).sum_axis(1)], &[], usize::MAX);
}

#[test]
fn a_cheap_value_is_computed_again_and_not_stored() {
    let (x, w, b) = (data("x", &[8, 4]), data("w", &[4, 6]), Tensor::state("b", [6]));
    let h = x.matmul(&w) + &b;
    let a = h.relu();
    let y = a.matmul(&data("v", &[6, 4]));
    // The gradient of the ReLU needs h's sign after the second product.
    let g = y.matmul_t(false, &data("v", &[6, 4]), true);
    let passed = Tensor::constant(0.0).broadcast_to(h.shape()).compare(crate::CompareOp::Less, &h);
    let dh = passed.select(&g, &Tensor::constant(0.0));
    let new_b = &b - dh.sum_axis(0).reshape([6]);
    let plan = check(&[dh], &[(b, new_b)], usize::MAX);
    let stored: usize = plan
        .kernels
        .iter()
        .filter_map(|k| {
            if let Kernel::Row(r) = k { Some(r.stores.iter().filter(|s| s.to.numel() == 48).count()) } else { None }
        })
        .sum();
    assert_eq!(stored, 2, "a and dh; h is not stored");
}

#[test]
fn a_barrier_delays_and_costs_nothing() {
    let (x, w) = (data("x", &[4, 4]), data("w", &[4, 4]));
    let layer = |x: &Tensor| x.matmul(&w).tanh();
    let once = layer(&x);
    let late = layer(&once);
    let again = layer(&Tensor::record(Op::Barrier, vec![x.permute(&[1, 0]), late.clone()]).permute(&[1, 0]));
    // Without the barrier both layers of x were one.
    assert_eq!(check(&[&once + layer(&x)], &[], usize::MAX).kernels.len(), 2);
    let plan = check(&[again * late], &[], usize::MAX);
    let kinds: Vec<bool> = plan.kernels.iter().map(|kernel| matches!(kernel, Kernel::MatMul(_))).collect();
    assert_eq!(kinds, [true, false, true, false, true, false], "three layers, one after the other: {plan:?}");
    let x = plan.buffers.iter().position(|buffer| buffer.place == Place::Data("x".into())).expect("an input");
    let readers = (0..6).filter(|&at| plan.kernels[at].buffers().contains(&BufferId(x as u32)));
    assert_eq!(readers.collect::<Vec<_>>(), [0, 4], "x is read at the end, though it is there from the start");
    // What waits for its own kernel's result, a root behind a barrier, and a constant.
    let x = data("x", &[4, 3]);
    let mean = x.mean_axis(1);
    let barrier = |x: &Tensor, after: &Tensor| Tensor::record(Op::Barrier, vec![x.clone(), after.clone()]);
    let centred = barrier(&x, &mean) - &mean;
    let outputs = [barrier(&x.exp(), &centred), barrier(&x, &mean), barrier(&Tensor::constant(2.0), &centred), centred];
    check(&outputs, &[], 7);
}

#[test]
fn a_sum_of_padded_parts_is_a_concat() {
    let (a, b, c) = (data("a", &[3, 2]), data("b", &[3, 1]), data("c", &[3, 2]));
    let whole = a.pad(1, 0, 3) + b.pad(1, 2, 2) + c.pad(1, 3, 0);
    let plan = check(std::slice::from_ref(&whole), &[], usize::MAX);
    assert_eq!(plan.kernels.len(), 3, "one store a part");
    let heads = data("x", &[2, 3, 2]).matmul(&data("w", &[2, 2, 2]));
    let parts = [heads.permute(&[1, 0, 2]).reshape([3, 4]), a.exp(), a.exp()];
    let plan = check(&[Tensor::concat(&parts, 1), Tensor::concat(&[a.sin(), b.cos()], 1)], &[], usize::MAX);
    assert_eq!(plan.kernels.len(), 6, "a product and two functions in place, one read twice and copied twice");
    // Parts that overlap or leave a gap are summed.
    check(&[a.pad(1, 0, 3) + b.pad(1, 1, 3), a.pad(1, 0, 3) + c.pad(1, 3, 0), a.pad(1, 1, 2) + a.pad(1, 2, 1)], &[], 7);
}

#[test]
fn a_product_takes_what_follows_it_by_element() {
    let limits = PlanLimits { epilogues: true, ..PlanLimits::default() };
    let planned = |outputs: Vec<Tensor>, updates: &[(Tensor, Tensor)]| {
        check_plan(&Program::trace(&outputs, updates).expect("traces"), limits)
    };
    let (x, w) = (data("x", &[2, 6, 5]), data("w", &[2, 5, 4]));
    let (bias, residual) = (data("bias", &[4]), data("residual", &[2, 6, 4]));
    let product = x.matmul(&w);
    let squared_relu = (&product + &bias).relu().square() * 0.5 + &residual;
    let plan = planned(vec![squared_relu.clone()], &[]);
    assert_eq!(plan.kernels.len(), 1, "{plan:?}");
    assert_eq!(plan.slots.len(), 1, "the product itself is stored nowhere: {plan:?}");
    // What others read is stored as well.
    assert_eq!(planned(vec![squared_relu.clone(), product.clone()], &[]).kernels.len(), 1);
    assert_eq!(planned(vec![squared_relu, product.sum_axis(0)], &[]).kernels.len(), 2);
    // A scale for each row, and a mask.
    let scaled = &product * &data("scale", &[2, 6, 1]);
    assert_eq!(planned(vec![scaled], &[]).kernels.len(), 1);
    // A second product is added to the first one's, which is then read from memory.
    let other = data("y", &[2, 6, 3]).matmul(&data("v", &[2, 3, 4]));
    assert_eq!(planned(vec![(&product + other).tanh()], &[]).kernels.len(), 2);
    // Reductions are row programs of their own, as is what reads the product in another order.
    assert_eq!(planned(vec![product.softmax()], &[]).kernels.len(), 2);
    assert_eq!(planned(vec![product.permute(&[0, 2, 1]).exp()], &[]).kernels.len(), 2);
    // A parameter is replaced by the product that is its gradient, but not while an operand still reads it.
    let state = Tensor::state("p", [5, 4]);
    let gradient = data("a", &[5, 3]).matmul(&data("b", &[3, 4]));
    assert_eq!(planned(vec![], &[(state.clone(), &state - gradient * 0.1)]).kernels.len(), 1);
    let square = Tensor::state("q", [4, 4]);
    let next = &square - square.matmul(&data("c", &[4, 4]));
    assert_eq!(planned(vec![], &[(square, next)]).kernels.len(), 2);
}

#[test]
fn what_products_alone_read_is_stored_in_half() {
    let limits = PlanLimits { half_operands: true, ..PlanLimits::default() };
    let halves = |outputs: &[Tensor], updates: &[(Tensor, Tensor)], limits| {
        let plan = check_plan(&Program::trace(outputs, updates).expect("traces"), limits);
        let halves = plan.buffers.iter().filter(|buffer| buffer.half).map(|buffer| buffer.shape.to_vec());
        (halves.collect::<Vec<_>>(), plan.report.scratch_bytes, plan.report.bytes)
    };
    let (x, w, v) = (data("x", &[7, 5]), Tensor::state("w", [5, 3]), Tensor::state("v", [3, 9]));
    let hidden = x.exp().matmul(&w).softmax();
    let y = hidden.matmul(&v);
    // The left operands; not the parameters, the products themselves, or the output.
    let (found, bytes, moved) = halves(std::slice::from_ref(&y), &[], limits);
    assert_eq!(found, [vec![7, 5], vec![7, 3]]);
    let (none, whole, all) = halves(std::slice::from_ref(&y), &[], PlanLimits::default());
    assert!(none.is_empty());
    // 35 and 21 elements live beside the 21 of the first product, and the 63 of the output.
    assert_eq!((whole - bytes, all - moved), (4 * 35 - 2 * 36, 2 * 2 * (35 + 21)));
    // Through an epilogue, and in an attention's chunks.
    let fused = PlanLimits { epilogues: true, ..limits };
    assert_eq!(halves(std::slice::from_ref(&y), &[], fused).0, [vec![7, 5], vec![7, 3]]);
    // What another kernel reads as well, what is given back, and what stays in the state is not.
    assert_eq!(halves(&[y.clone(), hidden.permute(&[1, 0]).softmax()], &[], limits).0, [vec![7, 5]]);
    assert_eq!(halves(&[y.clone(), hidden.clone()], &[], limits).0, [vec![7, 5]]);
    let kept = Tensor::state("kept", [7, 3]);
    assert_eq!(halves(&[y], &[(kept, hidden)], limits).0, [vec![7, 5]]);
    // A product that another one reads; integers are no operands.
    let cubed = data("a", &[4, 4]).matmul(&data("b", &[4, 4])).matmul(&data("c", &[4, 4]));
    assert_eq!(halves(&[cubed], &[], limits).0, [vec![4, 4]]);
    // A scan, and a product so long that it may be, are computed part by part.
    assert!(halves(&[x.cumsum(1).matmul(&w)], &[], limits).0.is_empty());
    let long = data("a", &[1, 1 << 15]).matmul(&data("b", &[1 << 15, 2])).matmul(&data("c", &[2, 2]));
    assert!(halves(&[long], &[], limits).0.is_empty());
}
