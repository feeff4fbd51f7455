//! Random numbers that any machine can recompute.
//!
//! A stream is a pure function of (study seed, child number, purpose): Philox4x32-10 (Salmon et
//! al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with the study seed as key and the
//! other two in the counter. Sampling is written here, with IEEE basic operations only, because the
//! distributions of other crates and the system's `ln` may change between releases and machines.

use std::convert::Infallible;

/// Version of the streams and of the sampling; a study stores it. A change of either raises it.
pub const RNG_VERSION: u32 = 1;

/// What a stream is for. Streams of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Choosing a parent.
    Selection = 1,
    /// Mutating it.
    Mutation = 2,
    /// Starting values of parameters.
    InitialValues = 3,
    /// The leak test's parameters and tokens.
    LeakTest = 5,
    /// A random program to start from.
    RandomProgram = 6,
    /// Counting how often mutations bring something about.
    Rates = 7,
    /// The text of the functional probe.
    Probe = 8,
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Rng {
    /// The stream of that key. It is at most 2³⁴ 32-bit words long and then repeats.
    pub fn new(study_seed: u64, child: u64, purpose: Purpose) -> Rng {
        Rng {
            key: halves(study_seed),
            counter: [0, purpose as u32, halves(child)[0], halves(child)[1]],
            block: [0; 4],
            used: 4,
        }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// 64 random bits, the low half first.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | u64::from(self.next_u32()) << 32
    }

    /// A number in `0..bound`, each equally likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        // Values under 2⁶⁴ mod bound would make some residues likelier: draw again.
        let reject_under = bound.wrapping_neg() % bound;
        loop {
            let value = self.next_u64();
            if value >= reject_under {
                return (value % bound) as usize;
            }
        }
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number from N(0, 1), by Marsaglia's polar method.
    pub fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return u * (-2.0 * ln(s) / s).sqrt();
            }
        }
    }
}

/// For who draws from a stream with `rand`. The search doesn't: its distributions may change between releases.
impl rand::TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_u32().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Ten rounds of Philox4x32.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [low_0, high_0] = halves(u64::from(counter[0]) * 0xD251_1F53);
        let [low_1, high_1] = halves(u64::from(counter[2]) * 0xCD9E_8D57);
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// ln x for a normal positive x, within a few ulp, the same bits everywhere.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh((m−1)/(m+1)), |(m−1)/(m+1)| < 0.172
    let z = (m - 1.0) / (m + 1.0);
    let z2 = z * z;
    let mut sum = 0.0;
    for k in (0..12).rev() {
        sum = sum * z2 + 1.0 / f64::from(2 * k + 1);
    }
    2.0 * z * sum + exponent as f64 * std::f64::consts::LN_2
}

/// eˣ for |x| < 700, within a few ulp, the same bits everywhere.
pub(crate) fn exp(x: f64) -> f64 {
    let k = (x * std::f64::consts::LOG2_E).round();
    // ln 2 in two parts, so that k·ln 2 is exact enough to subtract.
    let r = (x - k * 6.931_471_803_691_238e-1) - k * 1.908_214_929_270_587_7e-10;
    let mut sum = 1.0;
    for n in (1..=16).rev() {
        sum = sum * r / f64::from(n) + 1.0;
    }
    sum * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::{exp, ln, philox};

    /// The known answers that come with the paper's reference code.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn own_ln_and_exp_agree_with_the_standard_ones() {
        for i in 1..2_000 {
            let x = f64::from(i) * 0.000_5;
            assert!((ln(x) - x.ln()).abs() <= 4e-15 * x.ln().abs().max(1.0), "ln {x}");
            let y = f64::from(i - 1_000) * 0.03;
            assert!((exp(y) / y.exp() - 1.0).abs() < 4e-15, "exp {y}");
        }
        assert!((ln(1e-300) - 1e-300f64.ln()).abs() < 1e-12);
    }
}
