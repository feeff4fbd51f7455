//! Corpora: where the text comes from and how it is split.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Tokenizer, rust_sources};
use crate::error::{Error, Result};

/// What a corpus was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorpusKind {
    /// Text given by the caller.
    Text,
    /// One file.
    File,
    /// A folder, each file a document.
    Folder,
    /// The Rust sources of the locked crates.
    RustSources,
    /// The program's own sources, embedded in the binary.
    OwnSources,
}

/// A text in two parts that share no document.
#[derive(Debug, Clone)]
pub struct Corpus {
    name: String,
    kind: CorpusKind,
    train: Vec<u8>,
    valid: Vec<u8>,
    documents: usize,
    skipped: usize,
    note: Option<String>,
    tokenizer: Tokenizer,
}

/// One document on its way into a corpus.
pub(super) struct Document {
    pub name: String,
    pub text: Vec<u8>,
}

impl Corpus {
    /// Opens the corpus that a user names: `rust`, a file or a folder.
    ///
    /// # Errors
    /// [`Error::Read`] for what can't be read, [`Error::EmptyCorpus`] where there is no text.
    pub fn open(spec: &str) -> Result<Self> {
        if spec == "rust" { Self::rust() } else { Self::from_path(Path::new(spec)) }
    }

    /// A text of the caller's; the last tenth, from a line border on, is for validation.
    ///
    /// # Errors
    /// [`Error::EmptyCorpus`].
    pub fn from_text(name: &str, text: &[u8]) -> Result<Self> {
        let (train, valid) = split_text(text);
        Self::build(name, CorpusKind::Text, train.to_vec(), valid.to_vec(), 1, 0)
    }

    /// A text file, or a folder of text files (searched recursively, in order of their paths; hidden and binary files are left
    /// out and counted). A folder is split by document, a single file at a blank line or line border.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::EmptyCorpus`].
    pub fn from_path(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let read = |source| Error::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(read)?.is_dir() {
            let mut files = Vec::new();
            list_files(path, &mut files)?;
            files.sort();
            let total = files.len();
            let mut documents = Vec::new();
            for file in files {
                let text = fs::read(&file).map_err(|source| Error::Read { path: file.clone(), source })?;
                if !text.is_empty() && !text[..text.len().min(8192)].contains(&0) {
                    let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().replace('\\', "/");
                    documents.push(Document { name, text });
                }
            }
            let (count, skipped) = (documents.len(), total - documents.len());
            let (train, valid) = split_documents(documents);
            Self::build(&name, CorpusKind::Folder, train, valid, count, skipped)
        } else {
            let text = fs::read(path).map_err(read)?;
            let (train, valid) = split_text(&text);
            Self::build(&name, CorpusKind::File, train.to_vec(), valid.to_vec(), 1, 0)
        }
    }

    /// The Rust sources of the locked crates; where cargo or the lock file isn't there, the binary's own embedded sources, under
    /// the name `own-sources` and with a [`note`](Self::note) that says why.
    ///
    /// # Errors
    /// [`Error::EmptyCorpus`] (the allow-list found nothing).
    pub fn rust() -> Result<Self> {
        match rust_sources::locked_crates() {
            Ok(found) => {
                let mut corpus = Self::build(
                    "rust",
                    CorpusKind::RustSources,
                    found.train,
                    found.valid,
                    found.documents,
                    found.skipped,
                )?;
                corpus.note = Some(format!("the Rust sources of {} locked crates", found.crates));
                Ok(corpus)
            }
            Err(reason) => {
                tracing::warn!(reason, "falling back to the embedded sources");
                let mut corpus = Self::own_sources()?;
                corpus.note = Some(format!(
                    "the locked crates' sources can't be found here ({reason}), so the program's own embedded sources serve: a small text"
                ));
                Ok(corpus)
            }
        }
    }

    /// The program's own sources, embedded at compile time.
    ///
    /// # Errors
    /// None in practice; [`Error::EmptyCorpus`] by type.
    pub fn own_sources() -> Result<Self> {
        let documents = rust_sources::embedded();
        let count = documents.len();
        let (train, valid) = split_documents(documents);
        Self::build("own-sources", CorpusKind::OwnSources, train, valid, count, 0)
    }

    fn build(
        name: &str,
        kind: CorpusKind,
        train: Vec<u8>,
        valid: Vec<u8>,
        documents: usize,
        skipped: usize,
    ) -> Result<Self> {
        if train.is_empty() && valid.is_empty() {
            return Err(Error::EmptyCorpus { name: name.to_owned() });
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            train,
            valid,
            documents,
            skipped,
            note: None,
            tokenizer: Tokenizer::Bytes,
        })
    }

    /// The name it was opened under; `own-sources` for the fallback of `rust`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was read from.
    pub fn kind(&self) -> CorpusKind {
        self.kind
    }

    /// The text to train on.
    pub fn train(&self) -> &[u8] {
        &self.train
    }

    /// The text to validate on.
    pub fn valid(&self) -> &[u8] {
        &self.valid
    }

    /// The same corpus, read by `tokenizer` instead of byte by byte.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// What turns the text into tokens; bytes unless set.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Documents in both parts.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// Files found and left out (hidden, binary, generated, duplicate, too large).
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// One sentence on where the text comes from, where that isn't plain from the name.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// sha256 of the training part followed by the validation part, in hexadecimal: for a single file, what `sha256sum` prints.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.train);
        hash.update(&self.valid);
        hex(&hash.finalize())
    }
}

/// sha256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Every regular file under `folder` that isn't hidden; folders behind symbolic links are not entered, so cycles can't happen.
fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let read = |source| Error::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(read)?;
        if kind.is_dir() {
            list_files(&path, files)?;
        } else if fs::metadata(&path).is_ok_and(|m| m.is_file()) {
            files.push(path);
        }
    }
    Ok(())
}

/// Splits one text near its last tenth: at the last blank line there, else at a line border, else right there.
fn split_text(text: &[u8]) -> (&[u8], &[u8]) {
    let goal = text.len() - text.len() / 10;
    let floor = text.len() - text.len() / 5;
    let border = |pattern: &[u8]| (floor..goal).rev().find(|&i| text[..=i].ends_with(pattern)).map(|i| i + 1);
    text.split_at(border(b"\n\n").or_else(|| border(b"\n\r\n")).or_else(|| border(b"\n")).unwrap_or(goal))
}

/// About a tenth of the bytes, as whole documents chosen by a hash of their names; the rest is for training. A single document is
/// split inside.
pub(super) fn split_documents(documents: Vec<Document>) -> (Vec<u8>, Vec<u8>) {
    if let [only] = documents.as_slice() {
        let (train, valid) = split_text(&only.text);
        return (train.to_vec(), valid.to_vec());
    }
    let total: usize = documents.iter().map(|d| d.text.len()).sum();
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by_cached_key(|&i| Sha256::digest(documents[i].name.as_bytes()).to_vec());
    let mut held_out = vec![false; documents.len()];
    let mut bytes = 0;
    for &i in &order {
        if bytes + documents[i].text.len() <= total / 10 {
            bytes += documents[i].text.len();
            held_out[i] = true;
        }
    }
    if bytes == 0
        && let Some(&smallest) = order.iter().min_by_key(|&&i| documents[i].text.len())
    {
        held_out[smallest] = true;
    }
    let part = |valid: bool| {
        join(documents.iter().zip(&held_out).filter(|(_, held)| **held == valid).map(|(d, _)| d.text.as_slice()))
    };
    (part(false), part(true))
}

/// The documents one after the other, each ended by a line break.
pub(super) fn join<'a>(documents: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = Vec::new();
    for document in documents {
        text.extend_from_slice(document);
        if text.last().is_some_and(|&last| last != b'\n') {
            text.push(b'\n');
        }
    }
    text
}
