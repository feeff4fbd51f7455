//! Evolved programs on devices, forward and backward, against the oracle.

use primer_search::dna::Dna;
use primer_search::lower::{Init, Plan, Sizes, plan_with_unit, positions};
use primer_search::rng::{Purpose, Rng};
use primer_tensor::gpu::{GpuDevice, GpuOptions};
use primer_tensor::{Device, Program};

use crate::export::{lowered, mutated, with_gradients};
use crate::support::compare::{EPSILON, Expected, expect, mismatch, run};
use crate::support::leaves::Values;

const SIZES: Sizes = Sizes { layers: 1, vocab: 5, sequence: 4, batch: 2 };

/// Programs that are drawn at most.
const DRAWN: u64 = 200;

/// The largest value on the way: what is allowed for equal terms that cancel grows with it.
const LARGEST: f64 = 100.0;

/// A program with what the oracle says of it.
struct Judged {
    dna: Dna,
    program: Program,
    inputs: Vec<(String, Values)>,
    expected: Expected,
}

/// Parameters around their start and spread as that is, none of them 0 or 1; the position signal, tokens and targets.
fn inputs(plan: &Plan) -> Vec<(String, Values)> {
    let Sizes { vocab, sequence, batch, .. } = plan.sizes();
    let mut rng = Rng::new(13, 0, Purpose::InitialValues);
    let mut inputs = Vec::new();
    for parameter in plan.parameters() {
        let (middle, std) = match parameter.init {
            Init::Normal(std) => (0.0, std),
            Init::Constant(value) => (value, 0.5),
        };
        let values = (0..parameter.numel()).map(|_| (middle + std * rng.normal()) as f32);
        inputs.push((parameter.name.clone(), Values::F32(values.collect())));
    }
    inputs.push(("positions".to_owned(), Values::F32(positions(sequence, plan.width()))));
    for name in ["tokens", "targets"] {
        let values = (0..batch * sequence).map(|_| rng.below(vocab) as u32);
        inputs.push((name.to_owned(), Values::U32(values.collect())));
    }
    inputs
}

/// A few mutations away from a built-in program; none where it is too large, or the oracle isn't sure of it.
fn judge(number: u64) -> Option<Judged> {
    let dna = mutated(number, 1 + number as usize % 12);
    let plan = plan_with_unit(&dna, 8, SIZES).ok()?;
    if plan.bytes() > 1 << 20 || plan.flops() > 1 << 17 {
        return None;
    }
    let program = Program::trace(&with_gradients(&plan, &lowered(&plan)), &[]).unwrap();
    let inputs = inputs(&plan);
    let expected = expect(&program, &inputs);
    let is_sure = expected.stable && expected.finite && expected.largest < LARGEST;
    is_sure.then_some(Judged { dna, program, inputs, expected })
}

/// The first `wanted` programs that say something.
fn agrees(device: &Device, wanted: usize) {
    let judged: Vec<Judged> = (0..DRAWN).filter_map(judge).take(wanted).collect();
    assert_eq!(judged.len(), wanted, "of {DRAWN} programs no more say anything");
    for Judged { dna, program, inputs, expected } in judged {
        let found = run(device, &program, &inputs).unwrap_or_else(|error| panic!("{device}: {error} in\n{dna}"));
        let wrong = mismatch(&program, &expected, &found, EPSILON * expected.largest);
        assert!(wrong.is_none(), "{device}: {} in\n{dna}", wrong.unwrap_or_default());
    }
}

#[test]
fn evolved_programs_agree_with_the_oracle_on_the_cpu() {
    agrees(&Device::cpu_with_threads(1), 20);
}

#[test]
fn evolved_programs_agree_with_the_oracle_on_a_gpu() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("an adapter; `cargo xtask test --setup` installs one");
    agrees(&Device::Gpu(gpu), 6);
}
