//! `metrics.jsonl` and `samples.jsonl`: one JSON object a line, flushed as it is written, so that they can be followed
//! while the run goes on.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far, evaluations and checkpoints left out.
    pub seconds: f64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean cross entropy of the step, in nats a token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub train_loss: Option<f64>,
    /// Mean cross entropy on the validation text, in nats a token; its perplexity is e to that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_loss: Option<f64>,
    /// The same in bits a byte of text, which compares across tokenizers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub valid_bits_per_byte: Option<f64>,
    /// The step's learning rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub learning_rate: Option<f64>,
    /// Tokens a second since the line before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens_per_second: Option<f64>,
    /// Speed of the matrix products of all steps since the line before, in GFLOP/s.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matmul_gflops: Option<f64>,
    /// Since the reading before, a gradient was not finite; those steps changed nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub non_finite: bool,
}

impl Metric {
    /// A line that says where the run stands and nothing else.
    pub fn at(step: u64, seconds: f64, tokens: u64) -> Self {
        Self {
            step,
            seconds,
            tokens,
            train_loss: None,
            valid_loss: None,
            valid_bits_per_byte: None,
            learning_rate: None,
            tokens_per_second: None,
            matmul_gflops: None,
            non_finite: false,
        }
    }

    /// Whether the line is an evaluation, whose loss JSON can't tell where it isn't finite.
    pub fn is_evaluation(&self) -> bool {
        self.learning_rate.is_none() && !self.non_finite
    }
}

/// What every line has.
#[derive(Deserialize)]
struct Line {
    step: u64,
}

/// Appends to a file of lines that each have a `step`.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
    file: File,
}

impl StepLog {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Goes on with the file of a run restored at `step`: lines past that step, and whatever follows a broken line, are
    /// cut off. A file that isn't there is begun.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let keep: usize = bytes
            .split_inclusive(|&b| b == b'\n')
            .take_while(|line| {
                line.ends_with(b"\n") && serde_json::from_slice::<Line>(line).is_ok_and(|l| l.step <= step)
            })
            .map(<[u8]>::len)
            .sum();
        file.set_len(keep as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one line and flushes it.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let failed = |source| Error::Write { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(line).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        // One write call a line: a reader never sees half of one.
        self.file.write_all(&line).map_err(failed)
    }
}

/// Reads the whole lines of a `metrics.jsonl`.
///
/// # Errors
/// [`Error::Read`].
pub fn read(path: &Path) -> Result<Vec<Metric>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}
