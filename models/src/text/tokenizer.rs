//! Text to token ids and back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bpe::Bpe;
use super::pieces::{pieces, whole_pieces};
use super::{Corpus, Part};
use crate::checkpoint::write_atomically;
use crate::error::{Error, Result};

/// Bytes of text that merges are learned from, at most: the library holds each distinct word, and counts pairs in 32
/// bits.
const SAMPLE: u64 = 64 << 20;

/// A tokenizer by name: `bytes` or `bpe:N`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TokenizerSpec {
    /// Bytes as tokens.
    #[default]
    Bytes,
    /// Byte-pair encoding with at most that many tokens, trained on the corpus.
    Bpe(usize),
}

impl TokenizerSpec {
    /// Tokens there can be at most.
    pub fn vocab(self) -> usize {
        match self {
            Self::Bytes => 256,
            Self::Bpe(vocab) => vocab,
        }
    }

    /// Trains the tokenizer on the training part of `corpus`.
    ///
    /// # Errors
    /// [`Error::BadTokenizer`].
    pub fn train(self, corpus: &Corpus) -> Result<Tokenizer> {
        let Self::Bpe(vocab) = self else {
            return Ok(Tokenizer::Bytes);
        };
        let bpe = Bpe::train(vocab, sample(corpus)?);
        bpe.map(|bpe| Tokenizer::Bpe(Arc::new(bpe)))
            .map_err(|reason| Error::BadTokenizer { name: format!("{self} on {}", corpus.name()), reason })
    }
}

/// The valid UTF-8 of the training part, or of pieces spread evenly over it where it is longer than [`SAMPLE`].
fn sample(corpus: &Corpus) -> Result<Vec<String>> {
    let every = corpus.bytes(Part::Train).div_ceil(SAMPLE).max(1);
    let (mut text, mut sample, mut number) = (Vec::new(), Vec::new(), 0);
    let mut take = |text: &mut Vec<u8>, last: bool| {
        let (pieces, length) = whole_pieces(text, last);
        for piece in pieces {
            if number % every == 0 {
                sample.extend(piece.utf8_chunks().map(|chunk| chunk.valid().to_owned()));
            }
            number += 1;
        }
        text.drain(..length);
    };
    corpus.read(Part::Train, &mut |chunk| {
        text.extend_from_slice(chunk);
        take(&mut text, false);
        Ok(())
    })?;
    take(&mut text, true);
    Ok(sample)
}

impl fmt::Display for TokenizerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => f.write_str("bytes"),
            Self::Bpe(vocab) => write!(f, "bpe:{vocab}"),
        }
    }
}

impl FromStr for TokenizerSpec {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if name == "bytes" {
            return Ok(Self::Bytes);
        }
        let bad = |reason: &str| Error::BadValue { key: "tokenizer".into(), value: name.into(), reason: reason.into() };
        let vocab = name.strip_prefix("bpe:").ok_or_else(|| bad("there are bytes and bpe:N, such as bpe:8192"))?;
        match vocab.replace('_', "").parse() {
            Ok(vocab @ 257..=1_048_576) => Ok(Self::Bpe(vocab)),
            _ => Err(bad("N counts the 256 bytes too and must lie between 257 and 1048576")),
        }
    }
}

impl TryFrom<String> for TokenizerSpec {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<TokenizerSpec> for String {
    fn from(spec: TokenizerSpec) -> Self {
        spec.to_string()
    }
}

/// Turns text into token ids and back; every text and every invalid encoding round-trips.
#[derive(Debug, Clone, Default)]
pub enum Tokenizer {
    /// Bytes as tokens: 256 of them.
    #[default]
    Bytes,
    /// A trained byte-level byte-pair encoding.
    Bpe(Arc<Bpe>),
}

impl Tokenizer {
    /// The file in a run's folder that holds its tokenizer, unless tokens are bytes.
    pub const FILE: &str = "tokenizer.json";

    /// Reads a `tokenizer.json` as [`Tokenizer::save`] writes it.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::BadTokenizer`] for a damaged file or a tokenizer of another kind than byte-level BPE.
    pub fn read(path: &Path) -> Result<Self> {
        let json = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let bpe =
            Bpe::from_json(json).map_err(|reason| Error::BadTokenizer { name: path.display().to_string(), reason })?;
        Ok(Self::Bpe(Arc::new(bpe)))
    }

    /// The tokenizer of the run in `folder`: its `tokenizer.json`, or bytes where there is none.
    ///
    /// # Errors
    /// As [`Tokenizer::read`].
    pub fn of_run(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        if path.exists() { Self::read(&path) } else { Ok(Self::Bytes) }
    }

    /// The tokenizer of the checkpoint file at `path`, which names it `id`: `tokenizer.json` in its folder or the one
    /// above.
    ///
    /// # Errors
    /// As [`Tokenizer::read`]; [`Error::NoTokenizer`]; [`Error::OtherTokenizer`].
    pub fn of_checkpoint(path: &Path, id: &str) -> Result<Self> {
        if id == Self::Bytes.id() {
            return Ok(Self::Bytes);
        }
        let near = |folder: &Path| folder.join(Self::FILE);
        // A relative path need not name the folder above.
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let candidates: Vec<PathBuf> = whole.ancestors().skip(1).take(2).map(near).collect();
        let found = candidates.iter().find(|file| file.is_file());
        let tokenizer = Self::read(found.ok_or_else(|| Error::NoTokenizer { path: path.to_owned() })?)?;
        tokenizer.check(id)?;
        Ok(tokenizer)
    }

    /// Writes the tokenizer into a run's folder, in the standard JSON of the `tokenizers` library; bytes need no file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Bytes => Ok(()),
            Self::Bpe(bpe) => write_atomically(&folder.join(Self::FILE), bpe.json().as_bytes()),
        }
    }

    /// What tells tokenizers apart: `bytes`, or the sha256 of the `tokenizer.json`.
    pub fn id(&self) -> &str {
        match self {
            Self::Bytes => "bytes",
            Self::Bpe(bpe) => bpe.sha256(),
        }
    }

    /// Fails unless this is the tokenizer `id`.
    ///
    /// # Errors
    /// [`Error::OtherTokenizer`].
    pub fn check(&self, id: &str) -> Result<()> {
        if self.id() == id {
            return Ok(());
        }
        Err(Error::OtherTokenizer { expected: id.to_owned(), found: self.id().to_owned() })
    }

    /// Number of distinct tokens.
    pub fn vocab(&self) -> usize {
        match self {
            Self::Bytes => 256,
            Self::Bpe(bpe) => bpe.vocab(),
        }
    }

    /// Token ids of `text`.
    ///
    /// # Errors
    /// [`Error::BadTokenizer`].
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>> {
        self.encode_pieces(&pieces(text).collect::<Vec<_>>())
    }

    /// Token ids of a text that is cut into pieces already.
    pub(super) fn encode_pieces(&self, pieces: &[&[u8]]) -> Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(pieces.concat().iter().map(|&byte| u32::from(byte)).collect()),
            Self::Bpe(bpe) => {
                bpe.encode(pieces).map_err(|reason| Error::BadTokenizer { name: self.id().into(), reason })
            }
        }
    }

    /// The bytes of `tokens`; an id outside the vocabulary is left out.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        match self {
            Self::Bytes => tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect(),
            Self::Bpe(bpe) => tokens.iter().flat_map(|&token| bpe.bytes(token)).copied().collect(),
        }
    }

    /// Bytes that a token stands for.
    pub fn byte_len(&self, token: u32) -> usize {
        match self {
            Self::Bytes => usize::from(token < 256),
            Self::Bpe(bpe) => bpe.bytes(token).len(),
        }
    }
}
