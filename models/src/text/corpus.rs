//! Corpora: where the text comes from and how it is split.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::source::Source;
use super::split::{Scan, held_out, parts, split_inside};
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

/// A part of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Train,
    /// Held out.
    Valid,
    /// All of it, the training part first.
    Whole,
}

impl Part {
    /// `training`, `validation` or `whole`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Valid => "validation",
            Self::Whole => "whole",
        }
    }
}

/// A text in two parts that share no document, and the tokenizer that reads it. Files stay where they are and are read
/// chunk by chunk, so a corpus may be larger than memory.
#[derive(Debug, Clone)]
pub struct Corpus {
    name: String,
    kind: CorpusKind,
    train: Text,
    valid: Text,
    documents: u64,
    skipped: usize,
    sha256: String,
    note: Option<String>,
    tokenizer: Tokenizer,
    cache: Option<PathBuf>,
}

/// Sources one after the other, and how many bytes they hold together.
#[derive(Debug, Clone)]
struct Text {
    sources: Vec<Source>,
    bytes: u64,
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
        let (train, valid) = split_inside(&Source::memory(text.to_vec()))?;
        Self::build(name, CorpusKind::Text, vec![train], vec![valid], 0)
    }

    /// A text file, or a folder of them (searched recursively, in order of their paths; hidden, binary and empty files
    /// are left out and counted). How documents lie in a file, and whether it is packed, follows from its name; see
    /// `docs/corpora.md`.
    ///
    /// A folder most of which is named for training, validation or testing is split like that, and what is for testing
    /// is left out; any other folder is split by file, a single file between its documents.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::EmptyCorpus`].
    pub fn from_path(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if !fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?.is_dir() {
            let (train, valid) = split_inside(&Source::file(path)?)?;
            return Self::build(&name, CorpusKind::File, vec![train], vec![valid], 0);
        }
        let mut found = Vec::new();
        list_files(path, &mut found)?;
        found.sort();
        let (mut sources, mut files) = (Vec::new(), Vec::new());
        for file in &found {
            let source = Source::file(file)?;
            if source.is_text()? {
                let below = file.strip_prefix(path).unwrap_or(file).to_string_lossy().replace('\\', "/");
                files.push((below, source.stored_bytes()?));
                sources.push(source.ending_line());
            }
        }
        let (parts, named) = parts(&files);
        let of = |wanted| {
            let with_part = sources.iter().zip(&parts).filter(move |(_, part)| **part == Some(wanted));
            with_part.map(|(source, _)| source.clone()).collect::<Vec<_>>()
        };
        let (mut train, mut valid) = (of(Part::Train), of(Part::Valid));
        let skipped = found.len() - train.len() - valid.len();
        if let ([only], []) = (train.as_slice(), valid.as_slice()) {
            let (first, second) = split_inside(only)?;
            (train, valid) = (vec![first], vec![second]);
        }
        let mut corpus = Self::build(&name, CorpusKind::Folder, train, valid, skipped)?;
        if named {
            corpus.note = Some("split as its files are named; what they name for testing is left out".into());
        }
        Ok(corpus)
    }

    /// The Rust sources of the locked crates; where cargo or the lock file isn't there, the binary's own embedded
    /// sources, under the name `own-sources` and with a [`note`](Self::note) that says why.
    ///
    /// # Errors
    /// [`Error::EmptyCorpus`] (the allow-list found nothing).
    pub fn rust() -> Result<Self> {
        match rust_sources::locked_crates() {
            Ok(found) => {
                let (train, valid) = (Source::memory(found.train), Source::memory(found.valid));
                let mut corpus = Self::build("rust", CorpusKind::RustSources, vec![train], vec![valid], found.skipped)?;
                corpus.documents = found.documents as u64;
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
        let names: Vec<(String, u64)> = documents.iter().map(|d| (d.name.clone(), d.text.len() as u64)).collect();
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for (document, held) in documents.into_iter().zip(held_out(&names)) {
            if held { &mut valid } else { &mut train }.push(Source::memory(document.text).ending_line());
        }
        Self::build("own-sources", CorpusKind::OwnSources, train, valid, 0)
    }

    /// Reads everything once: for the hash, the lengths and the number of documents.
    fn build(name: &str, kind: CorpusKind, train: Vec<Source>, valid: Vec<Source>, skipped: usize) -> Result<Self> {
        let (mut hash, mut bytes, mut documents) = (Sha256::new(), [0, 0], 0);
        for (part, sources) in [&train, &valid].into_iter().enumerate() {
            for source in sources {
                let (mut scan, before) = (Scan::new(source.layout, u64::MAX), bytes[part]);
                source.read(&mut |chunk, ends| {
                    scan.feed(chunk, ends);
                    hash.update(chunk);
                    bytes[part] += chunk.len() as u64;
                    Ok(())
                })?;
                documents += if bytes[part] > before && source.begins() { scan.documents() } else { 0 };
            }
        }
        if bytes == [0, 0] {
            return Err(Error::EmptyCorpus { name: name.to_owned() });
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            train: Text { sources: train, bytes: bytes[0] },
            valid: Text { sources: valid, bytes: bytes[1] },
            documents,
            skipped,
            sha256: hex(&hash.finalize()),
            note: None,
            tokenizer: Tokenizer::Bytes,
            cache: None,
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

    /// Bytes of a part.
    pub fn bytes(&self, part: Part) -> u64 {
        self.texts(part).iter().map(|text| text.bytes).sum()
    }

    /// Hands the text of a part to `take`, chunk by chunk.
    ///
    /// # Errors
    /// [`Error::Read`]; what `take` says.
    pub fn read(&self, part: Part, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut sources = self.texts(part).into_iter().flat_map(|text| &text.sources);
        sources.try_for_each(|source| source.read(&mut |chunk, _| take(chunk)))
    }

    /// The first `most` bytes of a part.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn text(&self, part: Part, most: usize) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        for source in self.texts(part).into_iter().flat_map(|text| &text.sources) {
            if text.len() >= most {
                break;
            }
            source.first((most - text.len()) as u64).read(&mut |chunk, _| {
                text.extend_from_slice(chunk);
                Ok(())
            })?;
        }
        text.truncate(most);
        Ok(text)
    }

    fn texts(&self, part: Part) -> Vec<&Text> {
        match part {
            Part::Train => vec![&self.train],
            Part::Valid => vec![&self.valid],
            Part::Whole => vec![&self.train, &self.valid],
        }
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

    /// The same corpus, whose tokens are made once and kept in files in `folder`, where that is worth it.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Where files of tokens are kept, if anywhere.
    pub fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// Documents in both parts.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Files found and left out (hidden, binary, empty, generated, duplicate, too large, for testing).
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// One sentence on where the text comes from, where that isn't plain from the name.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// sha256 of the training part followed by the validation part, in hexadecimal: for a single file, what `sha256sum`
    /// prints.
    pub fn sha256(&self) -> String {
        self.sha256.clone()
    }
}

/// sha256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Every regular file under `folder` that isn't hidden; folders behind symbolic links are not entered, so cycles can't
/// happen.
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
