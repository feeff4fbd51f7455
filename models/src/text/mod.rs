//! From text to batches: corpora, the tokenizer, windows.

mod batches;
mod corpus;
mod rust_sources;
mod tokenizer;

pub use batches::{Batch, EvalWindows, TokenSet};
pub use corpus::{Corpus, CorpusKind};
pub use tokenizer::ByteTokenizer;
