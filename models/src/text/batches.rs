//! Windows of tokens: random ones to train on, fixed ones to evaluate on.

use std::ops::Range;

use memmap2::Mmap;

use super::pieces::whole_pieces;
use super::token_file;
use crate::error::{Error, Result};
use crate::rng::Stream;
use crate::text::{Corpus, Part, Tokenizer};

/// `batch` windows of `seq` tokens, row by row, and for each position the token that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// [batch, seq], what the model reads.
    pub inputs: Vec<u32>,
    /// [batch, seq], `inputs` moved one token on.
    pub targets: Vec<u32>,
    /// Rows.
    pub batch: usize,
    /// Tokens a row.
    pub seq: usize,
}

/// Corpora of more bytes than that are read from a file of tokens even where tokens are bytes.
const IN_MEMORY: u64 = 64 << 20;
/// Bytes of text tokenised at once.
const AT_ONCE: usize = 1 << 20;

/// One part of a corpus as tokens, in memory or in a file that is mapped into it.
#[derive(Debug)]
pub struct TokenSet {
    name: String,
    part: Part,
    tokenizer: Tokenizer,
    /// `width` bytes a token, little-endian, from `start` to `end`.
    bytes: Storage,
    start: usize,
    end: usize,
    width: usize,
    note: Option<String>,
}

#[derive(Debug)]
enum Storage {
    Memory(Vec<u8>),
    Mapped(Mmap),
}

impl Storage {
    fn all(&self) -> &[u8] {
        match self {
            Storage::Memory(bytes) => bytes,
            Storage::Mapped(mapped) => mapped,
        }
    }
}

impl TokenSet {
    /// The training part of `corpus`, read by its tokenizer.
    ///
    /// # Errors
    /// As [`TokenSet::of`].
    pub fn train(corpus: &Corpus) -> Result<Self> {
        Self::of(corpus, Part::Train)
    }

    /// The validation part of `corpus`, read by its tokenizer.
    ///
    /// # Errors
    /// As [`TokenSet::of`].
    pub fn valid(corpus: &Corpus) -> Result<Self> {
        Self::of(corpus, Part::Valid)
    }

    /// The whole text, the training part first.
    ///
    /// # Errors
    /// As [`TokenSet::of`].
    pub fn whole(corpus: &Corpus) -> Result<Self> {
        Self::of(corpus, Part::Whole)
    }

    /// A part of `corpus`, read by its tokenizer. Where the corpus has a [cache](Corpus::with_cache), and tokens aren't
    /// the bytes of a text that fits into memory, they are made once and kept there.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::BadTokenizer`]; [`Error::Write`] where the cache can't be written.
    pub fn of(corpus: &Corpus, part: Part) -> Result<Self> {
        let tokenizer = corpus.tokenizer().clone();
        let width = match tokenizer.vocab() {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let small = corpus.bytes(part) <= IN_MEMORY && matches!(tokenizer, Tokenizer::Bytes);
        let (bytes, start, note) = match corpus.cache() {
            Some(folder) if !small => {
                let sha256 = corpus.sha256();
                let (tokenizer, text_bytes) = (tokenizer.id(), corpus.bytes(part));
                let key = token_file::Key { corpus: &sha256, tokenizer, part: part.name(), text_bytes, width };
                let write = |sink: &mut token_file::Sink<'_>| tokenize(corpus, part, width, sink);
                let (mapped, note) = token_file::open(folder, key, write)?;
                (Storage::Mapped(mapped), token_file::HEADER, note)
            }
            _ => {
                let mut bytes = Vec::new();
                tokenize(corpus, part, width, &mut |tokens| {
                    bytes.extend_from_slice(tokens);
                    Ok(())
                })?;
                (Storage::Memory(bytes), 0, None)
            }
        };
        let end = bytes.all().len();
        Ok(Self { name: corpus.name().to_owned(), part, tokenizer, bytes, start, end, width, note })
    }

    /// What the tokens were made by.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// One sentence where a file of tokens was there and wasn't what it should be, so that it was made again.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The tokens of `range` alone.
    ///
    /// # Panics
    /// Where `range` goes beyond the last token.
    #[must_use]
    pub fn narrow(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} tokens", self.len());
        let at = |token: usize| self.start + token * self.width;
        let (start, end) = (at(range.start), at(range.end));
        Self { start, end, ..self }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes.all()[self.start..self.end]
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.bytes().len() / self.width
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Batch number `index` of `seed`: windows drawn uniformly, with replacement. A pure function of its arguments, so
    /// a run's data cursor is its step.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`] when no window of `seq + 1` tokens fits.
    pub fn batch(&self, batch: usize, seq: usize, seed: u64, index: u64) -> Result<Batch> {
        self.check(seq)?;
        let starts = (self.len() - seq) as u64;
        let stream = Stream::new(seed, "batches");
        let first = index.wrapping_mul(batch as u64);
        let windows: Vec<usize> =
            (0..batch as u64).map(|row| stream.below(first.wrapping_add(row), starts) as usize).collect();
        Ok(self.gather(&windows, seq))
    }

    /// The fixed evaluation windows: every `seq` tokens one, in order, not overlapping.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`] when no window of `seq + 1` tokens fits.
    pub fn windows(&self, batch: usize, seq: usize) -> Result<EvalWindows<'_>> {
        self.check(seq)?;
        Ok(EvalWindows { set: self, batch, seq, next: 0, count: (self.len() - 1) / seq })
    }

    /// All tokens that have one before them, in order, each once: `batch · seq` predictions at a time, and how many of
    /// them count. The last batch is filled up with zeros.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`] when no window of `seq + 1` tokens fits.
    pub fn in_order(&self, batch: usize, seq: usize) -> Result<impl Iterator<Item = (Batch, usize)>> {
        self.check(seq)?;
        let (size, predicted) = (batch * seq, self.len() - 1);
        let padded = move |range: Range<usize>| {
            let mut tokens: Vec<u32> = self.slice(range).collect();
            tokens.resize(size, 0);
            tokens
        };
        Ok((0..predicted).step_by(size).map(move |first| {
            let end = predicted.min(first + size);
            let (inputs, targets) = (padded(first..end), padded(first + 1..end + 1));
            (Batch { inputs, targets, batch, seq }, end - first)
        }))
    }

    /// Fails unless a window of `seq` tokens and its targets fits.
    ///
    /// # Errors
    /// [`Error::ShortCorpus`].
    pub fn check(&self, seq: usize) -> Result<()> {
        if self.len() > seq {
            return Ok(());
        }
        Err(Error::ShortCorpus {
            name: self.name.clone(),
            part: self.part.name(),
            have: self.len(),
            need: seq.saturating_add(1),
        })
    }

    /// The tokens from `range.start` to `range.end`.
    pub(crate) fn slice(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        let token = |bytes: &[u8]| bytes.iter().rev().fold(0, |token, &byte| token << 8 | u32::from(byte));
        self.bytes()[range.start * self.width..range.end * self.width].chunks_exact(self.width).map(token)
    }

    fn gather(&self, starts: &[usize], seq: usize) -> Batch {
        let take = |offset: usize| starts.iter().flat_map(move |&s| self.slice(s + offset..s + offset + seq));
        Batch { inputs: take(0).collect(), targets: take(1).collect(), batch: starts.len(), seq }
    }
}

/// Hands the tokens of a part to `sink`, `width` bytes each, while the text is read.
fn tokenize(corpus: &Corpus, part: Part, width: usize, sink: &mut token_file::Sink<'_>) -> Result<()> {
    if matches!(corpus.tokenizer(), Tokenizer::Bytes) {
        return corpus.read(part, sink);
    }
    let mut text = Vec::new();
    let mut put = |text: &mut Vec<u8>, last: bool| {
        let (pieces, rest) = whole_pieces(text, last);
        let tokens = corpus.tokenizer().encode_pieces(&pieces)?;
        let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes().into_iter().take(width)).collect();
        text.drain(..rest);
        sink(&bytes)
    };
    corpus.read(part, &mut |chunk| {
        text.extend_from_slice(chunk);
        if text.len() >= AT_ONCE { put(&mut text, false) } else { Ok(()) }
    })?;
    put(&mut text, true)
}

/// Iterator over evaluation batches of exactly `batch` rows; a last, smaller group of windows is left out.
#[derive(Debug, Clone)]
pub struct EvalWindows<'a> {
    set: &'a TokenSet,
    batch: usize,
    seq: usize,
    next: usize,
    count: usize,
}

impl Iterator for EvalWindows<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.batch == 0 || self.next >= self.count {
            return None;
        }
        // Fewer windows than rows: the last window fills up, so that a short text still gives one batch.
        if self.next + self.batch > self.count && self.next > 0 {
            return None;
        }
        let starts: Vec<usize> = (0..self.batch).map(|row| (self.next + row).min(self.count - 1) * self.seq).collect();
        self.next += self.batch;
        Some(self.set.gather(&starts, self.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(len: usize) -> TokenSet {
        let text: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        TokenSet {
            name: "counting".into(),
            part: Part::Whole,
            tokenizer: Tokenizer::Bytes,
            bytes: Storage::Memory(text),
            start: 0,
            end: len,
            width: 1,
            note: None,
        }
    }

    #[test]
    fn targets_follow_inputs() {
        let batch = set(200).batch(4, 16, 9, 3).unwrap();
        assert_eq!((batch.inputs.len(), batch.targets.len()), (64, 64));
        for row in 0..4 {
            assert_eq!(batch.inputs[row * 16 + 1..(row + 1) * 16], batch.targets[row * 16..(row + 1) * 16 - 1]);
        }
    }

    #[test]
    fn a_batch_depends_on_seed_and_index_only() {
        let set = set(1000);
        assert_eq!(set.batch(4, 16, 9, 3).unwrap(), set.batch(4, 16, 9, 3).unwrap());
        assert_ne!(set.batch(4, 16, 9, 3).unwrap(), set.batch(4, 16, 9, 4).unwrap());
        assert_ne!(set.batch(4, 16, 9, 3).unwrap(), set.batch(4, 16, 8, 3).unwrap());
    }

    #[test]
    fn the_shortest_text_gives_its_one_window() {
        let batch = set(17).batch(2, 16, 0, 0).unwrap();
        assert_eq!(batch.inputs[..16], (0..16).collect::<Vec<u32>>());
        assert!(matches!(set(16).batch(2, 16, 0, 0), Err(Error::ShortCorpus { have: 16, need: 17, .. })));
    }

    #[test]
    fn evaluation_windows_do_not_overlap() {
        let set = set(100);
        let batches: Vec<Batch> = set.windows(2, 10).unwrap().collect();
        assert_eq!(batches.len(), 4, "nine windows in pairs");
        let inputs: Vec<u32> = batches.iter().flat_map(|b| b.inputs.clone()).collect();
        assert_eq!(inputs, (0..80).collect::<Vec<u32>>());
    }

    #[test]
    fn a_narrowed_set_has_no_other_tokens() {
        let narrowed = set(100).narrow(40..61);
        assert_eq!(narrowed.len(), 21);
        let batches: Vec<Batch> = narrowed.windows(1, 10).unwrap().collect();
        let read: Vec<u32> = batches.iter().flat_map(|b| b.inputs.iter().chain(b.targets.last()).copied()).collect();
        assert_eq!(read, (40..50).chain([50]).chain(50..60).chain([60]).collect::<Vec<u32>>());
        assert!(narrowed.windows(1, 21).is_err());
    }

    #[test]
    fn in_order_each_token_is_predicted_once() {
        for len in [17, 40, 63, 64, 65, 100] {
            let set = set(len);
            let mut targets = Vec::new();
            for (batch, count) in set.in_order(2, 16).unwrap() {
                assert_eq!((batch.inputs.len(), batch.targets.len()), (32, 32));
                assert!(batch.inputs[1..count].iter().eq(&batch.targets[..count - 1]));
                assert!(batch.targets[count..].iter().all(|&token| token == 0));
                targets.extend_from_slice(&batch.targets[..count]);
            }
            assert_eq!(targets, (1..len as u32).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn fewer_windows_than_rows_still_give_a_batch() {
        assert_eq!(set(25).windows(4, 10).unwrap().count(), 1);
    }
}
