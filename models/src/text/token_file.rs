//! Files of tokens, memory-mapped: a part of a corpus is tokenised once, and may be larger than memory.
//!
//! A file is a header of 240 bytes, then `count` tokens of `width` bytes each, little-endian. The header:
//! `primer-tokens-1\n`, `width`, `count` and the bytes of the part's text as u64, then in hexadecimal digits the sha256
//! of the corpus (64), of the tokenizer's id (64), of the part's name (its first 8) and of the tokens (64). It is
//! written beside its place and renamed, so it is whole or not there.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::corpus::{hex, sha256};
use crate::error::{Error, Result};

const MAGIC: &[u8; 16] = b"primer-tokens-1\n";
/// Bytes before the tokens.
pub(super) const HEADER: usize = 16 + 8 + 8 + 8 + 64 + 64 + 8 + 64;
/// Where the sha256 of the tokens begins.
const DATA_SHA256: usize = HEADER - 64;

/// What a file of tokens was made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    /// sha256 of the corpus.
    pub corpus: &'a str,
    /// The tokenizer's id.
    pub tokenizer: &'a str,
    /// `training`, `validation` or `whole`.
    pub part: &'a str,
    /// Bytes of the part's text: one text may be split in two ways.
    pub text_bytes: u64,
    /// Bytes a token.
    pub width: usize,
}

impl Key<'_> {
    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:.16}-{:.16}-{}.tokens", self.corpus, self.tokenizer, self.part))
    }

    /// The header up to the tokens' own hash.
    fn header(&self, count: u64) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend((self.width as u64).to_le_bytes());
        header.extend(count.to_le_bytes());
        header.extend(self.text_bytes.to_le_bytes());
        header.extend(self.corpus.as_bytes());
        header.extend(sha256(self.tokenizer.as_bytes()).as_bytes());
        header.extend(&sha256(self.part.as_bytes()).as_bytes()[..8]);
        header
    }
}

/// Takes tokens, `width` bytes each, as they are made.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// The file for `key` in `folder`; where it isn't there, or isn't what it should be, `write` is asked for the tokens
/// first. Says what was wrong with a file that was there.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`], what `write` says.
pub(super) fn open(
    folder: &Path,
    key: Key<'_>,
    write: impl FnOnce(&mut Sink<'_>) -> Result<()>,
) -> Result<(Mmap, Option<String>)> {
    let path = key.path(folder);
    let note = match map(&path, key) {
        Ok(Ok(mapped)) => return Ok((mapped, None)),
        Ok(Err(reason)) => {
            tracing::warn!(path = %path.display(), reason, "tokens are made again");
            Some(format!("the tokens in {} were made again, since {reason}", path.display()))
        }
        // Where the folder is a file, it can't be made either, which `build` says.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(source) => return Err(Error::Read { path, source }),
    };
    build(&path, key, write)?;
    let read = |source| Error::Read { path: path.clone(), source };
    let mapped = map(&path, key).map_err(read)?.map_err(|reason| read(std::io::Error::other(reason)))?;
    Ok((mapped, note))
}

/// Maps a file, unless it isn't what `key` says; then the inner error says why.
fn map(path: &Path, key: Key<'_>) -> std::io::Result<std::result::Result<Mmap, &'static str>> {
    let file = File::open(path)?;
    // SAFETY: nothing of this project writes into a finished file; it is replaced by renaming, which leaves the mapped
    // one as it was. Only another program that writes into the user's cache could change it under the map.
    let mapped = unsafe { Mmap::map(&file) }?;
    let Some((header, tokens)) = mapped.split_at_checked(HEADER) else {
        return Ok(Err("it is shorter than its header"));
    };
    let count = (tokens.len() / key.width) as u64;
    if header[..DATA_SHA256] != key.header(count) || !tokens.len().is_multiple_of(key.width) {
        return Ok(Err("its header is that of another text or tokenizer, or it was cut off"));
    }
    if header[DATA_SHA256..] != *sha256(tokens).as_bytes() {
        return Ok(Err("its tokens aren't those that were written"));
    }
    Ok(Ok(mapped))
}

/// Removes what processes that were killed while they wrote this file left a day ago or longer.
fn remove_forgotten(path: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let Some((folder, stem)) = path.parent().zip(path.file_stem()) else { return };
    let is_old = |path: &Path| {
        let modified = path.metadata().and_then(|data| data.modified()).ok();
        modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > DAY)
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(&*stem.to_string_lossy()) && name.ends_with(".tmp") && is_old(&entry) {
            // Best effort: it is somebody else's leftover.
            let _ = fs::remove_file(&entry);
        }
    }
}

/// Writes a file beside its place, flushes it to the disk and renames it.
fn build(path: &Path, key: Key<'_>, write: impl FnOnce(&mut Sink<'_>) -> Result<()>) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let failed = |source| Error::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    remove_forgotten(path);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let written = (|| {
        let mut file = BufWriter::new(File::create(&temporary).map_err(failed)?);
        file.write_all(&[0; HEADER]).map_err(failed)?;
        let (mut hash, mut bytes) = (Sha256::new(), 0u64);
        write(&mut |tokens| {
            hash.update(tokens);
            bytes += tokens.len() as u64;
            file.write_all(tokens).map_err(failed)
        })?;
        let mut header = key.header(bytes / key.width as u64);
        header.extend(hex(&hash.finalize()).as_bytes());
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)
    })();
    if written.is_err() {
        // Best effort: the write's own error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}
