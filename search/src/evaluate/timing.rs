//! What steps take on this machine: the study's roofline, and whether programs cost what it predicts.

use std::time::Instant;

use primer_models::analysis::median;

use super::Evaluator;
use crate::dna::Dna;
use crate::error::Result;
use crate::roofline::{Roofline, kind_of};

/// Steps before the seed's step is timed, and steps timed.
const TIMED_STEPS: [usize; 2] = [5, 25];

/// Turns that programs take while their steps are timed, and steps of a turn.
const TURNS: usize = 9;
const STEPS_A_TURN: usize = 5;

impl Evaluator {
    /// The study's roofline as this device gives it, from timed steps of the seed program.
    ///
    /// # Errors
    /// Those of [`Evaluator::prepare`]; the engine's.
    pub fn measure_roofline(&self) -> Result<Roofline> {
        let mut seed = self.prepare(&self.spec.seed_dna.parse()?)?;
        let [before, timed] = TIMED_STEPS;
        for _ in 0..before {
            seed.step()?;
        }
        let mut steps = Vec::new();
        let mut launches: Vec<Vec<f64>> = Vec::new();
        for _ in 0..timed {
            let began = Instant::now();
            seed.step()?;
            // Reading the loss waits for the device.
            seed.loss()?;
            steps.push(began.elapsed().as_secs_f64());
            launches.push(seed.timed_step()?);
        }
        // What disturbs a measurement makes it longer: the lower quartile is close to the undisturbed machine.
        let quartile = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 4]
        };
        let count = launches.iter().map(Vec::len).min().unwrap_or(0);
        let each = (0..count).map(|i| quartile(launches.iter().map(|step| step[i]).collect())).collect::<Vec<_>>();
        Ok(Roofline::fit(kind_of(&self.device), seed.executable(), &each, quartile(steps)))
    }

    /// What a step of each program takes, measured, over what is predicted for it; that of the seed program is 1. The
    /// programs take turns, so that what else the machine does meets all of them.
    ///
    /// # Errors
    /// Those of [`Evaluator::prepare`].
    pub fn measured_over_predicted(&self, programs: &[Dna]) -> Result<Vec<f64>> {
        let mut trainings = vec![self.prepare(&self.spec.seed_dna.parse()?)?];
        for dna in programs {
            trainings.push(self.prepare(dna)?);
        }
        let mut times = vec![Vec::new(); trainings.len()];
        for turn in 0..=TURNS {
            for (training, times) in trainings.iter_mut().zip(&mut times) {
                let began = Instant::now();
                for _ in 0..STEPS_A_TURN {
                    training.step()?;
                }
                training.loss()?;
                // The first turn warms up.
                if turn > 0 {
                    times.push(began.elapsed().as_secs_f64());
                }
            }
        }
        let ratios = trainings.iter().zip(&times).map(|(training, times)| {
            let (_, predicted) = self.step_cost(training);
            median(times).unwrap_or(f64::NAN) / predicted
        });
        let ratios: Vec<f64> = ratios.collect();
        Ok(ratios[1..].iter().map(|ratio| ratio / ratios[0]).collect())
    }
}
