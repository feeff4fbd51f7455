//! Philox4x32-10: random numbers as a function of a counter and a key (Salmon, Moraes, Dror & Shaw 2011, "Parallel
//! random numbers: as easy as 1, 2, 3").
//!
//! Integers only, so every device gives the same bits. Block `i` of stream `s` under the key `k` is the cipher of the
//! counter (i, 0, s, 0); its four words are the elements 4i to 4i+3.

/// Multipliers of the two halves of the counter.
pub(crate) const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What is added to the key after each round: ⌊2³²·(φ − 1)⌋ and ⌊2³²·(√3 − 1)⌋.
pub(crate) const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
/// Rounds of the cipher.
pub(crate) const ROUNDS: usize = 10;

/// One round.
#[inline(always)]
pub(crate) fn round([c0, c1, c2, c3]: [u32; 4], [k0, k1]: [u32; 2]) -> [u32; 4] {
    let a = u64::from(MULTIPLIERS[0]) * u64::from(c0);
    let b = u64::from(MULTIPLIERS[1]) * u64::from(c2);
    [(b >> 32) as u32 ^ c1 ^ k0, b as u32, (a >> 32) as u32 ^ c3 ^ k1, a as u32]
}

/// The key of the next round.
#[inline(always)]
pub(crate) fn next_key(key: [u32; 2]) -> [u32; 2] {
    [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])]
}

/// The cipher of one counter.
#[inline(always)]
pub(crate) fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        counter = round(counter, key);
        key = next_key(key);
    }
    counter
}

/// The middle of one of 2²³ equal parts of (0, 1): exact in f32, and never 0 or 1, so that its logarithm is finite.
#[inline(always)]
pub(crate) fn uniform(word: u32) -> f32 {
    ((word >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_vectors() {
        // `kat_vectors` of Random123.
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn uniform_numbers_lie_strictly_between_0_and_1() {
        assert_eq!((uniform(0), uniform(u32::MAX)), (0.5 / 8_388_608.0, 1.0 - 0.5 / 8_388_608.0));
        assert_eq!(uniform(1 << 31), 0.5 + 0.5 / 8_388_608.0);
    }
}
