//! Every device against the oracle, forward and backward: the table of op cases, and the edges of f32.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::OnceLock;

use primer_autodiff::check::Options;
use primer_autodiff::check_gradient;
use primer_tensor::gpu::{GpuDevice, GpuOptions, Variants};
use primer_tensor::reference::Precision;
use primer_tensor::{COMPOSITIONS, Device, Graph, NodeId, Op};

use crate::support::compare::{bits, edge_mismatch, expect, mismatch, run};
use crate::support::leaves::wide;
use crate::support::table::edges::edge_cases;
use crate::support::table::{OpCase, cases, long_rows};

/// An adapter with these options: the software one, else the first real one.
pub fn gpu(options: GpuOptions) -> Device {
    let device = GpuDevice::for_tests(options).expect("an adapter; `cargo xtask test --setup` installs one");
    static NAMED: OnceLock<()> = OnceLock::new();
    // Straight to stderr: the harness would hide it.
    NAMED.get_or_init(|| {
        let _ = writeln!(std::io::stderr(), "testing on {device}");
    });
    Device::Gpu(device)
}

/// The CPU with 1, 2 and 4 threads, whose results must not differ.
pub fn cpus() -> [Device; 3] {
    [1, 2, 4].map(Device::cpu_with_threads)
}

/// The cases on devices that must agree with the oracle, and among themselves in every bit.
fn table_on(devices: &[Device], cases: &[OpCase]) {
    let mut wrong = Vec::new();
    for case in cases {
        let program = case.built.program();
        let expected = expect(&program, &case.built.inputs);
        assert!(expected.finite || !case.finite, "{}: the table's results are finite", case.name);
        let mut first = None;
        for device in devices {
            match run(device, &program, &case.built.inputs) {
                Ok(found) => {
                    let what = mismatch(&program, &expected, &found, 0.0);
                    wrong.extend(what.map(|what| format!("{} on {device}: {what}", case.name)));
                    let found = bits(&found);
                    if *first.get_or_insert_with(|| found.clone()) != found {
                        wrong.push(format!("{}: {device} differs from {}", case.name, devices[0]));
                    }
                }
                Err(error) => wrong.push(format!("{} on {device}: {error}", case.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn edges_on(device: &Device) {
    let gpu = matches!(device, Device::Gpu(_));
    let mut wrong = Vec::new();
    for case in edge_cases() {
        match run(device, &case.program, &case.inputs) {
            Ok(found) => wrong.extend(edge_mismatch(&case, &found[0], gpu)),
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} elements differ on {device}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The primitives of a graph of which an operand or the result has no element.
fn on_nothing(graph: &Graph) -> impl Iterator<Item = &'static str> {
    let is_empty = move |x: &NodeId| graph.shape(*x).numel() == 0;
    let empty = move |id: &NodeId| is_empty(id) || graph.node(*id).operands.iter().any(is_empty);
    graph.ids().filter(empty).map(move |id| graph.node(id).op.name())
}

#[test]
fn every_operation_has_cases() {
    let of = |graphs: &[&Graph]| -> BTreeSet<&'static str> {
        graphs.iter().flat_map(|graph| graph.nodes()).map(|node| node.op.name()).collect()
    };
    let listed: BTreeSet<&str> = Op::catalogue().iter().map(Op::name).collect();
    let (cases, edges) = (cases(), edge_cases());
    let found = of(&cases.iter().map(|case| &case.built.graph).collect::<Vec<_>>());
    assert_eq!(found, listed, "primitives of the op table, and those that `Op::catalogue` lists");
    let empty = cases.iter().flat_map(|case| on_nothing(&case.built.graph));
    let found: BTreeSet<&str> = empty.chain(["constant"]).collect();
    assert_eq!(found, listed, "primitives with a case without elements, which a constant has, and those listed");
    let found = of(&edges.iter().map(|case| &case.program.graph).collect::<Vec<_>>());
    assert_eq!(found, listed, "primitives of the cases at the edges of f32, and those that `Op::catalogue` lists");
    for composed in COMPOSITIONS {
        assert!(cases.iter().any(|case| case.name.starts_with(composed.name)), "{} has no case", composed.name);
    }
}

/// The derived gradient of every case against central differences, in f64 on the reference, at four elements of each
/// operand. What isn't smooth there says nothing: ties, steps, poles.
#[test]
fn gradients_of_the_table_are_derivatives() {
    let (mut checked, mut discarded, mut wrong) = (0, 0, Vec::new());
    // What is stopped counts as a constant, to the gradient alone.
    for OpCase { name, built, .. } in cases().iter().filter(|case| case.name != "stop_gradient") {
        let options = Options { probes: 4, ..Options::default() };
        let report = check_gradient(&built.graph, built.loss, &built.wrt, &wide(&built.inputs), options)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        checked += report.probes.len();
        discarded += report.discarded;
        if report.max_error() >= 1e-6 {
            wrong.push(format!("{name}: {:?}", report.worst()));
        }
    }
    assert!(wrong.is_empty(), "{} gradients are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(10 * discarded <= checked + discarded, "{discarded} probes beside {checked} said nothing");
}

#[test]
fn reference_table() {
    table_on(&[Device::Reference(Precision::RoundedF32)], &cases());
}

#[test]
fn cpu_table() {
    table_on(&cpus(), &cases());
}

#[test]
fn cpu_long_rows() {
    table_on(&cpus(), &long_rows());
}

#[test]
fn cpu_edges() {
    edges_on(&Device::cpu_with_threads(2));
}

/// Each case compiled and run twice, with equal bits.
#[test]
fn gpu_table() {
    let device = gpu(GpuOptions::default());
    table_on(&[device.clone(), device], &cases());
}

#[test]
fn gpu_long_rows() {
    table_on(&[gpu(GpuOptions::default())], &long_rows());
}

#[test]
fn gpu_table_with_default_limits() {
    table_on(&[gpu(GpuOptions { default_limits: true, ..GpuOptions::default() })], &cases());
}

#[test]
fn gpu_table_with_runtime_checks() {
    table_on(&[gpu(GpuOptions { runtime_checks: true, ..GpuOptions::default() })], &cases());
}

#[test]
fn gpu_edges() {
    edges_on(&gpu(GpuOptions::default()));
}

#[test]
fn gpu_edges_in_the_kernels_of_a_gpu() {
    edges_on(&gpu(GpuOptions { variants: Some(Variants::DISCRETE), ..GpuOptions::default() }));
}
