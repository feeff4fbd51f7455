//! Optimizers and the learning rate.
//!
//! An optimizer is graph: the gradients come in, new values of the state's entries go out. Before either sees them,
//! gradients are clipped by their global norm; where one isn't finite, everything keeps its old value and
//! [`NON_FINITE`] is set.

pub mod adafactor;
pub mod adamw;
mod schedule;

pub use schedule::{Decay, ScheduleConfig};

use primer_tensor::{CompareOp, DType, State, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::ParamSpec;

/// The state entry that becomes 1 for ever once a gradient wasn't finite.
pub const NON_FINITE: &str = "optimizer.non_finite";

/// The scalar data input with a step's learning rate.
pub const LEARNING_RATE: &str = "learning_rate";

/// Which rule makes steps of gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw,
    /// Adafactor without momentum (Shazeer & Stern 2018), as the paper's experiments have it. Of the settings it takes
    /// the learning rate and the clipping.
    Adafactor,
}

impl Optimizer {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::Adamw, Self::Adafactor];

    /// What it keeps of each parameter, in words.
    pub fn keeps(self) -> &'static str {
        match self {
            Self::Adamw => "AdamW's moments",
            Self::Adafactor => "Adafactor's factored moments",
        }
    }

    /// The name in configurations, and of its entries in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adamw => "adamw",
            Self::Adafactor => "adafactor",
        }
    }
}

/// An optimizer behind global-norm clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The rule.
    pub optimizer: Optimizer,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// AdamW: decay of the first moment.
    pub beta1: f64,
    /// AdamW: decay of the second moment.
    pub beta2: f64,
    /// AdamW: added to the root of the second moment.
    pub epsilon: f64,
    /// AdamW: decoupled decay, times the learning rate, of matrices only.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; 0 for no clipping.
    pub clip_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            optimizer: Optimizer::Adamw,
            learning_rate: 3e-3,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-9,
            weight_decay: 0.1,
            clip_norm: 1.0,
        }
    }
}

impl OptimizerConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadValue`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, value: f64, reason: &str| {
            Err(Error::BadValue { key: format!("optimizer.{key}"), value: value.to_string(), reason: reason.into() })
        };
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return bad(key, value, "it must be at least 0 and below 1");
            }
        }
        let amounts = [
            ("learning_rate", self.learning_rate),
            ("epsilon", self.epsilon),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
        ];
        for (key, value) in amounts {
            if !(0.0..=1e6).contains(&value) {
                return bad(key, value, "it must be a finite number, not negative");
            }
        }
        if self.epsilon as f32 == 0.0 {
            return bad("epsilon", self.epsilon, "it must be positive, or parameters without a gradient become 0/0");
        }
        Ok(())
    }

    /// Names and shapes of what it keeps for these parameters, in the state and in checkpoints.
    pub fn entries(&self, specs: &[ParamSpec]) -> Vec<(String, Vec<usize>)> {
        let of = match self.optimizer {
            Optimizer::Adamw => adamw::entries,
            Optimizer::Adafactor => adafactor::entries,
        };
        specs.iter().flat_map(of).collect()
    }

    /// Puts what [`OptimizerConfig::updates`] reads and writes beside the parameters into a state: all 0.
    ///
    /// # Errors
    /// What the device says of the allocation.
    pub fn insert_start(&self, state: &mut State, specs: &[ParamSpec]) -> primer_tensor::Result<()> {
        for (name, shape) in self.entries(specs) {
            state.insert_zeros(&name, shape)?;
        }
        state.insert(NON_FINITE, [1], &[0.0])
    }

    /// The scalar inputs of step `step`, counted from 0, computed in f64: the learning rate, which is the peak times
    /// `rate_factor`, and what the rule corrects over the first steps.
    pub fn scalars(&self, rate_factor: f64, step: u64) -> Vec<(&'static str, f32)> {
        let mut scalars = match self.optimizer {
            Optimizer::Adamw => adamw::scalars(self, step).to_vec(),
            Optimizer::Adafactor => adafactor::scalars(step).to_vec(),
        };
        scalars.push((LEARNING_RATE, (self.learning_rate * rate_factor) as f32));
        scalars
    }

    /// State updates `(entry, new value)` of one step, after clipping: g ← g · min(1, clip/‖g‖).
    pub fn updates(&self, specs: &[ParamSpec], weights: &[Tensor], gradients: &[Tensor]) -> Vec<(Tensor, Tensor)> {
        let (one, zero) = (Tensor::constant(1.0), Tensor::constant(0.0));
        // Gradients are computed in the order in which the norm asks for them. The last layer's come first, as the
        // backward pass has them: then no activation and no cotangent outlives its layer.
        let squares = gradients.iter().rev().map(|g| g.square().sum().reshape([1]));
        let norm_squared = squares.reduce(|a, b| a + b).unwrap_or_else(|| zero.reshape([1]));
        // A boolean can't be broadcast, so the verdict travels as 0 or 1.
        let finite = norm_squared.is_finite().select(&one, &zero);
        let clip = (self.clip_norm > 0.0).then(|| {
            let limit = Tensor::constant(self.clip_norm);
            &limit / norm_squared.sqrt().maximum(&limit)
        });

        let flag = Tensor::state(NON_FINITE, [1]);
        let mut updates = vec![(flag.clone(), flag.maximum(&(&one - &finite)))];
        for ((spec, weight), gradient) in specs.iter().zip(weights).zip(gradients) {
            let g = match &clip {
                Some(scale) => gradient * scale,
                None => gradient.clone(),
            };
            let new = match self.optimizer {
                Optimizer::Adamw => adamw::update(self, spec, weight, &g),
                Optimizer::Adafactor => adafactor::update(spec, weight, &g),
            };
            for (old, new) in new {
                let keep = finite.broadcast_to(old.shape()).compare(CompareOp::Less, &Tensor::constant(0.5));
                let value = keep.select(&old, &new);
                updates.push((old, value));
            }
        }
        updates
    }
}

fn scalar(name: &str) -> Tensor {
    Tensor::data(name, [1], DType::F32)
}
