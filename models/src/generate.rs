//! A trained model in use: log-probabilities, text, and its loss on a whole text.

use std::path::Path;

use primer_tensor::{DType, Data, Device, Executable, Program, Shape, State, Tensor};
use serde::{Deserialize, Serialize};

use crate::arch::{Model, POSITION, TOKENS};
use crate::checkpoint::{self, Checkpoint, NamedTensor};
use crate::config::{Arch, ModelConfig};
use crate::error::{Error, Result};
use crate::onnx;
use crate::rng::Stream;
pub use crate::sample::SampleOptions;
use crate::sample::draw;
use crate::text::{TokenSet, Tokenizer};

const TARGETS: &str = "targets";
/// Windows an evaluation computes at once.
const EVAL_ROWS: usize = 8;

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

impl Evaluation {
    /// From the sum of the cross entropies of `tokens` tokens, in nats, which stand for `bytes` bytes.
    pub(crate) fn new(sum: f64, tokens: u64, bytes: u64) -> Self {
        let loss_nats = sum / tokens.max(1) as f64;
        let bits_per_byte = sum / std::f64::consts::LN_2 / bytes.max(1) as f64;
        Self { loss_nats, perplexity: loss_nats.exp(), bits_per_byte, tokens, bytes }
    }
}

/// A model with weights on a device.
pub struct LanguageModel {
    model: ModelConfig,
    tokenizer: Tokenizer,
    device: Device,
    state: State,
    /// Log-probabilities of one row, planned at first use.
    next: Option<Executable>,
    /// One token after those in its caches, planned at first use.
    step: Option<Decoder>,
    /// Token losses of [`EVAL_ROWS`] rows, planned at first use.
    losses: Option<Executable>,
}

/// Logits of one token at a time.
struct Decoder {
    executable: Executable,
    /// The state entries that hold what earlier tokens left.
    caches: Vec<(String, Shape)>,
}

impl LanguageModel {
    /// A model from its weights, in the order of [`Model::params`].
    ///
    /// # Errors
    /// [`Error::BadValue`] from the configuration; [`Error::Tensor`] where weights and model don't fit or the device
    /// fails.
    pub fn new(config: &ModelConfig, weights: &[NamedTensor], device: &Device) -> Result<Self> {
        let model = Model::build(config, 1)?;
        let mut state = State::new(device);
        for tensor in weights {
            state.insert(&tensor.name, tensor.shape.as_slice(), &tensor.data)?;
        }
        model.insert_positions(&mut state)?;
        Ok(Self::of_state(config, state, device))
    }

    /// A model as training would begin it, with the starting values of `seed`.
    ///
    /// # Errors
    /// [`Error::BadValue`] from the configuration; [`Error::Tensor`] where the device fails.
    pub fn untrained(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let state = Model::build(config, 1)?.initial_state(device, seed)?;
        Ok(Self::of_state(config, state, device))
    }

    fn of_state(config: &ModelConfig, state: State, device: &Device) -> Self {
        let (model, device, tokenizer) = (config.clone(), device.clone(), Tokenizer::Bytes);
        Self { model, tokenizer, device, state, next: None, step: None, losses: None }
    }

    /// The same model, which reads and writes text by `tokenizer` instead of byte by byte.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// What turns text into the model's tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A model with its tokenizer from a checkpoint file, a folder of checkpoints or a run's folder.
    ///
    /// # Errors
    /// As [`checkpoint::locate`], [`Checkpoint::read`], [`Checkpoint::fit`] and [`Tokenizer::of_checkpoint`];
    /// [`Error::Tensor`] from the device.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let path = checkpoint::locate(path)?;
        let checkpoint = Checkpoint::read(&path)?;
        let config = checkpoint.model.clone();
        let shapes = Model::build(&config, 1)?.shapes();
        let checkpoint = checkpoint.fit(&path, &config, &shapes)?;
        let tokenizer = Tokenizer::of_checkpoint(&path, &checkpoint.tokenizer)?;
        Ok(Self::new(&config, &checkpoint.weights, device)?.with_tokenizer(tokenizer))
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.model
    }

    /// The model as an ONNX file for `batch` sequences of its length: input `tokens`, int64 `[batch·seq]`, output
    /// `logits`, f32 `[batch, seq, vocab]`.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a batch the model can't have; [`Error::Onnx`].
    pub fn to_onnx(&self, batch: usize) -> Result<Vec<u8>> {
        let model = Model::build(&self.model, batch)?;
        let program = Program::trace(std::slice::from_ref(&model.logits), &[])?;
        let shape = [batch, self.model.seq, self.model.vocab];
        onnx::model(&program, &|name| self.state.read(name).ok(), "logits", &shape)
    }

    /// Logits of the next token after each position of `text`, one row of `vocab` values a token.
    ///
    /// # Errors
    /// [`Error::BadText`] for an empty text or one longer than the model's sequence; [`Error::Tensor`] from the device.
    pub fn logits(&mut self, text: &[u8]) -> Result<Vec<Vec<f32>>> {
        let tokens = self.encode(text)?;
        let seq = self.model.seq;
        if tokens.is_empty() || tokens.len() > seq {
            let what = format!("the text holds {} tokens, but the model reads between 1 and {seq}", tokens.len());
            return Err(Error::BadText { what });
        }
        let all = self.forward(&tokens)?;
        Ok(all.chunks(self.model.vocab).take(tokens.len()).map(<[f32]>::to_vec).collect())
    }

    /// Draws text after `prompt` and hands each token's bytes to `on_bytes` until that says to stop (`false`). The
    /// model sees the tokens since its sequence was last full, when all but the newer half were forgotten; an empty
    /// prompt stands for a line break.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a temperature that is negative or no number, or a `top_p` outside 0 to 1;
    /// [`Error::BadText`] for bytes outside the vocabulary; [`Error::Tensor`] from the device.
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
        if !(options.top_p > 0.0 && options.top_p <= 1.0) {
            return Err(Error::BadValue {
                key: "top_p".into(),
                value: options.top_p.to_string(),
                reason: "it must be above 0 and at most 1".into(),
            });
        }
        let stream = Stream::new(options.seed, "sample");
        let mut tokens = self.encode(if prompt.is_empty() { b"\n" } else { prompt })?;
        let start = tokens.len();
        // Where the sequence begins, and up to where its tokens have been read.
        let (mut from, mut read) = (start.saturating_sub(self.model.seq), start.saturating_sub(self.model.seq));
        for i in 0..options.tokens {
            if tokens.len() - from > self.model.seq {
                from = tokens.len() - self.model.seq.div_ceil(2);
                read = from;
            }
            let mut logits = Vec::new();
            if self.model.arch == Arch::Program {
                // Programs have no caches: all is read again.
                let all = self.forward(&tokens[from..])?;
                read = tokens.len();
                logits = all[(read - from - 1) * self.model.vocab..][..self.model.vocab].to_vec();
            }
            while read < tokens.len() {
                logits = self.step(tokens[read], read - from)?;
                read += 1;
            }
            let token = draw(&logits, options, stream.uniform(i as u64));
            tokens.push(token);
            if !on_bytes(&self.tokenizer.decode(&[token])) {
                break;
            }
        }
        Ok(self.tokenizer.decode(&tokens[start..]))
    }

    /// The loss over a whole text, in windows that don't overlap; every token but the first is predicted once.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`] where not one sequence fits; [`Error::BadText`] for tokens outside the vocabulary;
    /// [`Error::OtherTokenizer`] for tokens that aren't the model's; [`Error::Tensor`] from the device.
    pub fn evaluate(&mut self, text: &TokenSet) -> Result<Evaluation> {
        text.tokenizer().check(self.tokenizer.id())?;
        let seq = self.model.seq;
        let batches = text.in_order(EVAL_ROWS, seq)?;
        let executable = match &mut self.losses {
            Some(executable) => executable,
            slot => {
                let model = Model::build(&self.model, EVAL_ROWS)?;
                let targets = Tensor::data(TARGETS, [EVAL_ROWS * seq], DType::U32);
                let program = Program::trace(&[model.token_losses(&targets)], &[])?;
                slot.insert(self.device.compile(&program)?)
            }
        };
        let (mut sum, mut predicted, mut bytes) = (0.0, 0, 0u64);
        for (batch, count) in batches {
            check_vocab(&batch.inputs, self.model.vocab)?;
            check_vocab(&batch.targets, self.model.vocab)?;
            let inputs = [(TOKENS, Data::U32(&batch.inputs)), (TARGETS, Data::U32(&batch.targets))];
            executable.run(&mut self.state, &inputs)?;
            sum += executable.output(0)?[..count].iter().map(|&x| f64::from(x)).sum::<f64>();
            predicted += count as u64;
            bytes += batch.targets[..count].iter().map(|&t| self.tokenizer.byte_len(t) as u64).sum::<u64>();
        }
        Ok(Evaluation::new(sum, predicted, bytes))
    }

    fn encode(&self, text: &[u8]) -> Result<Vec<u32>> {
        let tokens = self.tokenizer.encode(text)?;
        check_vocab(&tokens, self.model.vocab)?;
        Ok(tokens)
    }

    /// Logits of the token after `token`, which stands at `position` after those read since position 0.
    fn step(&mut self, token: u32, position: usize) -> Result<Vec<f32>> {
        let decoder = match &mut self.step {
            Some(decoder) => decoder,
            slot => {
                let (model, caches) = Model::build_step(&self.model, 1)?;
                let name = |entry: &Tensor| entry.name().unwrap_or_default().to_owned();
                let names = caches.iter().map(|cache| (name(&cache.entry), cache.entry.shape().clone())).collect();
                let updates: Vec<_> = caches.into_iter().map(|cache| (cache.entry, cache.next)).collect();
                let executable = self.device.compile(&Program::trace(&[model.logits], &updates)?)?;
                slot.insert(Decoder { executable, caches: names })
            }
        };
        if position == 0 {
            for (name, shape) in &decoder.caches {
                self.state.insert_zeros(name, shape.clone())?;
            }
        }
        let inputs = [(TOKENS, Data::U32(&[token])), (POSITION, Data::U32(&[position as u32]))];
        decoder.executable.run(&mut self.state, &inputs)?;
        Ok(decoder.executable.output(0)?)
    }

    /// Logits `[seq, vocab]` with `tokens` at the front; what lies behind them is padding, which causality keeps out.
    fn forward(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let executable = match &mut self.next {
            Some(executable) => executable,
            slot => {
                let model = Model::build(&self.model, 1)?;
                slot.insert(self.device.compile(&Program::trace(&[model.logits], &[])?)?)
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

/// The logarithm of the softmax of a row of logits.
pub fn log_probabilities(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x.into()));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - most).exp()).sum();
    logits.iter().map(|&x| (f64::from(x) - most - sum.ln()) as f32).collect()
}

fn check_vocab(tokens: &[u32], vocab: usize) -> Result<()> {
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        None => Ok(()),
        Some(token) => {
            Err(Error::BadText { what: format!("the text holds token {token}, but the model knows only {vocab}") })
        }
    }
}
