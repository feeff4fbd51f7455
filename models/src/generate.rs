//! A trained model in use: log-probabilities, text, and its loss on a whole text.

use std::path::Path;

use primer_tensor::{DType, Data, Device, Executable, Program, State, Tensor};
use serde::{Deserialize, Serialize};

use crate::arch::{Model, TOKENS};
use crate::checkpoint::{self, Checkpoint, NamedTensor};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::rng::Stream;
use crate::text::{Batch, ByteTokenizer, TokenSet};

const TARGETS: &str = "targets";
/// Windows an evaluation computes at once.
const EVAL_ROWS: usize = 8;

/// How text is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleOptions {
    /// Tokens to draw.
    pub tokens: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only that many likeliest tokens take part; 0 for all.
    pub top_k: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { tokens: 200, temperature: 0.8, top_k: 0, seed: 0 }
    }
}

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross entropy in nats a token.
    pub loss_nats: f64,
    /// e to that.
    pub perplexity: f64,
    /// Cross entropy in bits a byte of text, which compares across tokenizers.
    pub bits_per_byte: f64,
    /// Tokens predicted: all but the first, which has nothing before it.
    pub tokens: u64,
    /// Bytes those tokens stand for.
    pub bytes: u64,
}

/// A model with weights on a device.
pub struct LanguageModel {
    model: ModelConfig,
    device: Device,
    state: State,
    /// Log-probabilities of one row, planned at first use.
    next: Option<Executable>,
    /// Token losses of [`EVAL_ROWS`] rows, planned at first use.
    losses: Option<Executable>,
}

impl LanguageModel {
    /// A model from its weights, in the order of [`Model::params`].
    ///
    /// # Errors
    /// [`Error::BadValue`] from the configuration; [`Error::Tensor`] where weights and model don't fit or the device fails.
    pub fn new(config: &ModelConfig, weights: &[NamedTensor], device: &Device) -> Result<Self> {
        let model = Model::build(config, 1)?;
        let mut state = State::new(device);
        for tensor in weights {
            state.insert(&tensor.name, tensor.shape.as_slice(), &tensor.data)?;
        }
        model.insert_positions(&mut state)?;
        Ok(Self { model: config.clone(), device: device.clone(), state, next: None, losses: None })
    }

    /// A model from a checkpoint file, a folder of checkpoints or a run's folder.
    ///
    /// # Errors
    /// As [`checkpoint::locate`], [`Checkpoint::read`] and [`Checkpoint::fit`]; [`Error::Tensor`] from the device.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let path = checkpoint::locate(path)?;
        let checkpoint = Checkpoint::read(&path)?;
        let config = checkpoint.model.clone();
        let shapes = Model::build(&config, 1)?.shapes();
        let checkpoint = checkpoint.fit(&path, &config, &shapes)?;
        Self::new(&config, &checkpoint.weights, device)
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.model
    }

    /// Log-probabilities of the next token after each position of `text`, one row of `vocab` values a token.
    ///
    /// # Errors
    /// [`Error::BadText`] for an empty text or one longer than the model's sequence; [`Error::Tensor`] from the device.
    pub fn log_probabilities(&mut self, text: &[u8]) -> Result<Vec<Vec<f32>>> {
        let tokens = self.encode(text)?;
        let seq = self.model.seq;
        if tokens.is_empty() || tokens.len() > seq {
            let what = format!("the text holds {} tokens, but the model reads between 1 and {seq}", tokens.len());
            return Err(Error::BadText { what });
        }
        let all = self.forward(&tokens)?;
        Ok(all.chunks(self.model.vocab).take(tokens.len()).map(<[f32]>::to_vec).collect())
    }

    /// Draws text after `prompt` and hands each token's bytes to `on_bytes` until that says to stop (`false`). The model sees the
    /// last tokens that fit its sequence; an empty prompt stands for a line break.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a temperature that is negative or no number; [`Error::BadText`] for bytes outside the vocabulary;
    /// [`Error::Tensor`] from the device.
    pub fn sample(
        &mut self,
        prompt: &[u8],
        options: &SampleOptions,
        on_bytes: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
            return Err(Error::BadValue {
                key: "temperature".into(),
                value: options.temperature.to_string(),
                reason: "it must be a finite number, not negative".into(),
            });
        }
        let stream = Stream::new(options.seed, "sample");
        let mut tokens = self.encode(if prompt.is_empty() { b"\n" } else { prompt })?;
        let start = tokens.len();
        for i in 0..options.tokens {
            let context = &tokens[tokens.len().saturating_sub(self.model.seq)..];
            let last = context.len() - 1;
            let rows = self.forward(context)?;
            let vocab = self.model.vocab;
            let token = draw(&rows[last * vocab..(last + 1) * vocab], options, stream.uniform(i as u64));
            tokens.push(token);
            if !on_bytes(&ByteTokenizer.decode(&[token])) {
                break;
            }
        }
        Ok(ByteTokenizer.decode(&tokens[start..]))
    }

    /// The loss over a whole text, in windows that don't overlap; every token but the first is predicted once.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`] where not one sequence fits; [`Error::BadText`] for bytes outside the vocabulary; [`Error::Tensor`]
    /// from the device.
    pub fn evaluate(&mut self, text: &TokenSet) -> Result<Evaluation> {
        let seq = self.model.seq;
        text.check(seq)?;
        let executable = match &mut self.losses {
            Some(executable) => executable,
            slot => {
                let model = Model::build(&self.model, EVAL_ROWS)?;
                let targets = Tensor::data(TARGETS, [EVAL_ROWS * seq], DType::U32);
                let program = Program::trace(&[model.token_losses(&targets)], &[])?;
                slot.insert(self.device.compile(&program)?)
            }
        };
        let predicted = text.len() - 1;
        let mut sum = 0.0;
        for first in (0..predicted).step_by(EVAL_ROWS * seq) {
            let count = (predicted - first).min(EVAL_ROWS * seq);
            let batch = padded(text, first, count, seq);
            check_vocab(&batch.inputs, self.model.vocab)?;
            check_vocab(&batch.targets, self.model.vocab)?;
            let inputs = [(TOKENS, Data::U32(&batch.inputs)), (TARGETS, Data::U32(&batch.targets))];
            executable.run(&mut self.state, &inputs)?;
            sum += executable.output(0)?[..count].iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        let loss = sum / predicted as f64;
        Ok(Evaluation {
            loss_nats: loss,
            perplexity: loss.exp(),
            // One byte a token.
            bits_per_byte: loss / std::f64::consts::LN_2,
            tokens: predicted as u64,
            bytes: predicted as u64,
        })
    }

    fn encode(&self, text: &[u8]) -> Result<Vec<u32>> {
        let tokens = ByteTokenizer.encode(text);
        check_vocab(&tokens, self.model.vocab)?;
        Ok(tokens)
    }

    /// Log-probabilities `[seq, vocab]` with `tokens` at the front; what lies behind them is padding, which causality keeps out.
    fn forward(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let executable = match &mut self.next {
            Some(executable) => executable,
            slot => {
                let model = Model::build(&self.model, 1)?;
                slot.insert(self.device.compile(&Program::trace(&[model.log_probabilities()], &[])?)?)
            }
        };
        let mut inputs = tokens.to_vec();
        inputs.resize(self.model.seq, 0);
        executable.run(&mut self.state, &[(TOKENS, Data::U32(&inputs))])?;
        Ok(executable.output(0)?)
    }
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel").field("model", &self.model).finish_non_exhaustive()
    }
}

/// `count` tokens from `first` on and those that follow them, filled up with zeros.
fn padded(text: &TokenSet, first: usize, count: usize, seq: usize) -> Batch {
    let fill = |mut tokens: Vec<u32>| {
        tokens.resize(EVAL_ROWS * seq, 0);
        tokens
    };
    Batch {
        inputs: fill(text.slice(first..first + count)),
        targets: fill(text.slice(first + 1..first + count + 1)),
        batch: EVAL_ROWS,
        seq,
    }
}

fn check_vocab(tokens: &[u32], vocab: usize) -> Result<()> {
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        None => Ok(()),
        Some(token) => {
            Err(Error::BadText { what: format!("the text holds token {token}, but the model knows only {vocab}") })
        }
    }
}

/// One token from a row of log-probabilities; `u` is uniform in [0, 1).
fn draw(row: &[f32], options: &SampleOptions, u: f64) -> u32 {
    let mut order: Vec<usize> = (0..row.len()).collect();
    // Ties and not-a-numbers fall to the smaller id, so that a draw never depends on the sort.
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    if options.temperature == 0.0 {
        return order.first().map_or(0, |&i| i as u32);
    }
    let keep = if options.top_k == 0 { order.len() } else { options.top_k.min(order.len()) };
    let best = order.first().map_or(0.0, |&i| f64::from(row[i]));
    let weights: Vec<f64> =
        order[..keep].iter().map(|&i| ((f64::from(row[i]) - best) / options.temperature).exp()).collect();
    let mut left = u * weights.iter().sum::<f64>();
    for (&i, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return i as u32;
        }
    }
    order.first().map_or(0, |&i| i as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(temperature: f64, top_k: usize) -> SampleOptions {
        SampleOptions { temperature, top_k, ..SampleOptions::default() }
    }

    #[test]
    fn zero_temperature_takes_the_likeliest() {
        let row = [-2.0, -0.5, -0.5, -3.0];
        assert_eq!(draw(&row, &options(0.0, 0), 0.99), 1);
    }

    #[test]
    fn top_k_leaves_the_rest_out() {
        let row: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let drawn: Vec<u32> = (0..100).map(|i| draw(&row, &options(1.0, 2), f64::from(i) / 100.0)).collect();
        assert!(drawn.iter().all(|&t| t >= 2));
        assert_eq!(drawn.iter().filter(|&&t| t == 3).count(), 58, "0.4 / 0.7 of the draws");
    }

    #[test]
    fn a_row_that_is_no_number_still_gives_a_token() {
        assert!(draw(&[f32::NAN; 4], &options(1.0, 0), 0.5) < 4);
    }
}
