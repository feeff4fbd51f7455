//! Where a long text may be cut before it is tokenised, so that no more than a piece of it need be in memory.

/// Bytes of a piece at most.
pub(super) const PIECE: usize = 64 << 10;

/// Length of the next piece of a text that goes on with `text`, or `None` where more of it has to be read first. `last`
/// says that nothing follows. The cuts depend on the text alone, never on how it was read.
///
/// A piece ends, where it can, before white space that follows a visible ASCII character: byte-level BPE always splits
/// there (its words may begin with a space and never hold one inside), so the cut changes no token. A text without such
/// a place, a line of a gigabyte say, is cut after [`PIECE`] bytes, between characters.
pub(super) fn next_piece(text: &[u8], last: bool) -> Option<usize> {
    if text.len() <= PIECE {
        return (last && !text.is_empty()).then_some(text.len());
    }
    let window = &text[..PIECE];
    let border = (1..PIECE).rev().find(|&i| window[i].is_ascii_whitespace() && window[i - 1].is_ascii_graphic());
    Some(border.unwrap_or_else(|| {
        // A UTF-8 character has at most three continuation bytes; where there are more, it is no UTF-8 anyway.
        (PIECE - 3..=PIECE).rev().find(|&i| text[i] & 0xC0 != 0x80).unwrap_or(PIECE)
    }))
}

/// The pieces of a text's beginning that are certain whatever follows it, or all of them where nothing does, and their
/// length.
pub(super) fn whole_pieces(text: &[u8], last: bool) -> (Vec<&[u8]>, usize) {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(length) = next_piece(&text[at..], last) {
        all.push(&text[at..at + length]);
        at += length;
    }
    (all, at)
}

/// The pieces of a text that is in memory.
pub(super) fn pieces(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(next_piece(text, true)?);
        text = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_and_end_before_white_space() {
        let text = "several words\nand lines, ".repeat(20_000).into_bytes();
        let all: Vec<&[u8]> = pieces(&text).collect();
        assert!(all.len() > 5 && all.concat() == text);
        assert!(all.iter().skip(1).all(|piece| piece[0].is_ascii_whitespace() && piece.len() <= PIECE));
        assert_eq!(pieces(b"").count(), 0);
    }

    #[test]
    fn a_text_without_white_space_is_cut_between_characters() {
        let text = "aé漢".repeat(50_000);
        let all: Vec<&[u8]> = pieces(text.as_bytes()).collect();
        assert!(all.iter().all(|piece| std::str::from_utf8(piece).is_ok()));
        assert!(all[..all.len() - 1].iter().all(|piece| piece.len() > PIECE - 4));
        let rubbish = vec![0xBFu8; 3 * PIECE + 5];
        assert_eq!(pieces(&rubbish).map(<[u8]>::len).collect::<Vec<_>>(), [PIECE, PIECE, PIECE, 5]);
    }

    #[test]
    fn cuts_do_not_depend_on_how_much_was_read() {
        let text = "one two three ".repeat(30_000).into_bytes();
        let first = next_piece(&text, true);
        assert_eq!(next_piece(&text[..PIECE + 1], false), first);
        assert_eq!(next_piece(&text[..2 * PIECE], false), first);
        assert_eq!(next_piece(&text[..PIECE], false), None, "what follows isn't known yet");
    }
}
