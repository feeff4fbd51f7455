//! The leak test: no output may depend on a later token.
//!
//! Causality holds by construction (see [`crate::lower`]); this proves it for each candidate before
//! it gets a fitness. Two checks, with every parameter random, since zeros hide leaks:
//!
//! * for every position t, the tokens after t are replaced, and the rows after t are made infinite:
//!   the outputs up to t must keep their bits;
//! * for every position t, the gradient of the outputs up to t by the blocks' input after t must be
//!   exactly 0 in f64.

use std::collections::HashMap;
use std::ops::Deref;

use primer_autodiff::grad_graph;
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{DType, Data, Device, Graph, InputKind, Program, State};

use crate::dna::Dna;
use crate::error::Result;
use crate::lower::{DISTURBANCE, Init, POSITIONS, Plan, Probe, Sizes, TOKENS, plan_narrow, plan_with_unit, positions};
use crate::rejection::Rejection;
use crate::rng::{Purpose, Rng};

/// Tokens a sequence in the test.
const SEQUENCE: usize = 16;

const SIZES: Sizes = Sizes { layers: 2, vocab: 29, sequence: SEQUENCE, batch: 1 };

/// A plan whose program has passed the [`leak_test`]: what a candidate is trained from, so that nothing that leaks gets a
/// fitness.
pub(crate) struct Causal(Plan);

impl Causal {
    /// # Errors
    /// Those of [`leak_test`].
    pub fn prove(dna: &Dna, plan: Plan) -> Result<Causal> {
        leak_test(dna, plan.unit(), &Device::cpu_with_threads(1))?;
        Ok(Causal(plan))
    }
}

impl Deref for Causal {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

/// Runs the leak test on a program with its unit; the bits are compared on `device`.
///
/// # Errors
///
/// [`Rejection::Leak`] with the first position that leaks; the reason for which the program can't be
/// lowered; the engine's errors.
pub fn leak_test(dna: &Dna, unit: u64, device: &Device) -> Result<()> {
    test(dna, unit, device, true)
}

fn test(dna: &Dna, unit: u64, device: &Device, masked: bool) -> Result<()> {
    compare_bits(&plan_with_unit(dna, unit, SIZES)?, device, masked)?;
    // Gradients don't need the width, and the reference is slow.
    compare_gradients(&plan_narrow(dna, unit, Sizes { batch: SEQUENCE, ..SIZES })?, masked)
}

/// Random values for each parameter, around its start and spread as that is: uniform, since these need no tails.
fn values(plan: &Plan) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut rng = Rng::new(0, 0, Purpose::LeakTest);
    // Of variance 1.
    let mut uniform = || (2.0 * rng.uniform() - 1.0) * 3f64.sqrt();
    let mut random = |init: Init| match init {
        Init::Normal(std) => (std * uniform()) as f32,
        Init::Constant(value) => (value + 0.5 * uniform()) as f32,
    };
    let parameters = plan.parameters().iter();
    let mut all: Vec<_> = parameters
        .map(|p| (p.name.clone(), p.shape.clone(), (0..p.numel()).map(|_| random(p.init)).collect()))
        .collect();
    let shape = vec![SEQUENCE, plan.width()];
    all.push((POSITIONS.into(), shape, positions(SEQUENCE, plan.width())));
    all
}

fn compare_bits(plan: &Plan, device: &Device, masked: bool) -> Result<()> {
    let mut graph = Graph::new();
    let lowered = plan.build_probed(&mut graph, Probe { disturbed: true, masked })?;
    let program = Program::new(graph, vec![lowered.logits], vec![])?;
    let mut executable = device.compile(&program)?;
    let mut state = State::new(device);
    for (name, shape, values) in values(plan) {
        state.insert(&name, shape.as_slice(), &values)?;
    }
    let mut rng = Rng::new(1, 0, Purpose::LeakTest);
    let tokens: Vec<u32> = (0..SEQUENCE).map(|_| rng.below(SIZES.vocab) as u32).collect();
    let still = vec![0.0; SEQUENCE * plan.width()];
    let mut run = |tokens: &[u32], disturbance: &[f32]| -> Result<Vec<f32>> {
        executable.run(&mut state, &[(TOKENS, Data::U32(tokens)), (DISTURBANCE, Data::F32(disturbance))])?;
        Ok(executable.output(0)?)
    };
    let base = run(&tokens, &still)?;
    let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    for t in 0..SEQUENCE - 1 {
        let mut other = tokens.clone();
        for token in &mut other[t + 1..] {
            let step = 1 + rng.below(SIZES.vocab - 1);
            *token = (*token + step as u32) % SIZES.vocab as u32;
        }
        let mut infinite = still.clone();
        infinite[(t + 1) * plan.width()..].fill(f32::INFINITY);
        let kept = (t + 1) * SIZES.vocab;
        for (check, output) in [("replaced tokens", run(&other, &still)?), ("infinite rows", run(&tokens, &infinite)?)]
        {
            if let Some(at) = (0..kept).find(|&i| !same(base[i], output[i])) {
                return Err(Rejection::Leak { position: at / SIZES.vocab, check: check.into() }.into());
            }
        }
    }
    Ok(())
}

/// One sequence of the batch for each t, whose loss sees the outputs up to t only.
fn compare_gradients(plan: &Plan, masked: bool) -> Result<()> {
    let mut graph = Graph::new();
    let lowered = plan.build_probed(&mut graph, Probe { disturbed: true, masked })?;
    let shape = graph.shape(lowered.logits).clone();
    let weights = graph.input("cotangent", InputKind::Data, shape, DType::F32)?;
    let weighted = graph.mul(lowered.logits, weights)?;
    let loss = graph.sum_all(weighted)?;
    let gradient = grad_graph(&mut graph, loss, &[lowered.block_input])?[0];
    let program = Program::new(graph, vec![gradient], vec![])?;

    let mut inputs: HashMap<String, Vec<f64>> = HashMap::new();
    for (name, _, values) in values(plan) {
        inputs.insert(name, values.into_iter().map(f64::from).collect());
    }
    let rows = SEQUENCE * SEQUENCE;
    let mut rng = Rng::new(2, 0, Purpose::LeakTest);
    let tokens: Vec<f64> = (0..SEQUENCE).map(|_| rng.below(SIZES.vocab) as f64).collect();
    inputs.insert(TOKENS.into(), tokens.repeat(SEQUENCE));
    inputs.insert(DISTURBANCE.into(), vec![0.0; rows * plan.width()]);
    // Sequence b of the batch tests t = b.
    let seen = |row: usize| row % SEQUENCE <= row / SEQUENCE;
    let cotangent = (0..rows * SIZES.vocab).map(|i| if seen(i / SIZES.vocab) { rng.normal() } else { 0.0 });
    inputs.insert("cotangent".into(), cotangent.collect());

    let values = evaluate(&program, &inputs, Precision::F64)?;
    let of_row = |row: usize| &values[&gradient].data[row * plan.width()..][..plan.width()];
    // The last sequence has the gradient of all outputs. Where that is no number, values overflow
    // within a row, and 0 times such a value says nothing of other positions.
    let overflows = |position: usize| of_row(rows - SEQUENCE + position).iter().any(|g| !g.is_finite());
    for t in 0..SEQUENCE {
        for later in t + 1..SEQUENCE {
            let leaks = |&g: &f64| if g.is_nan() { !overflows(later) } else { g != 0.0 };
            if of_row(t * SEQUENCE + later).iter().any(leaks) {
                return Err(Rejection::Leak { position: t, check: "gradient".into() }.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dna::seeds;
    use crate::error::Error;
    use crate::lower::Parameter;

    fn leak(error: Result<()>) -> Option<String> {
        match error {
            Err(Error::Rejected(Rejection::Leak { check, .. })) => Some(check),
            other => {
                other.unwrap();
                None
            }
        }
    }

    /// The test of the test: the seed without MASK passes by construction, and without the
    /// interpreter's masks the checks fail.
    #[test]
    fn without_masks_the_checks_fail() {
        let text = seeds::TRANSFORMER.replace(
            "h3 = MASK(h2)\n  h4 = RED_SUM(h3)\n  h5 = DIVIDE(h3, h4)",
            "h3 = RED_SUM(h2)\n  h4 = DIVIDE(h2, h3)",
        );
        let dna: Dna = text.parse().unwrap();
        assert_eq!(dna.inlined_size().live, 33, "one instruction less");
        let device = Device::reference();
        assert_eq!(leak(test(&dna, 4, &device, true)), None, "by construction");
        assert_eq!(leak(test(&dna, 4, &device, false)).as_deref(), Some("replaced tokens"));
        let plan = plan_with_unit(&dna, 4, Sizes { batch: SEQUENCE, ..SIZES }).unwrap();
        assert_eq!(leak(compare_gradients(&plan, false)).as_deref(), Some("gradient"));
        assert_eq!(leak(compare_gradients(&plan, true)), None);
    }

    /// Keys of the second half are so far off that their scores overflow EXP for the queries of the first half, and for
    /// those alone: no value and no gradient may be 0 times that.
    #[test]
    fn an_overflow_at_a_future_score_is_never_seen() {
        const SEEN: usize = SEQUENCE / 2;
        let text = "constants -0.1 0\ndims 2 1 1 1 1 1\nS0:\nh2 = SCALE(h0)\nh3 = C_MUL(h2) c0\nh4 = ABS(h2)\n\
            h5 = T_MAT_MUL(h3, h4)\nh6 = EXP(h5)\nh7 = MASK(h6)\nh8 = MAT_MUL(h7, h2)\nh9 = TANH(h8)";
        let dna: Dna = text.parse().unwrap();
        assert_eq!(leak(test(&dna, 4, &Device::cpu_with_threads(1), true)), None);
        let plan = plan_with_unit(&dna, 4, Sizes { layers: 1, ..SIZES }).unwrap();
        let width = plan.width();
        let run = |later: f64, masked: bool| {
            let mut graph = Graph::new();
            let lowered = plan.build_probed(&mut graph, Probe { disturbed: true, masked }).unwrap();
            let output = graph.slice(lowered.block_output, 0, 0, SEEN).unwrap();
            let loss = graph.sum_all(output).unwrap();
            let gradient = grad_graph(&mut graph, loss, &[lowered.block_input]).unwrap()[0];
            let program = Program::new(graph, vec![output, gradient], vec![]).unwrap();
            // Without embedding and positions the block's input is the disturbance.
            let start = |p: &Parameter| vec![f64::from(p.layer.is_some()); p.numel()];
            let mut inputs: HashMap<String, Vec<f64>> =
                plan.parameters().iter().map(|p| (p.name.clone(), start(p))).collect();
            let x = (0..SEQUENCE * width).map(|i| if i < SEEN * width { -0.1 * (1 + i % 3) as f64 } else { later });
            inputs.insert(DISTURBANCE.into(), x.collect());
            inputs.insert(POSITIONS.into(), vec![0.0; SEQUENCE * width]);
            inputs.insert(TOKENS.into(), vec![0.0; SEQUENCE]);
            let values = evaluate(&program, &inputs, Precision::F64).unwrap();
            [output, gradient].map(|id| values[&id].data.clone())
        };
        let [near, _] = run(-0.1, true);
        let [far, gradient] = run(1e6, true);
        assert_eq!(far, near);
        let (seen, later) = gradient.split_at(SEEN * width);
        assert!(seen.iter().all(|g| g.is_finite()) && seen.iter().any(|&g| g != 0.0), "{seen:?}");
        assert!(later.iter().all(|&g| g == 0.0), "{later:?}");
        let [_, unmasked] = run(1e6, false);
        assert!(unmasked.iter().any(|g| g.is_nan()), "nothing overflows: {unmasked:?}");
    }
}
