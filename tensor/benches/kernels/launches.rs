//! Many tiny kernels, each of which needs the one before: what a run of them costs the host.

use crate::{Family, leaf};

pub fn cases(family: &mut Family<'_>) {
    // A product and a softmax are kernels of their own, since neither can be computed where the other is.
    let w = leaf("w", [8, 8]);
    let last = (0..500).fold(leaf("x", [8, 8]), |x, _| x.matmul(&w).softmax());
    family.recorded("1000 kernels of 8x8", &[last], 1000);
}
