//! The engine's integration tests, in one binary.

mod compositions;
mod cpu_kernels;
mod cpu_matmul;
mod cpu_memory;
mod cpu_rows;
mod cpu_state;
mod cpu_support;
mod cpu_tiles;
mod gpu_device;
mod gpu_half;
mod gpu_kernels;
mod gpu_rounds;
mod gpu_support;
mod gpu_tiles;
