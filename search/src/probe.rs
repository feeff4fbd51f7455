//! A fingerprint of what a program computes, whatever it looks like: the functional equivalence check of AutoML-Zero
//! (Real et al. 2020, section 4.2).
//!
//! The program is a tiny model's block and takes a few steps of gradient descent on a fixed text, from fixed starts, on
//! the oracle. Programs with the same losses are taken for the same function. Others than those with the same canonical
//! form can be among them, such as one that takes the absolute value of an exponential; and so can, rarely, two that
//! differ where the text doesn't show it, for which reason a score is not passed on for ever (see
//! [`StudySpec`](crate::study::StudySpec)).

use std::collections::HashMap;

use primer_autodiff::grad_tensors;
use primer_tensor::{DType, Data, Device, Graph, Program, State, Tensor};
use sha2::{Digest, Sha256};

use crate::dna::Dna;
use crate::error::Result;
use crate::lower::{POSITIONS, Plan, Sizes, TOKENS, initial_values, plan_narrow, positions};
use crate::rng::{Purpose, Rng};

const SIZES: Sizes = Sizes { layers: 1, vocab: 16, sequence: 8, batch: 2 };

/// Steps of gradient descent; the loss is read before each, and after the last.
const STEPS: usize = 3;

/// Large, so that what the gradient says is seen after a step.
const LEARNING_RATE: f64 = 0.5;

/// The input with the tokens to predict.
const TARGETS: &str = "targets";

/// The fingerprint, in hexadecimal; none for a program whose losses aren't all finite, of which nothing is known.
///
/// # Errors
/// The reason for which the program can't be lowered with a unit up to `unit`; the engine's errors.
pub fn fingerprint(dna: &Dna, unit: u64) -> Result<Option<String>> {
    let plan = plan_narrow(dna, unit, SIZES)?;
    let losses = losses(&plan)?;
    if losses.iter().any(|loss| !loss.is_finite()) {
        return Ok(None);
    }
    // Seven digits: the order of sums, which an edit may change, moves the last bits of an f64 only.
    let text: Vec<String> = losses.iter().map(|loss| format!("{loss:.6e}")).collect();
    let digest = Sha256::digest(format!("{} {}", plan.width(), text.join(" ")));
    Ok(Some(digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn losses(plan: &Plan) -> Result<Vec<f32>> {
    let mut graph = Graph::new();
    let lowered = plan.build(&mut graph)?;
    let nodes = Tensor::raise(&graph, &HashMap::new());
    let weights: Vec<Tensor> = lowered.parameters.iter().map(|id| nodes[id.index()].clone()).collect();
    let rows = SIZES.batch * SIZES.sequence;
    let loss = nodes[lowered.logits.index()].cross_entropy(&Tensor::data(TARGETS, [rows], DType::U32)).mean();
    let gradients = grad_tensors(&loss, &weights)?;
    let updates: Vec<(Tensor, Tensor)> =
        weights.iter().zip(gradients).map(|(w, g)| (w.clone(), w - g * LEARNING_RATE)).collect();

    let device = Device::reference();
    let mut step = device.compile(&Program::trace(&[loss], &updates)?)?;
    let mut state = State::new(&device);
    for parameter in plan.parameters() {
        state.insert(&parameter.name, parameter.shape.as_slice(), &initial_values(parameter, 0))?;
    }
    state.insert(POSITIONS, [SIZES.sequence, plan.width()], &positions(SIZES.sequence, plan.width()))?;
    let mut rng = Rng::new(0, 0, Purpose::Probe);
    let mut all = Vec::new();
    for _ in 0..=STEPS {
        let mut tokens = || -> Vec<u32> { (0..rows).map(|_| rng.below(SIZES.vocab) as u32).collect() };
        let (inputs, targets) = (tokens(), tokens());
        step.run(&mut state, &[(TOKENS, Data::U32(&inputs)), (TARGETS, Data::U32(&targets))])?;
        all.extend(step.output(0)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::canonical_hash;
    use crate::dna::seeds;

    fn of(text: &str) -> Option<String> {
        fingerprint(&text.parse().unwrap(), 32).unwrap()
    }

    #[test]
    fn what_computes_the_same_has_the_same_fingerprint() {
        let seed = of(seeds::TRANSFORMER).unwrap();
        let all: Vec<_> = seeds::PROGRAMS.iter().map(|(_, text)| of(text).unwrap()).collect();
        assert!(all.iter().enumerate().all(|(i, a)| all[..i].iter().all(|b| a != b)), "{all:?}");

        // The absolute value of an exponential: another program, the same function.
        let longer = seeds::TRANSFORMER.replace(
            "h3 = MASK(h2)\n  h4 = RED_SUM(h3)\n  h5 = DIVIDE(h3, h4)",
            "h3 = ABS(h2)\n  h4 = MASK(h3)\n  h5 = RED_SUM(h4)\n  h6 = DIVIDE(h4, h5)",
        );
        let (dna, first): (Dna, Dna) = (longer.parse().unwrap(), seeds::TRANSFORMER.parse().unwrap());
        assert_ne!(canonical_hash(&dna).unwrap(), canonical_hash(&first).unwrap());
        assert_eq!(of(&longer), Some(seed.clone()));
        // Another constant is another function.
        assert_ne!(of(&seeds::TRANSFORMER.replace("constants 0.0 0.25", "constants 0.0 0.3")), Some(seed));
    }

    #[test]
    fn a_program_that_overflows_has_none() {
        let text = "constants 0.0 0.25\ndims 2 8 1 1 4 16\n\nS0 MAIN:\n  h2 = CONV_1X1(h0) d0\n  h3 = EXP(h2)\n  h4 = EXP(h3)\n  h5 = EXP(h4)\n  h6 = EXP(h5)\n";
        assert_eq!(of(text), None);
    }
}
