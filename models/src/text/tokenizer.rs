//! Text to token ids and back.

/// Bytes as tokens: 256 of them, no unknowns, every text and every invalid encoding round-trips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteTokenizer;

impl ByteTokenizer {
    /// Number of distinct tokens.
    pub const VOCAB: usize = 256;

    /// Token ids of `text`, one a byte.
    pub fn encode(self, text: &[u8]) -> Vec<u32> {
        text.iter().map(|&byte| u32::from(byte)).collect()
    }

    /// The bytes of `tokens`; an id that is no byte is left out.
    pub fn decode(self, tokens: &[u32]) -> Vec<u8> {
        tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_round_trips() {
        let text: Vec<u8> = (0..=255).chain(*b"\r\n\xff\xfe caf\xc3\xa9").collect();
        assert_eq!(ByteTokenizer.decode(&ByteTokenizer.encode(&text)), text);
    }
}
