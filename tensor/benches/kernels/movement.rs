//! Kernels that move: copies into another order, gather and scatter, running sums and products, random numbers.

use primer_tensor::{DType, Op, Tensor};

use crate::{Family, adjoint, leaf};

pub fn cases(family: &mut Family<'_>) {
    family.case("transpose 2048x1024", &[leaf("x", [2048, 1024]).permute(&[1, 0])]);
    let heads = leaf("x", [16, 128, 8, 32]).permute(&[0, 2, 1, 3]);
    family.case("merge of heads 16x128x8x32", &[heads.reshape([16 * 8 * 128, 32])]);
    let [left, right] = ["left", "right"].map(|name| leaf(name, [2048, 256]));
    family.case("concatenation 2048x512", &[Tensor::concat(&[left, right], 1)]);

    let tokens = Tensor::data("tokens", [2048], DType::U32);
    family.case("gather 2048 of 1024x256", &[leaf("table", [1024, 256]).gather(&tokens)]);
    let scattered = adjoint(Op::ScatterAdd { rows: 1024 }, &[tokens, leaf("updates", [2048, 256])]);
    family.case("scatter-add 2048 to 1024x256", &[scattered]);

    let x = leaf("x", [16, 128, 256]);
    family.case("running sum over the sequence 16x128x256", &[x.cumsum(1)]);
    family.case("running product along rows 16x128x256", &[x.cumprod(2)]);

    let key = Tensor::data("key", [2], DType::U32);
    family.case("random 524288", &[key.random([524_288], 0)]);
}
