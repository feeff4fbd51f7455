//! Fits a line by gradient descent: one program holds the loss, its gradient and the update, and is compiled once.

#![allow(clippy::print_stdout)] // an example shows its result

use primer_autodiff::grad;
use primer_tensor::{DType, Data, Device, Program, State, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // y = 2x − 1, seen at 16 points.
    let xs: Vec<f32> = (0..16).map(|i| i as f32 / 8.0 - 1.0).collect();
    let ys: Vec<f32> = xs.iter().map(|x| 2.0 * x - 1.0).collect();

    let (slope, offset) = (Tensor::state("slope", [1]), Tensor::state("offset", [1]));
    let (x, y) = (Tensor::data("x", [16], DType::F32), Tensor::data("y", [16], DType::F32));
    let loss = (&slope * &x + &offset - &y).square().mean();
    let [by_slope, by_offset] = grad(&loss, [&slope, &offset])?;
    let updates = [(slope.clone(), &slope - by_slope * 0.5), (offset.clone(), &offset - by_offset * 0.5)];
    let program = Program::trace(&[loss], &updates)?;

    let device = Device::auto();
    let mut step = device.compile(&program)?;
    let mut state = State::new(&device);
    state.insert("slope", [1], &[0.0])?;
    state.insert("offset", [1], &[0.0])?;
    for _ in 0..100 {
        step.run(&mut state, &[("x", Data::F32(&xs)), ("y", Data::F32(&ys))])?;
    }

    let (slope, offset) = (state.read("slope")?[0], state.read("offset")?[0]);
    assert!((slope - 2.0).abs() < 1e-3 && (offset + 1.0).abs() < 1e-3);
    println!("on {device}: y = {slope:.3} x {offset:+.3}, loss {:.1e}", step.output(0)?[0]);
    Ok(())
}
