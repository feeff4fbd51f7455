//! Checkpoints: one safetensors file a checkpoint, which every other implementation can read.
//!
//! Tensors: the parameters under their own names (`embedding`, `blocks.0.attn.wq`, …; see [`crate::arch`]), all f32;
//! the optimizer's state by its own names: `adamw.m.NAME` and `adamw.v.NAME` of the parameter's shape, or
//! `adafactor.rows.NAME` and `adafactor.columns.NAME`, or `adafactor.v.NAME` (see [`crate::optim`]). The file's
//! metadata holds `format`, `architecture`, `step`, `seconds`, `corpus_sha256`, `tokenizer` (`bytes`, or the sha256 of
//! the run's `tokenizer.json`), and the model's configuration as JSON in `model`.
//!
//! A file is written beside its final place, flushed to the disk and renamed, so it is either whole or not there.
//! `latest` names the newest file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::optim::Optimizer;

const FORMAT: &str = "primer-checkpoint-1";
const LATEST: &str = "latest";
const BEST: &str = "best.safetensors";

/// A named array of f32 in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// The parameter's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, as many as the shape holds.
    pub data: Vec<f32>,
}

/// Everything a run needs to go on as if it had never stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The model, as it was built.
    pub model: ModelConfig,
    /// Steps done; also the data cursor, since batch `i` is a pure function of (seed, `i`).
    pub step: u64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// sha256 of the corpus trained on.
    pub corpus_sha256: String,
    /// The tokenizer's [`id`](crate::text::Tokenizer::id).
    pub tokenizer: String,
    /// The parameters.
    pub weights: Vec<NamedTensor>,
    /// The optimizer's state, none where it isn't kept.
    pub optimizer: Option<Vec<NamedTensor>>,
}

impl Checkpoint {
    /// Writes the checkpoint to `path`, atomically.
    ///
    /// # Errors
    /// [`Error::Write`]; what was at `path` before is then still there.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |source: std::io::Error| Error::Write { path: path.to_owned(), source };
        let encoded = |e: &dyn std::fmt::Display| failed(std::io::Error::other(e.to_string()));
        let model = serde_json::to_string(&self.model).map_err(|e| encoded(&e))?;
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("architecture".to_owned(), self.model.label()),
            ("step".to_owned(), self.step.to_string()),
            ("seconds".to_owned(), self.seconds.to_string()),
            ("corpus_sha256".to_owned(), self.corpus_sha256.clone()),
            ("tokenizer".to_owned(), self.tokenizer.clone()),
            ("model".to_owned(), model),
        ]);
        let tensors: Vec<&NamedTensor> = self.weights.iter().chain(self.optimizer.iter().flatten()).collect();
        let bytes: Vec<Vec<u8>> =
            tensors.iter().map(|t| t.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let mut views = Vec::with_capacity(tensors.len());
        for (tensor, data) in tensors.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), data).map_err(|e| encoded(&e))?;
            views.push((tensor.name.as_str(), view));
        }
        let file = safetensors::serialize(views, Some(metadata)).map_err(|e| encoded(&e))?;
        write_atomically(path, &file)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::DamagedCheckpoint`] for a file that is truncated, malformed, or of another kind.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let damaged = |reason: String| Error::DamagedCheckpoint { path: path.to_owned(), reason };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let metadata = header.metadata().as_ref().ok_or_else(|| damaged("it has no metadata".into()))?;
        let field = |key: &str| metadata.get(key).ok_or_else(|| damaged(format!("its metadata lacks {key}")));
        if field("format")? != FORMAT {
            return Err(damaged(format!("its format is {:?}, not {FORMAT:?}", field("format")?)));
        }
        let step = field("step")?.parse().map_err(|_| damaged("its step is no number".into()))?;
        // What is counted from it, tokens for instance, is to fit as well.
        if step > u64::from(u32::MAX) << 10 {
            return Err(damaged(format!("its step is {step}")));
        }
        let seconds: f64 = field("seconds")?.parse().map_err(|_| damaged("its seconds are no number".into()))?;
        if !(seconds.is_finite() && seconds >= 0.0) {
            return Err(damaged(format!("it was trained for {seconds} seconds")));
        }
        let model: ModelConfig =
            serde_json::from_str(field("model")?).map_err(|e| damaged(format!("its model is unreadable: {e}")))?;
        model.validate().map_err(|e| damaged(format!("its model is not valid: {e}")))?;

        let (mut weights, mut optimizer) = (Vec::new(), Vec::new());
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("{name} is not f32")));
            }
            let data = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let of_optimizer = Optimizer::ALL.iter().any(|rule| name.starts_with(&format!("{}.", rule.name())));
            let list = if of_optimizer { &mut optimizer } else { &mut weights };
            list.push(NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), data });
        }
        // The library gives them in any order.
        optimizer.sort_by(|a: &NamedTensor, b| a.name.cmp(&b.name));
        let optimizer = (!optimizer.is_empty()).then_some(optimizer);
        // Older files name none: their tokens were bytes.
        let tokenizer = metadata.get("tokenizer").map_or("bytes", String::as_str).to_owned();
        let corpus_sha256 = field("corpus_sha256")?.clone();
        Ok(Self { model, step, seconds, corpus_sha256, tokenizer, weights, optimizer })
    }

    /// Puts the weights in the order of `expected` (name and shape), so that they can be bound by position.
    ///
    /// # Errors
    /// [`Error::OtherArchitecture`], [`Error::MissingTensor`], [`Error::OtherShape`]; tensors that the model doesn't
    /// know are [`Error::DamagedCheckpoint`].
    pub fn fit(mut self, path: &Path, model: &ModelConfig, expected: &[(String, Vec<usize>)]) -> Result<Self> {
        if self.model.label() != model.label() {
            return Err(Error::OtherArchitecture {
                path: path.to_owned(),
                expected: model.label(),
                found: self.model.label(),
            });
        }
        self.weights = in_order(path, self.weights, expected)?;
        Ok(self)
    }

    /// Whether the model is this one in every setting.
    ///
    /// # Errors
    /// [`Error::OtherModel`].
    pub fn check_model(&self, path: &Path, model: &ModelConfig) -> Result<()> {
        let of = |model: &ModelConfig| serde_json::to_value(model).unwrap_or_default();
        let (found, expected) = (of(&self.model), of(model));
        let differs = |(key, value): (&String, &serde_json::Value)| {
            (found[key] != *value).then(|| Error::OtherModel {
                path: path.to_owned(),
                key: format!("model.{key}"),
                expected: value.to_string(),
                found: found[key].to_string(),
            })
        };
        expected.as_object().into_iter().flatten().find_map(differs).map_or(Ok(()), Err)
    }

    /// The optimizer's state in the order of `expected`, which `optimizer` names.
    ///
    /// # Errors
    /// [`Error::DamagedCheckpoint`] where there is none, or another optimizer's; otherwise as [`Checkpoint::fit`].
    pub fn optimizer_state(
        &mut self,
        path: &Path,
        optimizer: Optimizer,
        expected: &[(String, Vec<usize>)],
    ) -> Result<Vec<NamedTensor>> {
        let damaged = |reason: String| Error::DamagedCheckpoint { path: path.to_owned(), reason };
        let Some(tensors) = self.optimizer.take() else {
            return Err(damaged("it has no optimizer state, so training can't go on from it".into()));
        };
        let of = |rule: &&Optimizer| tensors.iter().any(|t| t.name.starts_with(&format!("{}.", rule.name())));
        match Optimizer::ALL.iter().find(|rule| **rule != optimizer && of(rule)) {
            Some(other) => Err(damaged(format!("it was trained with {}, not with {}", other.name(), optimizer.name()))),
            None => in_order(path, tensors, expected),
        }
    }
}

fn in_order(path: &Path, tensors: Vec<NamedTensor>, expected: &[(String, Vec<usize>)]) -> Result<Vec<NamedTensor>> {
    let mut by_name: HashMap<String, NamedTensor> = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
    let mut ordered = Vec::with_capacity(expected.len());
    for (name, shape) in expected {
        let tensor =
            by_name.remove(name).ok_or_else(|| Error::MissingTensor { path: path.to_owned(), tensor: name.clone() })?;
        if tensor.shape != *shape {
            return Err(Error::OtherShape {
                path: path.to_owned(),
                tensor: name.clone(),
                expected: shape.clone(),
                found: tensor.shape,
            });
        }
        ordered.push(tensor);
    }
    match by_name.into_keys().min() {
        Some(name) => Err(Error::DamagedCheckpoint {
            path: path.to_owned(),
            reason: format!("it holds the tensor {name}, which the model doesn't have"),
        }),
        None => Ok(ordered),
    }
}

/// A folder of checkpoints of one run.
#[derive(Debug, Clone)]
pub struct CheckpointDir {
    folder: PathBuf,
    keep: usize,
}

impl CheckpointDir {
    /// The checkpoints in `folder`, of which the newest `keep` (at least one) stay.
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Self {
        Self { folder: folder.into(), keep: keep.max(1) }
    }

    /// Writes a checkpoint, points `latest` at it, and removes those beyond the last `keep`. Gives the file's path.
    ///
    /// # Errors
    /// [`Error::Write`]; older checkpoints are then untouched.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder).map_err(|source| Error::Write { path: self.folder.clone(), source })?;
        let name = format!("step-{:010}.safetensors", checkpoint.step);
        let path = self.folder.join(&name);
        checkpoint.write(&path)?;
        write_atomically(&self.folder.join(LATEST), name.as_bytes())?;
        let old = self.files()?.into_iter().rev().skip(self.keep).filter(|old| *old != path);
        for old in old.chain(self.unfinished()) {
            if let Err(error) = fs::remove_file(&old) {
                tracing::warn!(path = %old.display(), %error, "an old checkpoint stays");
            }
        }
        Ok(path)
    }

    /// Writes the checkpoint with the lowest validation loss so far, which stays whatever comes after:
    /// `best.safetensors`.
    ///
    /// # Errors
    /// [`Error::Write`]; the one that was there is then untouched.
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder).map_err(|source| Error::Write { path: self.folder.clone(), source })?;
        let path = self.folder.join(BEST);
        checkpoint.write(&path)?;
        Ok(path)
    }

    /// Removes the checkpoints of a run that another one takes the place of, and what was left of unfinished ones.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Read`].
    pub fn clear(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let named = [LATEST, BEST].map(|name| self.folder.join(name));
        named.into_iter().chain(self.files()?).chain(self.unfinished()).try_for_each(|path| remove(&path))
    }

    /// The newest checkpoint's file: the one `latest` names, else the one with the highest step.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`], [`Error::Read`].
    pub fn latest(&self) -> Result<PathBuf> {
        if let Ok(name) = fs::read_to_string(self.folder.join(LATEST)) {
            let path = self.folder.join(name.trim());
            if path.is_file() {
                return Ok(path);
            }
        }
        self.files()?.pop().ok_or_else(|| Error::NoCheckpoint { path: self.folder.clone() })
    }

    /// The step of the newest checkpoint, as its name has it; none where there is no checkpoint.
    pub fn latest_step(&self) -> Option<u64> {
        let path = self.latest().ok()?;
        path.file_stem()?.to_str()?.strip_prefix("step-")?.parse().ok()
    }

    /// What processes that were killed in the middle of a write have left.
    fn unfinished(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "tmp")).collect()
    }

    /// Checkpoint files, oldest first.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let read = |source| Error::Read { path: self.folder.clone(), source };
        if !self.folder.exists() {
            return Err(Error::NoCheckpoint { path: self.folder.clone() });
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("step-") && name.ends_with(".safetensors") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// The checkpoint file that a user means by `path`: the file itself, a folder of checkpoints, or a run's folder.
///
/// # Errors
/// [`Error::NoCheckpoint`], [`Error::Read`].
pub fn locate(path: &Path) -> Result<PathBuf> {
    let kind = fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if kind.is_file() {
        return Ok(path.to_owned());
    }
    let inner = path.join("checkpoints");
    let folder = if inner.is_dir() { inner } else { path.to_owned() };
    CheckpointDir::new(folder, 1).latest()
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes beside the target, flushes to the disk, renames.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself must reach the disk too; only Unix lets a folder be opened for that.
        #[cfg(unix)]
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|source| {
        // Best effort: the write's own error is the one to report.
        let _ = fs::remove_file(&temporary);
        Error::Write { path: path.to_owned(), source }
    })
}
