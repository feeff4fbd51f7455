//! How long a step takes: several models timed in turns, so that what slows the machine for a while slows all of them
//! alike.

use std::sync::atomic::{AtomicBool, Ordering};

use primer_tensor::Device;
use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::analysis::quantile;
use crate::error::Result;
use crate::settings::RunConfig;
use crate::text::Corpus;

/// Timed blocks of each model.
pub const BLOCKS: usize = 20;
/// Steps of a block.
pub const BLOCK_STEPS: u64 = 10;

/// The time of one model's training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Seconds a step: the median block.
    pub median: f64,
    /// A quarter of the blocks is faster than the first of these, a quarter slower than the second.
    pub quartiles: [f64; 2],
    /// Seconds a step of each block, in the order in which they ran.
    pub blocks: Vec<f64>,
}

impl StepTime {
    fn of(blocks: Vec<f64>) -> Self {
        let share = |q| quantile(&blocks, q).unwrap_or(f64::NAN);
        Self { median: share(0.5), quartiles: [share(0.25), share(0.75)], blocks }
    }
}

/// Times a training step of each configuration: after a block of warm-up each, [`BLOCKS`] blocks of [`BLOCK_STEPS`]
/// steps, the models in turns. All of them are in memory at once. What they learn is thrown away. `on_block` hears how
/// many of how many blocks are done; none once `stop` is set.
///
/// # Errors
/// As [`Trainer::new`]; [`Error::Tensor`](crate::Error::Tensor) from the device.
pub fn calibrate(
    configs: &[RunConfig],
    corpus: &Corpus,
    device: &Device,
    stop: &AtomicBool,
    on_block: &mut dyn FnMut(usize, usize),
) -> Result<Option<Vec<StepTime>>> {
    let build = |config: &RunConfig| {
        let mut config = config.clone();
        // The loss is read, which waits for the device, at the end of a block and nowhere else.
        config.train.log_every = u64::MAX;
        Trainer::new(&config, corpus, device)
    };
    let mut trainers = configs.iter().map(build).collect::<Result<Vec<_>>>()?;
    let mut done = 0;
    let all = configs.len() * (BLOCKS + 1);
    let blocks = in_turns(configs.len(), &mut |arm| {
        let trainer = &mut trainers[arm];
        let before = trainer.seconds();
        trainer.run(trainer.step() + BLOCK_STEPS, stop, &mut |_| {})?;
        trainer.report(&mut |_| {})?;
        done += 1;
        on_block(done, all);
        let seconds = (trainer.seconds() - before) / BLOCK_STEPS as f64;
        Ok((!stop.load(Ordering::Relaxed)).then_some(seconds))
    })?;
    Ok(blocks.map(|blocks| blocks.into_iter().map(StepTime::of).collect()))
}

/// Runs a block of warm-up of each arm, then [`BLOCKS`] rounds of one block each, and gives what `block` measured by
/// arm; none once it gives none.
fn in_turns(arms: usize, block: &mut dyn FnMut(usize) -> Result<Option<f64>>) -> Result<Option<Vec<Vec<f64>>>> {
    for arm in 0..arms {
        if block(arm)?.is_none() {
            return Ok(None);
        }
    }
    let mut times = vec![Vec::with_capacity(BLOCKS); arms];
    for round in 0..BLOCKS {
        for arm in order(round, arms) {
            match block(arm)? {
                Some(seconds) => times[arm].push(seconds),
                None => return Ok(None),
            }
        }
    }
    Ok(Some(times))
}

/// The order of the arms in a round. Every second round is the one before it backwards, so that a machine that drifts
/// favours no one, and each pair begins with another arm, so that no one always follows the same.
fn order(round: usize, arms: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..arms).map(|place| (round / 2 + place) % arms).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arm_gains_by_its_place() {
        for arms in [2, 3, 5] {
            let mut places = vec![0; arms];
            for round in (0..2 * arms).step_by(2) {
                let (forth, back) = (order(round, arms), order(round + 1, arms));
                assert_eq!(forth.iter().rev().copied().collect::<Vec<_>>(), back);
                for (place, arm) in forth.iter().chain(&back).enumerate() {
                    places[*arm] += place;
                }
                let mut sorted = forth.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..arms).collect::<Vec<_>>(), "everyone once");
            }
            assert!(places.iter().all(|&sum| sum == places[0]), "{places:?}");
        }
    }

    #[test]
    fn each_arm_warms_up_and_then_runs_every_block() {
        let mut ran = Vec::new();
        let times = in_turns(3, &mut |arm| {
            ran.push(arm);
            Ok(Some(ran.len() as f64))
        });
        let times = times.unwrap().unwrap();
        assert_eq!(ran[..6], [0, 1, 2, 0, 1, 2]);
        assert_eq!(ran.len(), 3 * (BLOCKS + 1));
        assert!(times.iter().all(|blocks| blocks.len() == BLOCKS && blocks.iter().all(|&t| t > 3.0)), "{times:?}");
        let mut left = 10;
        let stopped = in_turns(3, &mut |_| {
            left -= 1;
            Ok((left > 0).then_some(1.0))
        });
        assert_eq!((stopped.unwrap(), left), (None, 0));
    }

    #[test]
    fn the_median_block_is_the_time_of_a_step() {
        let time = StepTime::of(vec![1.0, 9.0, 2.0, 3.0, 100.0]);
        assert_eq!((time.median, time.quartiles), (3.0, [2.0, 9.0]));
    }
}
