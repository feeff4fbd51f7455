//! The engine's integration tests, in one binary.

mod gpu_device;
mod gpu_kernels;
mod gpu_support;
