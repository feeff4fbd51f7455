//! Tensor programs: one small intermediate representation (IR), and the devices that run it.
//!
//! A [`Tensor`] records primitives into a [`Graph`]; a [`Program`] is a graph with outputs and state updates; a
//! [`Device`] plans a program into an [`Executable`], which runs on a [`State`] as often as you like.
//! [`passes`] turns a program into a plan of few fused kernels with their memory, and says which passes there
//! are. The devices are an f64 interpreter (it gives the expected values of the tests), the CPU, and GPUs
//! through wgpu. Gradients are made by the crate `primer-autodiff`.
//!
//! ```
//! use primer_tensor::{Device, Tensor};
//!
//! let device = Device::auto(); // a real GPU, else the CPU
//! let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0], [2, 2])?;
//! let w = Tensor::from_slice(&[1.0, 0.0, -1.0, 1.0], [2, 2])?;
//!
//! let y = x.matmul(&w).relu().sum_axis(1); // recorded, not computed yet
//! let values = y.to_vec(&device)?; // fused, planned and run
//! assert_eq!(values, [2.0, 4.0]);
//! # Ok::<(), primer_tensor::Error>(())
//! ```

pub mod cpu;
mod data;
mod device;
mod dtype;
mod error;
pub mod gpu;
pub mod graph;
mod memory;
pub mod passes;
mod philox;
pub mod plan;
mod program;
pub mod reference;
mod shape;
mod state;
mod tensor;

pub use data::Data;
pub use device::{Device, Executable};
pub use dtype::DType;
pub use error::{Error, Result};
pub use graph::{BinaryOp, CompareOp, Graph, InputKind, NodeId, Op, ReduceOp, UnaryOp};
pub use memory::Bytes;
pub use program::Program;
pub use shape::Shape;
pub use state::State;
pub use tensor::{COMPOSITIONS, Composition, HostData, Tensor};
