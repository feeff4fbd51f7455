//! Where a token stands.

/// The sinusoid signal `[seq, d]`, row-major: the first half of the channels sines, the second cosines, wavelengths geometric from
/// 2π to 10000·2π (Vaswani et al. 2017, in tensor2tensor's layout). `d` is even.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_position_is_zeros_then_ones() {
        let signal = sinusoid(3, 8);
        assert_eq!(signal[..8], [0., 0., 0., 0., 1., 1., 1., 1.]);
        assert!((signal[8] - 1f32.sin()).abs() < 1e-7, "the shortest wavelength is 2π");
        assert!((signal[11] - 1e-4).abs() < 1e-9, "the longest is 10000·2π");
    }
}
