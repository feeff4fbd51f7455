//! From text to batches: corpora, the tokenizer, windows.

mod batches;
mod bpe;
mod corpus;
mod pieces;
mod rust_sources;
mod source;
mod split;
mod token_file;
mod tokenizer;

pub use batches::{Batch, EvalWindows, TokenSet};
pub use bpe::Bpe;
pub use corpus::{Corpus, CorpusKind, Part};
pub use tokenizer::{Tokenizer, TokenizerSpec};
