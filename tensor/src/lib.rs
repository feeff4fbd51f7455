//! Tensor programs: one small IR, and the devices that run it.
//!
//! A [`Tensor`] records primitives into a [`Graph`]; a [`Program`] is a graph with outputs and state updates; a [`Device`]
//! plans a program into an [`Executable`], which runs on a [`State`] as often as you like.

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
pub use program::Program;
pub use shape::Shape;
pub use state::State;
pub use tensor::{COMPOSITIONS, Composition, HostData, Tensor};
