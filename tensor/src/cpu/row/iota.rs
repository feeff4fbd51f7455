//! Counters.

/// Element `linear` of a counter, as the bits of an f32 or a u32.
#[inline(always)]
pub(super) fn element(linear: usize, divisor: usize, modulus: usize, float: bool) -> u32 {
    bits((linear / divisor.max(1)) % modulus.max(1), float)
}

#[inline(always)]
fn bits(count: usize, float: bool) -> u32 {
    if float { (count as f32).to_bits() } else { count as u32 }
}

/// Elements `linear ..` of a counter, without a division for each.
#[inline(always)]
pub(super) fn fill(linear: usize, divisor: usize, modulus: usize, float: bool, out: &mut [u32]) {
    let (divisor, modulus) = (divisor.max(1), modulus.max(1));
    let mut count = (linear / divisor) % modulus;
    let mut left = divisor - linear % divisor;
    let mut rest = out;
    while !rest.is_empty() {
        let (run, after) = rest.split_at_mut(left.min(rest.len()));
        run.fill(bits(count, float));
        rest = after;
        left = divisor;
        count += 1;
        if count == modulus {
            count = 0;
        }
    }
}
