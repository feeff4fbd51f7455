//! How many mutated programs the oracle must leave out: those whose f64 and rounded f32 runs differ too much to judge a
//! device by.
//!
//! `cargo bench -p primer-search --bench oracle` prints the counts for 1,000 programs, forward and backward.

#![allow(clippy::print_stdout)] // what is measured is printed

use std::collections::HashMap;

use primer_autodiff::check::decisions;
use primer_autodiff::grad_graph;
use primer_search::dna::{Dna, seeds};
use primer_search::lower::{POSITIONS, Plan, Sizes, TOKENS, plan_with_unit, positions};
use primer_search::mutate::{apply, draw};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::reference::{Precision, Value, evaluate};
use primer_tensor::{Graph, NodeId, Program, ReduceOp, UnaryOp};

const PROGRAMS: usize = 1_000;
const SIZES: Sizes = Sizes { layers: 2, vocab: 7, sequence: 6, batch: 1 };
/// Width 16: small, since the oracle is slow.
const UNIT: u64 = 8;
/// Most mutations between a seed program and what is tried.
const CHAIN: usize = 20;
/// Largest difference of the two runs, relative to a tensor's scale, that leaves something to judge.
const SPREAD: f64 = 1e-3;

#[derive(Default)]
struct Counts {
    rejected: usize,
    kept: usize,
    not_finite: usize,
    decided_otherwise: usize,
    apart: usize,
}

fn main() {
    let mut counts = Counts::default();
    let mut tried = 0;
    for chain in 0.. {
        let text = [seeds::TRANSFORMER, seeds::PRIMER_EZ, seeds::PRIMER][chain % 3];
        let mut dna: Dna = text.parse().expect("a built-in program");
        let mut rng = Rng::new(4, chain as u64, Purpose::Mutation);
        for _ in 0..=chain % CHAIN {
            dna = apply(&dna, &draw(&dna, &mut rng)).expect("a drawn mutation applies");
        }
        match plan_with_unit(&dna, UNIT, SIZES) {
            Ok(plan) if plan.bytes() < 1 << 23 => judge(&plan, &mut counts),
            _ => {
                counts.rejected += 1;
                continue;
            }
        }
        tried += 1;
        if tried == PROGRAMS {
            break;
        }
    }
    let Counts { rejected, kept, not_finite, decided_otherwise, apart } = counts;
    let share = |n: usize| 100.0 * n as f64 / PROGRAMS as f64;
    println!("{PROGRAMS} mutated programs (up to {CHAIN} mutations; {rejected} more were rejected before they ran)");
    println!("judged                      {kept:>5}  {:>5.1}%", share(kept));
    println!("not finite in either run    {not_finite:>5}  {:>5.1}%", share(not_finite));
    println!("a decision differs          {decided_otherwise:>5}  {:>5.1}%", share(decided_otherwise));
    println!("apart by more than {SPREAD:.0e}     {apart:>5}  {:>5.1}%", share(apart));
}

/// Runs a program's loss and gradients both ways.
fn judge(plan: &Plan, counts: &mut Counts) {
    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph).expect("a planned program builds");
    let loss = loss(&mut graph, lowered.logits);
    let gradients = grad_graph(&mut graph, loss, &lowered.parameters).expect("a program differentiates");
    let outputs: Vec<NodeId> = [lowered.logits, loss].into_iter().chain(gradients).collect();
    let program = Program::new(graph, outputs, Vec::new()).expect("outputs are floats");

    let inputs = inputs(plan);
    let run = |precision| evaluate(&program, &inputs, precision).expect("every input is given");
    let (wide, rounded) = (run(Precision::F64), run(Precision::RoundedF32));
    let finite = |values: &HashMap<NodeId, Value>| {
        program.outputs.iter().all(|id| values[id].data.iter().all(|x| x.is_finite()))
    };
    if !finite(&wide) || !finite(&rounded) {
        counts.not_finite += 1;
    } else if decisions(&program.graph, &wide) != decisions(&program.graph, &rounded) {
        counts.decided_otherwise += 1;
    } else if program.outputs.iter().any(|id| spread(&wide[id].data, &rounded[id].data) > SPREAD) {
        counts.apart += 1;
    } else {
        counts.kept += 1;
    }
}

/// The mean of −log softmax at token 0: any loss that reaches every logit.
fn loss(graph: &mut Graph, logits: NodeId) -> NodeId {
    let build = |graph: &mut Graph| -> primer_tensor::Result<NodeId> {
        let exponentials = graph.unary(UnaryOp::Exp, logits)?;
        let total = graph.reduce(ReduceOp::Sum, exponentials, 1)?;
        let log = graph.unary(UnaryOp::Log, total)?;
        let first = graph.slice(logits, 1, 0, 1)?;
        let losses = graph.sub(log, first)?;
        graph.sum_all(losses)
    };
    build(graph).expect("logits are a matrix")
}

fn inputs(plan: &Plan) -> HashMap<String, Vec<f64>> {
    let mut rng = Rng::new(5, 0, Purpose::LeakTest);
    let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
    for parameter in plan.parameters() {
        // As an f32 device would hold them, none at the 0 or 1 where it starts.
        let values = (0..parameter.numel()).map(|_| f64::from((0.3 * rng.normal()) as f32)).collect();
        inputs.insert(parameter.name.clone(), values);
    }
    let signal = positions(SIZES.sequence, plan.width()).into_iter().map(f64::from).collect();
    inputs.insert(POSITIONS.into(), signal);
    let tokens = (0..SIZES.batch * SIZES.sequence).map(|i| (i * 3 % SIZES.vocab) as f64).collect();
    inputs.insert(TOKENS.into(), tokens);
    inputs
}

/// The largest difference, relative to the largest element.
fn spread(wide: &[f64], rounded: &[f64]) -> f64 {
    let scale = wide.iter().fold(1e-30_f64, |scale, x| scale.max(x.abs()));
    wide.iter().zip(rounded).fold(0.0_f64, |apart, (w, r)| apart.max((w - r).abs())) / scale
}
