//! A run's configuration: one TOML file that holds everything in force, and `key=value` overrides.
//!
//! Keys are `table.key` (`train.batch`); the table may be left out (`batch`), since no two tables share a key. Numbers
//! are plain here; units such as `30s` are the command line's.

use std::path::Path;

use primer_tensor::Device;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::{Arch, ModelConfig, Size};
use crate::error::{Error, Result};
use crate::names::{find_key, plain_reason};
use crate::optim::{OptimizerConfig, ScheduleConfig};
use crate::text::TokenizerSpec;

/// In what matrix products read what they multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, on every device.
    #[default]
    F32,
    /// 16 bits for activations and their gradients, on a GPU that has them: less memory and traffic. Sums, weights, the
    /// optimizer and everything else stay in 32 bits. Mixed precision (Micikevicius et al. 2018).
    F16,
}

impl Precision {
    /// The device, as it computes in this precision.
    ///
    /// # Errors
    /// [`Error::BadValue`] where it can't.
    pub fn on(self, device: &Device) -> Result<Device> {
        match self {
            Self::F32 => Ok(device.clone()),
            Self::F16 => device.clone().with_half_operands().map_err(|error| Error::BadValue {
                key: "train.precision".into(),
                value: "f16".into(),
                reason: format!("{error}; it takes a GPU with shader-f16, which `primer devices` tells"),
            }),
        }
    }

    /// What the loss is multiplied by before the gradient is taken, and the gradient divided by after, so that what has
    /// 16 bits between them lies well within their range: a power of two, so that neither rounds. The cross entropy of
    /// `tokens`, which is their mean, then gives the logits of a token a gradient of up to 16 to 32.
    pub(crate) fn loss_scale(self, tokens: usize) -> f64 {
        match self {
            Self::F32 => 1.0,
            Self::F16 => 16.0 * tokens.next_power_of_two() as f64,
        }
    }
}

/// How long, how wide and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Sequences that are computed at once.
    pub batch: usize,
    /// Such batches a step, whose mean gradient it takes: gradient accumulation.
    pub accumulate: usize,
    /// Keep only each block's input from the forward to the backward pass, which computes the inside of the block
    /// again: less memory, more time, the same numbers. Activation checkpointing.
    pub recompute_activations: bool,
    /// `f32`, or `f16` on a GPU that has it: mixed precision. Not in settings of older versions.
    #[serde(default)]
    pub precision: Precision,
    /// Weight of the squared log of the softmax's denominator, which training adds to the loss to keep it near 0.
    pub z_loss: f64,
    /// Steps the learning-rate schedule spans.
    pub steps: u64,
    /// Seed of the initial weights and of the batches.
    pub seed: u64,
    /// Steps between evaluations; 0 for none.
    pub eval_every: u64,
    /// Batches an evaluation during training takes at most.
    pub eval_batches: usize,
    /// Steps between readings of the loss; a run with a folder reads it every two seconds besides.
    pub log_every: u64,
    /// Steps between checkpoints; 0 for none but the last.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Steps between samples, texts that the model writes as it stands; 0 for none.
    pub sample_every: u64,
    /// What samples go on from; empty for a line break.
    pub sample_prompt: String,
}

/// How text becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// `bytes`, or `bpe:N` for byte-pair encoding with at most N tokens, trained on the corpus.
    pub tokenizer: TokenizerSpec,
}

/// Everything that decides a training run but the text and the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The model.
    pub model: ModelConfig,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// The loop.
    pub train: TrainConfig,
    /// The tokens.
    pub text: TextConfig,
}

impl RunConfig {
    /// The defaults for `arch` at `size`.
    pub fn new(arch: Arch, size: Size) -> Self {
        Self {
            model: ModelConfig::new(arch, size),
            optimizer: OptimizerConfig {
                // The smallest width learns faster at a higher rate (300 steps on `rust`: 2.17 nats at 3e-3, 2.11 at
                // 6e-3).
                learning_rate: if size == Size::Nano { 6e-3 } else { 3e-3 },
                ..OptimizerConfig::default()
            },
            schedule: ScheduleConfig::default(),
            train: TrainConfig {
                batch: size.batch(),
                accumulate: 1,
                recompute_activations: false,
                precision: Precision::F32,
                z_loss: 0.0,
                steps: 1000,
                seed: 0,
                eval_every: 100,
                eval_batches: 8,
                log_every: 10,
                checkpoint_every: 500,
                keep: 3,
                sample_every: 0,
                sample_prompt: String::new(),
            },
            text: TextConfig { tokenizer: TokenizerSpec::Bytes },
        }
    }

    /// Tokens that a step trains on.
    pub fn tokens_per_step(&self) -> u64 {
        [self.train.batch, self.train.accumulate, self.model.seq]
            .into_iter()
            .map(|n| n as u64)
            .fold(1, u64::saturating_mul)
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// [`Error::BadValue`] when a number doesn't fit TOML (a seed above 2⁶³ − 1).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::BadValue {
            key: "config".into(),
            value: "this run's configuration".into(),
            reason: e.to_string(),
        })
    }

    /// Lays the values of a TOML file over this configuration; keys it doesn't name keep their values.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::BadConfig`], [`Error::UnknownKey`], [`Error::BadValue`]; the configuration is then
    /// unchanged.
    pub fn apply_file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let file: Table = text
            .parse()
            .map_err(|e: toml::de::Error| Error::BadConfig { path: path.to_owned(), reason: e.message().to_owned() })?;
        let mut next = self.clone();
        for (name, value) in &file {
            match value {
                Value::Table(inner) => {
                    for (key, value) in inner {
                        next.put(&format!("{name}.{key}"), value)?;
                    }
                }
                value => next.put(name, value)?,
            }
        }
        *self = next;
        Ok(())
    }

    /// Applies one `key=value`.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] naming those that may be meant, [`Error::BadValue`]; the configuration is then unchanged.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(Error::BadValue {
                key: assignment.to_owned(),
                value: String::new(),
                reason: "write key=value".into(),
            });
        };
        self.put(key.trim(), &Value::String(value.trim().trim_matches('"').to_owned()))
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::BadValue`] naming the key.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.optimizer.validate()?;
        self.schedule.validate()?;
        let train = &self.train;
        let bad = |key: &str, value: String, reason: &str| {
            Err(Error::BadValue { key: format!("train.{key}"), value, reason: reason.into() })
        };
        self.model.check_batch(train.batch)?;
        if train.steps == 0 {
            return bad("steps", train.steps.to_string(), "it must be at least 1");
        }
        if !(1..=1 << 20).contains(&train.accumulate) {
            return bad("accumulate", train.accumulate.to_string(), "it must lie between 1 and 1048576");
        }
        if !(0.0..=1.0).contains(&train.z_loss) {
            return bad("z_loss", train.z_loss.to_string(), "it must lie between 0 and 1");
        }
        if train.eval_batches == 0 {
            return bad("eval_batches", train.eval_batches.to_string(), "it must be at least 1");
        }
        if train.log_every == 0 {
            return bad("log_every", train.log_every.to_string(), "it must be at least 1");
        }
        if i64::try_from(train.seed).is_err() {
            return bad("seed", train.seed.to_string(), "it must be below 2^63");
        }
        Ok(())
    }

    /// Every `table.key` there is.
    pub fn keys() -> Vec<String> {
        let table = Self::new(Arch::Vanilla, Size::Nano).table();
        let inner = |(name, value): (&String, &Value)| -> Vec<String> {
            value.as_table().into_iter().flat_map(|t| t.keys()).map(|key| format!("{name}.{key}")).collect()
        };
        table.iter().flat_map(inner).collect()
    }

    fn table(&self) -> Table {
        // Only a seed beyond i64 can't be TOML; it is kept out by `put`.
        Table::try_from(self).unwrap_or_default()
    }

    fn put(&mut self, key: &str, value: &Value) -> Result<()> {
        let keys = Self::keys();
        let unknown = |meant| Error::UnknownKey { key: key.to_owned(), meant };
        let full = find_key(key, &keys).map_err(unknown)?;
        let (table, leaf) = full.split_once('.').unwrap_or((full, ""));
        let mut all = self.table();
        let Some(slot) = all.get_mut(table).and_then(Value::as_table_mut).and_then(|t| t.get_mut(leaf)) else {
            return Err(unknown(Vec::new()));
        };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let bad = |reason: String| Error::BadValue { key: full.to_owned(), value: shown.clone(), reason };
        *slot = coerce(slot, value, &shown).map_err(&bad)?;
        *self = all.try_into().map_err(|e: toml::de::Error| bad(plain_reason(e.message())))?;
        Ok(())
    }
}

/// `value` in the type of `slot`: text is read as what the slot holds, whole numbers serve as floats.
fn coerce(slot: &Value, value: &Value, shown: &str) -> std::result::Result<Value, String> {
    match (slot, value) {
        (Value::String(_), Value::String(text)) => Ok(Value::String(text.clone())),
        (Value::Integer(_), Value::Integer(_))
        | (Value::Float(_), Value::Float(_))
        | (Value::Boolean(_), Value::Boolean(_)) => Ok(value.clone()),
        (Value::Float(_), Value::Integer(n)) => Ok(Value::Float(*n as f64)),
        (Value::Integer(_), Value::String(text)) => {
            text.replace('_', "").parse().map(Value::Integer).map_err(|_| "a whole number is needed".into())
        }
        (Value::Float(_), Value::String(text)) => {
            text.parse().map(Value::Float).map_err(|_| "a number is needed".into())
        }
        (Value::Boolean(_), Value::String(text)) => {
            text.parse().map(Value::Boolean).map_err(|_| "true or false is needed".into())
        }
        _ => Err(format!("{shown} has another type than {slot}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tables_share_a_key() {
        let mut ends: Vec<String> = RunConfig::keys().iter().map(|k| k.split_once('.').unwrap().1.to_owned()).collect();
        let count = ends.len();
        ends.sort();
        ends.dedup();
        assert_eq!(ends.len(), count, "{ends:?}");
    }
}
