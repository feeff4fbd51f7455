//! Causal depthwise convolution over the sequence, its adjoint in x and its adjoint in the taps.

use primer_tensor::Op;

use crate::{Family, adjoint, leaf};

pub fn cases(family: &mut Family<'_>) {
    for width in [3, 31] {
        let [x, upstream] = ["x", "dy"].map(|name| leaf(name, [16, 128, 256]));
        let taps = leaf("taps", [width, 256]);
        family.case(&format!("{width}x1 16x128x256"), &[x.depthwise_conv(&taps)]);
        let dx = adjoint(Op::DepthwiseConvInputGrad, &[upstream.clone(), taps]);
        family.case(&format!("{width}x1 gradient in x"), &[dx]);
        let dw = adjoint(Op::DepthwiseConvFilterGrad { width }, &[x, upstream]);
        family.case(&format!("{width}x1 gradient in the taps"), &[dw]);
    }
}
