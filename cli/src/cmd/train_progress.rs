//! What a training run shows while it goes on: a bar with loss and speed, evaluations, and samples as they are written.

use crate::cmd::device::matmul_roof;
use crate::terminal::{Progress, Utf8, printable};
use primer_models::train::{self, Event, Limit};
use primer_tensor::Device;
use std::time::Duration;

/// Runs that are over sooner don't have the device's roof measured, which takes a third of a second.
const WORTH_MEASURING: Duration = Duration::from_secs(1);

/// Characters of an unfinished line that fit beside the bar.
const LIVE: usize = 40;

/// The latest that a run measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Last {
    /// Validation loss in nats a token.
    pub loss: Option<f64>,
    /// The same in bits a byte.
    pub bits_per_byte: Option<f64>,
    /// Speed of the matrix products of training.
    pub matmul_gflops: Option<f64>,
}

/// Shows a run's events.
pub struct TrainProgress<'a> {
    bar: Progress,
    device: &'a Device,
    limit: Limit,
    tokens_per_step: f64,
    /// GFLOP/s of the device's matrix products, once measured; then none where it couldn't be.
    roof: Option<Option<f64>>,
    sample: Option<SampleLines>,
    last: Last,
}

impl<'a> TrainProgress<'a> {
    /// Begins.
    pub fn new(device: &'a Device, limit: Limit, tokens_per_step: u64) -> Self {
        let (bar, tokens_per_step) = (Progress::new("training"), tokens_per_step as f64);
        Self { bar, device, limit, tokens_per_step, roof: None, sample: None, last: Last::default() }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Progress(p) => self.progress(p),
            Event::Evaluated { step, valid_loss, bits_per_byte } => {
                self.last.loss = Some(*valid_loss);
                self.last.bits_per_byte = Some(*bits_per_byte);
                let perplexity = valid_loss.exp();
                self.bar.say(&format!(
                    "step {step}: held-out loss {valid_loss:.4} nats a token, perplexity {perplexity:.3}, \
                     {bits_per_byte:.4} bits a byte"
                ));
            }
            Event::NonFinite { step } => {
                self.bar.say(&format!("step {step}: a gradient was not finite; that step was left out"));
            }
            Event::Sampling { step, prompt, bytes } => {
                if self.sample.is_none() {
                    self.bar.say(&format!("step {step}: a sample"));
                }
                self.sample.get_or_insert_with(|| SampleLines::new(prompt)).push(bytes, &self.bar);
            }
            Event::Sampled(_) => {
                if let Some(lines) = self.sample.take() {
                    lines.finish(&self.bar);
                }
            }
            _ => {}
        }
    }

    fn progress(&mut self, p: &train::Progress) {
        self.last.matmul_gflops = p.matmul_gflops;
        let (done, left) = match self.limit {
            Limit::Steps(steps) => {
                let left = steps.saturating_sub(p.step) as f64 * self.tokens_per_step / p.tokens_per_second;
                (p.step as f64 / steps as f64, left)
            }
            Limit::Seconds(seconds) => (p.seconds / seconds, seconds - p.seconds),
        };
        let left = Duration::try_from_secs_f64(left).ok();
        let mut text = format!("step {}, loss {:.3}, {:.0} tokens/s", p.step, p.loss, p.tokens_per_second);
        if let Some(speed) = p.matmul_gflops {
            text += &format!(", {speed:.1} GFLOP/s");
            if let Some(roof) = self.roof.flatten() {
                text += &format!(" ({:.0}% of the roof)", 100.0 * speed / roof);
            }
        }
        self.bar.update(done, left, &text);
        // After the first numbers are seen, and between steps, so that it counts as no training time.
        if self.roof.is_none() && left.is_some_and(|left| left >= WORTH_MEASURING) {
            self.roof = Some(matmul_roof(self.device).ok().flatten());
        }
    }

    /// Ends with one line; gives the latest numbers.
    pub fn finish(self, text: &str) -> Last {
        self.bar.finish(text);
        self.last
    }
}

/// A sample's lines, each shown when it is whole; on a terminal the unfinished one stands in the bar's place.
struct SampleLines {
    utf8: Utf8,
    line: String,
}

impl SampleLines {
    fn new(prompt: &str) -> Self {
        Self { utf8: Utf8::default(), line: printable(prompt) }
    }

    fn push(&mut self, bytes: &[u8], bar: &Progress) {
        self.line += &printable(&self.utf8.push(bytes));
        while let Some((line, rest)) = self.line.split_once('\n') {
            bar.say(&format!("  | {line}"));
            self.line = rest.to_owned();
        }
        let hidden = self.line.chars().count().saturating_sub(LIVE);
        bar.live(&format!("| {}", self.line.chars().skip(hidden).collect::<String>()));
    }

    fn finish(mut self, bar: &Progress) {
        self.line += &printable(&self.utf8.finish());
        if !self.line.is_empty() {
            bar.say(&format!("  | {}", self.line));
        }
    }
}
