//! Where a token stands.

/// The sinusoid signal `[seq, d]`, row-major: the first half of the channels sines, the second cosines, wavelengths
/// geometric from 2π to 10000·2π (Vaswani et al. 2017, in tensor2tensor's layout). `d` is even.
pub fn sinusoid(seq: usize, d: usize) -> Vec<f32> {
    let half = d / 2;
    let step = 10_000f64.ln() / half.saturating_sub(1).max(1) as f64;
    let mut signal = Vec::with_capacity(seq * d);
    for t in 0..seq {
        let angles = (0..half).map(|i| t as f64 * (-step * i as f64).exp());
        signal.extend(angles.clone().map(|a| a.sin() as f32));
        signal.extend(angles.map(|a| a.cos() as f32));
    }
    signal
}

/// Buckets of relative positions (Raffel et al. 2020).
pub const BUCKETS: usize = 32;

/// The bucket of each pair of positions `[seq, seq]`, row-major: row t, column j for the distance t − j, 0 where j is
/// later. Distances below 16 have a bucket each, those from 16 to 127 share the rest by their logarithm, and the last
/// one takes what lies beyond (spec §3.3).
pub fn relative_buckets(seq: usize) -> Vec<f32> {
    let bucket = |distance: usize| {
        let exact = BUCKETS / 2;
        if distance < exact {
            return distance as f32;
        }
        let octaves = (distance as f64 / exact as f64).ln() / (128.0 / exact as f64).ln();
        (exact + (octaves * exact as f64) as usize).min(BUCKETS - 1) as f32
    };
    (0..seq * seq).map(|at| bucket((at / seq).saturating_sub(at % seq))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_a_bucket_each_and_far_ones_share() {
        let n = 200;
        let buckets = relative_buckets(n);
        let bucket = |distance: usize| buckets[(n - 1) * n + n - 1 - distance];
        assert_eq!([0, 1, 15, 16, 17].map(bucket), [0., 1., 15., 16., 16.]);
        // 16 + ⌊16·ln(64/16)/ln(8)⌋ = 26, and 31 from 113 on.
        assert_eq!([64, 112, 113, 128, 199].map(bucket), [26., 30., 31., 31., 31.]);
        assert_eq!(buckets[5], 0., "the future is masked anyway");
        assert!((1..n).all(|d| bucket(d) >= bucket(d - 1)));
    }

    #[test]
    fn first_position_is_zeros_then_ones() {
        let signal = sinusoid(3, 8);
        assert_eq!(signal[..8], [0., 0., 0., 0., 1., 1., 1., 1.]);
        assert!((signal[8] - 1f32.sin()).abs() < 1e-7, "the shortest wavelength is 2π");
        assert!((signal[11] - 1e-4).abs() < 1e-9, "the longest is 10000·2π");
    }
}
