//! The optimizer and its learning rate.

pub mod adamw;
mod schedule;

pub use schedule::{Decay, ScheduleConfig};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// AdamW (Loshchilov & Hutter 2019) behind global-norm clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamWConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay, times the learning rate, of matrices only.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; 0 for no clipping.
    pub clip_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { learning_rate: 3e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-9, weight_decay: 0.1, clip_norm: 1.0 }
    }
}

impl AdamWConfig {
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
        if self.epsilon == 0.0 {
            return bad("epsilon", 0.0, "it must be positive, or parameters without a gradient become 0/0");
        }
        Ok(())
    }
}
