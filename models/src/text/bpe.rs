//! Byte-level byte-pair encoding, trained and stored by the `tokenizers` crate.
//!
//! Words are split as GPT-2 does (Radford et al. 2019) and written in its alphabet of 256 printable characters, one a
//! byte, each of them a token. So there are no unknowns and no special tokens, and every text round-trips. The crate
//! reads UTF-8 alone; a byte that is none becomes its own token.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{NormalizerWrapper, TokenizerBuilder, TokenizerImpl};

use super::corpus::sha256;

/// Word splitting, decoding and offsets are all those of the byte level; there is no normalizer, which would lose text.
type Pipeline = TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>;

/// A trained byte-pair encoding.
pub struct Bpe {
    pipeline: Pipeline,
    /// The bytes of each token.
    bytes: Vec<Vec<u8>>,
    /// The token of each single byte.
    byte_tokens: [u32; 256],
    json: String,
    sha256: String,
}

impl Bpe {
    /// Learns merges until there are `vocab` tokens, or no pair of tokens stands twice in `text`.
    ///
    /// # Errors
    /// What the crate says.
    pub(super) fn train(vocab: usize, text: Vec<String>) -> Result<Self, String> {
        let mut pipeline: Pipeline = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(ByteLevel::new(false, false, true)))
            .with_post_processor(None)
            .with_decoder(Some(ByteLevel::new(false, false, true)))
            .build()
            .map_err(|e| e.to_string())?;
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocab)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(alphabet().into_iter().collect())
            .build();
        pipeline.train(&mut trainer, text.into_iter()).map_err(|e| e.to_string())?;
        Self::from_json(pipeline.to_string(true).map_err(|e| e.to_string())?)
    }

    /// Reads what [`Bpe::json`] gives; a tokenizer of another kind is refused.
    ///
    /// # Errors
    /// A sentence's second half on what is wrong.
    pub(super) fn from_json(json: String) -> Result<Self, String> {
        check_merges(&json)?;
        let pipeline: Pipeline = json.parse().map_err(|e: tokenizers::Error| e.to_string())?;
        let level = pipeline.get_pre_tokenizer();
        if pipeline.get_normalizer().is_some() || level.is_none_or(|l| l.add_prefix_space || !l.use_regex) {
            return Err("it changes the text or splits it in another way than byte-level BPE".into());
        }
        let vocab = pipeline.get_vocab(true);
        let byte_of: HashMap<char, u8> = alphabet().into_iter().zip(0..=255).collect();
        let mut bytes = vec![Vec::new(); vocab.len()];
        for (token, id) in &vocab {
            let slot = bytes.get_mut(*id as usize).ok_or("its token ids have gaps")?;
            *slot = token
                .chars()
                .map(|c| byte_of.get(&c).copied())
                .collect::<Option<_>>()
                .ok_or("it has special tokens")?;
        }
        let mut byte_tokens = [0; 256];
        for (byte, c) in alphabet().into_iter().enumerate() {
            byte_tokens[byte] = vocab
                .get(c.to_string().as_str())
                .copied()
                .ok_or_else(|| format!("it has no token for the byte {byte}"))?;
        }
        let sha256 = sha256(json.as_bytes());
        Ok(Self { pipeline, bytes, byte_tokens, json, sha256 })
    }

    /// The tokenizer in the crate's standard JSON.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// sha256 of [`Bpe::json`], in hexadecimal.
    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Number of distinct tokens.
    pub(super) fn vocab(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a token; none for an id beyond the vocabulary.
    pub(super) fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Token ids of a text, given in pieces.
    ///
    /// # Errors
    /// What the crate says.
    pub(super) fn encode(&self, pieces: &[&[u8]]) -> Result<Vec<u32>, String> {
        let chunks: Vec<_> = pieces.iter().flat_map(|piece| piece.utf8_chunks()).collect();
        let valid: Vec<&str> = chunks.iter().map(std::str::Utf8Chunk::valid).collect();
        let encodings = self.pipeline.encode_batch_fast(valid, false).map_err(|e| e.to_string())?;
        let mut tokens = Vec::with_capacity(encodings.iter().map(|e| e.get_ids().len()).sum());
        for (chunk, encoding) in chunks.iter().zip(&encodings) {
            tokens.extend_from_slice(encoding.get_ids());
            tokens.extend(chunk.invalid().iter().map(|&byte| self.byte_tokens[usize::from(byte)]));
        }
        Ok(tokens)
    }
}

impl std::fmt::Debug for Bpe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bpe").field("vocab", &self.vocab()).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// That each merge makes a token of two: the crate looks up what it makes before it asks.
fn check_merges(json: &str) -> Result<(), String> {
    let file: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let model = &file["model"];
    if model["continuing_subword_prefix"].as_str().is_some_and(|prefix| !prefix.is_empty()) {
        return Err("its tokens have a prefix within words".into());
    }
    for merge in model["merges"].as_array().into_iter().flatten() {
        // `[left, right]`, or both in one text.
        let made = match merge {
            Value::String(pair) => pair.replacen(' ', "", 1),
            pair => [&pair[0], &pair[1]].map(|part| part.as_str().unwrap_or_default()).concat(),
        };
        if model["vocab"].get(&made).is_none() {
            return Err(format!("a merge makes {made:?}, which is no token"));
        }
    }
    Ok(())
}

/// GPT-2's character for each byte: itself where it can be printed, else one from U+0100 on.
fn alphabet() -> [char; 256] {
    let mut next = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) => char::from(byte),
        _ => next.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::pieces::pieces;

    #[test]
    fn cutting_a_text_into_pieces_changes_no_token() {
        let text: String = (0..9000).map(|i| format!("line {i}: caf\u{e9}\u{a0} it's\r\n\n  {}\t;", i * i)).collect();
        let all: Vec<&[u8]> = pieces(text.as_bytes()).collect();
        assert!(all.len() > 4);
        let bpe = Bpe::train(400, vec![text.clone()]).unwrap();
        let whole = bpe.pipeline.encode_fast(text.as_str(), false).unwrap();
        assert!(bpe.encode(&all).unwrap() == whole.get_ids());
    }
}
