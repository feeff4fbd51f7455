//! Reverse-mode differentiation, program to program.
//!
//! [`grad`] differentiates recorded tensors, [`grad_graph`] the nodes of a [`Graph`](primer_tensor::Graph). Both give
//! more of the same: a gradient is a program like any other, which is fused, planned, printed, hashed and
//! differentiated again. The rules, one a primitive, are in [`mod@vjp`], with the conventions for ties and singular
//! points.
//!
//! ```
//! use primer_autodiff::grad;
//! use primer_tensor::{Device, Tensor};
//!
//! let device = Device::auto(); // a real GPU, else the CPU; never fails
//! let x = Tensor::from_slice(&[1f32, 2., 3., 4.], [2, 2])?;
//! let w = Tensor::from_slice(&[0.5f32; 4], [2, 2])?;
//! let loss = x.matmul(&w).relu().square().mean();
//! let [dw] = grad(&loss, [&w])?;
//! println!("{device}: {} {:?}", loss.item(&device)?, dw.to_vec(&device)?);
//! # assert_eq!(loss.item(&device)?, 7.25);
//! # assert_eq!(dw.to_vec(&device)?, [6., 6., 8.5, 8.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod check;
mod error;
mod grad;
mod segments;
pub mod vjp;

pub use check::check_gradient;
pub use error::{Error, Result};
pub use grad::{checkpointed_grad_graph, checkpointed_grad_tensors, grad, grad_graph, grad_tensors};
