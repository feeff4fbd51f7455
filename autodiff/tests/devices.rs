//! Every device against the oracle, forward and backward: the table of op cases, edge values, random programs.

use std::cell::Cell;

use primer_tensor::reference::Precision;
use primer_tensor::{BinaryOp, Device, Op, Shape, UnaryOp};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::support::compare::{EPSILON, elementwise_mismatch, expect, mismatch, run};
use crate::support::leaves::Leaves;
use crate::support::programs::recipe;
use crate::support::table::{EDGES, cases};

/// The software adapter, else the first real one.
fn gpu() -> Device {
    let device = Device::parse("software", None).or_else(|_| Device::parse("gpu", None));
    let device = device.expect("an adapter; `cargo xtask test --setup` installs one");
    announce(&device);
    device
}

#[allow(clippy::print_stderr)] // which adapter was taken belongs in the test's output
fn announce(device: &Device) {
    eprintln!("testing on {device}");
}

fn table_on(device: &Device) {
    let mut wrong = Vec::new();
    for case in cases() {
        let program = case.built.program();
        let expected = expect(&program, &case.built.inputs);
        assert!(expected.finite, "{}: the table's results are finite", case.name);
        match run(device, &program, &case.built.inputs) {
            Ok(found) => {
                wrong.extend(mismatch(&program, &expected, &found, 0.0).map(|what| format!("{}: {what}", case.name)))
            }
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} cases differ on {device}:\n{}", wrong.len(), wrong.join("\n"));
}

fn edges_on(device: &Device, only_finite: bool) {
    let mut wrong = Vec::new();
    let mut check = |name: &str, op: Op, columns: &[Vec<f32>]| {
        let mut leaves = Leaves::new(1);
        let shape = Shape::from([columns[0].len()]);
        let operands: Vec<_> = columns.iter().map(|values| leaves.values(&shape, values)).collect();
        let y = leaves.graph.push(op, &operands).unwrap();
        let (program, inputs) = leaves.forward(vec![y]);
        let found = run(device, &program, &inputs).unwrap();
        let expected = expect(&program, &inputs);
        if let Some(i) = elementwise_mismatch(&expected, &found[0], only_finite) {
            let x: Vec<f32> = columns.iter().map(|values| values[i]).collect();
            wrong.push(format!("{name}({x:?}) gave {}, expected {}", found[0][i], expected.value(0, i)));
        }
    };
    for op in UnaryOp::ALL {
        check(op.name(), Op::Unary(op), &[EDGES.to_vec()]);
    }
    for op in BinaryOp::ALL {
        let pairs = EDGES.iter().flat_map(|&a| EDGES.iter().map(move |&b| (a, b)));
        let (a, b) = pairs.unzip();
        check(op.name(), Op::Binary(op), &[a, b]);
    }
    assert!(wrong.is_empty(), "{} functions differ on {device}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Forward and backward of random programs; at most 30% may be too unstable to say anything.
fn random_on(device: &Device, programs: u32, steps: usize, gpu: bool) {
    let config = ProptestConfig {
        cases: programs,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    let (compared, discarded) = (Cell::new(0u32), Cell::new(0u32));
    let result = TestRunner::new(config).run(&recipe(&[2, 1, 3, 5, 8, 17, 33, 70], 2400, steps), |recipe| {
        let built = recipe.build();
        let program = built.program();
        let expected = expect(&program, &built.inputs);
        if !expected.stable || (gpu && !expected.finite) {
            discarded.set(discarded.get() + 1);
            return Ok(());
        }
        compared.set(compared.get() + 1);
        let found = run(device, &program, &built.inputs)
            .map_err(|error| TestCaseError::fail(format!("{error}\n{}", program.graph)))?;
        // Equal terms may cancel exactly in the oracle, and on a device to the rounding of the terms.
        let wrong = mismatch(&program, &expected, &found, EPSILON * expected.largest);
        prop_assert!(wrong.is_none(), "{}\n{}", wrong.unwrap_or_default(), program.graph);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{device}: {failure}");
    }
    let share = f64::from(discarded.get()) / f64::from(discarded.get() + compared.get());
    assert!(share <= 0.3, "{share} of all programs were discarded");
}

#[test]
fn reference_agrees_with_itself() {
    let rounded = Device::Reference(Precision::RoundedF32);
    table_on(&rounded);
    random_on(&rounded, 30, 10, false);
}

#[test]
fn cpu_table() {
    table_on(&Device::cpu_with_threads(2));
}

#[test]
fn cpu_edges() {
    edges_on(&Device::cpu_with_threads(2), false);
}

#[test]
fn cpu_random_programs() {
    random_on(&Device::cpu_with_threads(2), 400, 12, false);
}

#[test]
fn gpu_table() {
    table_on(&gpu());
}

#[test]
fn gpu_edges() {
    edges_on(&gpu(), true);
}

#[test]
fn gpu_random_programs() {
    random_on(&gpu(), 20, 12, true);
}
