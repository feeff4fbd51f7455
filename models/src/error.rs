//! The one error type of the crate.

use std::path::PathBuf;

use crate::names::did_you_mean;

/// What can go wrong between a text and a trained model; each message is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What was opened.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// What was being written.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A corpus without a single byte of text.
    #[error("the corpus {name} holds no text")]
    EmptyCorpus {
        /// The corpus as it was named.
        name: String,
    },
    /// A corpus, or one of its parts, that can't fill a single sequence.
    #[error(
        "the {part} part of corpus {name} holds {have} tokens, but one sequence needs {need}: give more text or a shorter sequence"
    )]
    ShortCorpus {
        /// The corpus as it was named.
        name: String,
        /// `training`, `validation` or `whole`.
        part: &'static str,
        /// Tokens there are.
        have: usize,
        /// Tokens one sequence and its targets take.
        need: usize,
    },
    /// A name outside a closed list.
    #[error("there is no {kind} {name:?}, only {all}{}", did_you_mean(nearest.as_slice()))]
    UnknownName {
        /// What was being named: `architecture`, `size`.
        kind: &'static str,
        /// The name given.
        name: String,
        /// The valid ones, in words.
        all: String,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A configuration key that doesn't exist.
    #[error("there is no setting {key:?}{}", did_you_mean(meant))]
    UnknownKey {
        /// The key given.
        key: String,
        /// Those that may be meant; none where none is near.
        meant: Vec<String>,
    },
    /// A configuration value that can't be read or used.
    #[error("{key} = {value} is not possible: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// The value given.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// A configuration file that isn't TOML.
    #[error("{path} is not a readable configuration: {reason}")]
    BadConfig {
        /// The file.
        path: PathBuf,
        /// The parser's first complaint.
        reason: String,
    },
    /// A folder without a checkpoint.
    #[error("there is no checkpoint in {path}")]
    NoCheckpoint {
        /// The folder searched.
        path: PathBuf,
    },
    /// A checkpoint that is truncated, or that was never one.
    #[error("{path} is not a usable checkpoint: {reason}")]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of another architecture.
    #[error("{path} holds a model of architecture {found}, not {expected}")]
    OtherArchitecture {
        /// The file.
        path: PathBuf,
        /// The architecture wanted.
        expected: String,
        /// The architecture stored.
        found: String,
    },
    /// A checkpoint of a model whose weights have the same shapes, but that computes something else.
    #[error("{path} holds a model with {key} = {found}, not {expected}")]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// The first setting that differs.
        key: String,
        /// Its value wanted.
        expected: String,
        /// Its value stored.
        found: String,
    },
    /// A checkpoint whose tensors don't fit the model.
    #[error("in {path} the tensor {tensor} has the shape {found:?}, but the model needs {expected:?}")]
    OtherShape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The stored shape; empty when it isn't there.
        found: Vec<usize>,
    },
    /// A checkpoint without one of the model's tensors.
    #[error("{path} lacks the tensor {tensor}")]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// A run that would go on with another text than it began with.
    #[error("the checkpoint was trained on the corpus {expected}, but this one is {found}: resume with the same text")]
    OtherCorpus {
        /// sha256 stored.
        expected: String,
        /// sha256 of the corpus given.
        found: String,
    },
    /// A tokenizer that can't be trained, read or used.
    #[error("{name} is not a usable tokenizer: {reason}")]
    BadTokenizer {
        /// The file, or what was to be trained.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint whose tokenizer isn't there.
    #[error(
        "{path} was trained with a tokenizer.json, which is neither beside it nor in the folder above: put it back"
    )]
    NoTokenizer {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A text or run with another tokenizer than the model's.
    #[error("the model was trained with the tokenizer {expected}, but this one is {found}: take the run's own")]
    OtherTokenizer {
        /// `bytes` or the sha256 stored.
        expected: String,
        /// That of the tokenizer given.
        found: String,
    },
    /// The tensor engine or its device.
    #[error(transparent)]
    Tensor(#[from] primer_tensor::Error),
    /// Differentiation.
    #[error(transparent)]
    Autodiff(#[from] primer_autodiff::Error),
    /// A program that can't be written as an ONNX model.
    #[error("this model can't be written as ONNX: {reason}")]
    Onnx {
        /// What stands against it.
        reason: String,
    },
    /// A text that the model can't take.
    #[error("{what}")]
    BadText {
        /// One sentence.
        what: String,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;
