//! One file of a corpus: how its text lies in it, and reading that chunk by chunk, so that no file need fit into
//! memory.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::error::{Error, Result};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Bytes that decide whether a file is text.
const HEAD: u64 = 8192;

/// How documents lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The file is one document.
    Text,
    /// Each line is one: LM1B's `news.en-00001-of-00100`.
    Lines,
    /// Each begins with a line ` = Title = `: WikiText's `wiki.train.tokens`.
    WikiText,
    /// Each line is a JSON object with the document as its `text`: C4, and much else.
    JsonLines,
}

/// Where bytes come from.
#[derive(Debug, Clone)]
enum Origin {
    Memory(Arc<[u8]>),
    File { path: PathBuf, gzip: bool },
}

/// The text of a file, or a stretch of it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    origin: Origin,
    pub layout: Layout,
    /// Bytes of the text (after unpacking) that belong to it.
    range: Range<u64>,
    /// Whether a text that doesn't end with a line break gets one.
    ends_line: bool,
}

/// The part of a JSON line that is read.
#[derive(Deserialize)]
struct Line {
    text: String,
}

impl Source {
    /// A text in memory, one document.
    pub fn memory(text: Vec<u8>) -> Self {
        let whole = 0..text.len() as u64;
        Self { origin: Origin::Memory(text.into()), layout: Layout::Text, range: whole, ends_line: false }
    }

    /// The file at `path`; its layout follows from its name, for `.json` also from its first line.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn file(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (plain, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |plain| (plain, true));
        let layout = match plain.rsplit('.').next() {
            Some("jsonl" | "ndjson") => Layout::JsonLines,
            Some("json") if gzip => Layout::JsonLines,
            _ if plain.starts_with("news.en") => Layout::Lines,
            Some("tokens" | "raw") if plain.starts_with("wiki.") => Layout::WikiText,
            _ => Layout::Text,
        };
        let origin = Origin::File { path: path.to_owned(), gzip };
        let mut source = Self { origin, layout, range: 0..u64::MAX, ends_line: false };
        if plain.ends_with(".json") && !gzip {
            let mut first = Vec::new();
            let file = File::open(path).map_err(|e| source.failed(e))?;
            BufReader::new(file).take(1 << 20).read_until(b'\n', &mut first).map_err(|e| source.failed(e))?;
            if serde_json::from_slice::<Line>(&first).is_ok() {
                source.layout = Layout::JsonLines;
            }
        }
        Ok(source)
    }

    /// Adds a line break where the text doesn't end with one, so that the next document begins on a line.
    pub fn ending_line(mut self) -> Self {
        self.ends_line = true;
        self
    }

    /// Whether the text begins like text: it isn't empty and has no zero byte.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn is_text(&self) -> Result<bool> {
        let mut head = Vec::new();
        self.open()?.take(HEAD).read_to_end(&mut head).map_err(|e| self.failed(e))?;
        Ok(!head.is_empty() && !head.contains(&0))
    }

    /// Bytes on the disk or in memory, unpacked or not: a weight.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn stored_bytes(&self) -> Result<u64> {
        match &self.origin {
            Origin::Memory(text) => Ok(text.len() as u64),
            Origin::File { path, .. } => Ok(fs::metadata(path).map_err(|e| self.failed(e))?.len()),
        }
    }

    /// Bytes of the whole text, if that is known without reading it.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn known_bytes(&self) -> Result<Option<u64>> {
        let packed = matches!(self.origin, Origin::File { gzip: true, .. }) || self.layout == Layout::JsonLines;
        if packed { Ok(None) } else { Ok(Some(self.stored_bytes()?)) }
    }

    /// Whether it begins with a document, and isn't the rest of one.
    pub fn begins(&self) -> bool {
        self.layout != Layout::Text || self.range.start == 0
    }

    /// The first `most` bytes of it, for JSON up to the end of a document.
    pub fn first(&self, most: u64) -> Self {
        let end = self.range.end.min(self.range.start.saturating_add(most));
        Self { range: self.range.start..end, ..self.clone() }
    }

    /// The same text up to `border`, and from there on.
    pub fn split(&self, border: u64) -> (Self, Self) {
        (Self { range: 0..border, ..self.clone() }, Self { range: border..u64::MAX, ..self.clone() })
    }

    /// Hands the text to `take`, chunk by chunk; `true` comes with a chunk that ends a document inside the file.
    ///
    /// # Errors
    /// [`Error::Read`], which for JSON names the line; what `take` says.
    pub fn read(&self, take: &mut dyn FnMut(&[u8], bool) -> Result<()>) -> Result<()> {
        let last = Cell::new(b'\n');
        let mut take = |chunk: &[u8], ends: bool| {
            last.set(chunk.last().copied().unwrap_or(last.get()));
            take(chunk, ends)
        };
        match (&self.origin, self.layout) {
            (Origin::Memory(text), _) => {
                let end = self.range.end.min(text.len() as u64) as usize;
                take(&text[(self.range.start as usize).min(end)..end], false)?;
            }
            (_, Layout::JsonLines) => self.read_json(&mut take)?,
            _ => self.read_plain(&mut take)?,
        }
        if self.ends_line && last.get() != b'\n' {
            take(b"\n", false)?;
        }
        Ok(())
    }

    fn read_plain(&self, take: &mut dyn FnMut(&[u8], bool) -> Result<()>) -> Result<()> {
        let mut reader = match &self.origin {
            Origin::File { path, gzip: false } => {
                let mut file = File::open(path).map_err(|e| self.failed(e))?;
                file.seek(SeekFrom::Start(self.range.start)).map_err(|e| self.failed(e))?;
                Box::new(file)
            }
            _ => {
                let mut reader = self.open()?;
                io::copy(&mut reader.by_ref().take(self.range.start), &mut io::sink()).map_err(|e| self.failed(e))?;
                reader
            }
        };
        let mut left = self.range.end - self.range.start;
        let mut chunk = vec![0; CHUNK];
        loop {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            match reader.read(&mut chunk[..most]) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    take(&chunk[..count], false)?;
                    left -= count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
    }

    /// Each document, or what of it lies in the range, is one chunk and ends a line.
    fn read_json(&self, take: &mut dyn FnMut(&[u8], bool) -> Result<()>) -> Result<()> {
        let mut reader = BufReader::with_capacity(CHUNK, self.open()?);
        let (mut line, mut number, mut offset) = (Vec::new(), 0u64, 0u64);
        while offset < self.range.end {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(|e| self.failed(e))? == 0 {
                break;
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Line { mut text } = serde_json::from_slice(&line).map_err(|e| {
                let what = format!("line {number} is no JSON object with a \"text\": {e}");
                self.failed(io::Error::new(io::ErrorKind::InvalidData, what))
            })?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
            let part = |border: u64| border.saturating_sub(offset).min(text.len() as u64) as usize;
            let (from, to) = (part(self.range.start), part(self.range.end));
            if from < to {
                take(&text.as_bytes()[from..to], true)?;
            }
            offset += text.len() as u64;
        }
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Read + '_>> {
        match &self.origin {
            Origin::Memory(text) => Ok(Box::new(&text[..])),
            Origin::File { path, gzip } => {
                let file = File::open(path).map_err(|e| self.failed(e))?;
                let file = BufReader::with_capacity(CHUNK, file);
                // Several members one after the other are one text, as `cat a.gz b.gz` makes them.
                Ok(if *gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        let path = match &self.origin {
            Origin::Memory(_) => PathBuf::new(),
            Origin::File { path, .. } => path.clone(),
        };
        Error::Read { path, source }
    }
}
