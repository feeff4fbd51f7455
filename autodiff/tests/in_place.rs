//! A state that an operation updates in place against the same operation into a new output: equal in every bit.

use primer_tensor::gpu::GpuOptions;
use primer_tensor::{DType, Device, Graph, InputKind, NodeId, Op, Program};

use crate::devices::{cpus, gpu};
use crate::support::compare::{bits, run};
use crate::support::leaves::Values;
use crate::support::table::{OpCase, cases};

/// The case's graph with every f32 input as a state, and where its nodes are.
fn with_states(case: &OpCase) -> (Graph, Vec<NodeId>) {
    let mut graph = Graph::new();
    let mut map: Vec<NodeId> = Vec::new();
    for node in case.built.graph.nodes() {
        let operands: Vec<NodeId> = node.operands.iter().map(|o| map[o.index()]).collect();
        map.push(match node.op {
            Op::Input(index) => {
                let kind = if node.dtype == DType::F32 { InputKind::State } else { InputKind::Data };
                let name = &case.built.graph.inputs()[index].name;
                graph.input(name, kind, &node.shape, node.dtype).expect("a new name")
            }
            ref op => graph.push(op.clone(), &operands).expect("as it was"),
        });
    }
    (graph, map)
}

fn in_place_on(device: &Device) {
    let mut wrong = Vec::new();
    for case in cases() {
        let (mut graph, map) = with_states(&case);
        let y = map[case.built.outputs[0].index()];
        let mut inputs = case.built.inputs.clone();
        let mut targets: Vec<NodeId> = case.built.wrt.iter().map(|x| map[x.index()]).collect();
        targets.retain(|&x| graph.shape(x) == graph.shape(y));
        if targets.is_empty() {
            // No operand has the result's shape: it replaces something that was not read.
            let shape = graph.shape(y).clone();
            targets.push(graph.input("replaced", InputKind::State, &shape, DType::F32).expect("a new name"));
            inputs.push(("replaced".into(), Values::F32(vec![0.0; shape.numel()])));
        }
        let copy = Program::new(graph.clone(), vec![y], Vec::new()).expect("an f32 output");
        let results = run(device, &copy, &inputs).map(|found| bits(&found));
        let expected = match results {
            Ok(expected) => expected,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        for target in targets {
            let program = Program::new(graph.clone(), Vec::new(), vec![(target, y)]).expect("equal shapes");
            match run(device, &program, &inputs) {
                Ok(found) => {
                    let found = bits(&found);
                    if let Some(i) = (0..expected[0].len()).find(|&i| found[0][i] != expected[0][i]) {
                        let [found, wanted] = [&found, &expected].map(|values| f32::from_bits(values[0][i]));
                        wrong.push(format!("{}, into {target:?}: element {i} is {found}, not {wanted}", case.name));
                    }
                }
                Err(error) => wrong.push(format!("{}, into {target:?}: {error}", case.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{} updates differ on {device}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn cpu_updates_in_place() {
    for device in cpus() {
        in_place_on(&device);
    }
}

#[test]
fn gpu_updates_in_place() {
    in_place_on(&gpu(GpuOptions::default()));
}
