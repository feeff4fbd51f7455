//! A tensor program from data to numbers: record, compute, read.

#![allow(clippy::print_stdout)] // an example shows its result

use primer_tensor::{Device, Tensor};

fn main() -> primer_tensor::Result<()> {
    let device = Device::auto(); // a real GPU, else the CPU
    let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0], [2, 2])?;
    let w = Tensor::from_slice(&[1.0, 0.0, -1.0, 1.0], [2, 2])?;

    // Nothing is computed here: operators record primitives.
    let y = x.matmul(&w).relu().sum_axis(1);

    // Here the whole history is fused, planned and run.
    let values = y.to_vec(&device)?;
    assert_eq!(values, [2.0, 4.0]);
    println!("on {device}: relu(x·w) summed by rows = {values:?}");
    Ok(())
}
