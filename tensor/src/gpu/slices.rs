//! What WebGPU allows of two slices of one buffer: the rule on which the planner's buffers rest (`docs/prototypes.md`,
//! 3).

use super::pools::scoped;
use super::{GpuDevice, GpuOptions};
use crate::Result;

const SOURCE: &str = "
    @group(0) @binding(0) var<storage, ACCESS> source: array<f32>;
    @group(0) @binding(1) var<storage, read_write> result: array<f32>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) at: vec3<u32>) { result[at.x] = source[at.x] + 1.0; }
";

/// Adds one to the first 256 bytes of a buffer and writes the result to bytes 256 to 512 of it, the source bound as
/// `access` says.
fn dispatch(gpu: &GpuDevice, access: &str) -> Result<Vec<f32>> {
    let device = &gpu.0.device;
    let buffer = gpu.upload(&(0..128).map(|i| i as f32).collect::<Vec<_>>())?;
    scoped(
        device,
        || "two slices".into(),
        || {
            let source = SOURCE.replace("ACCESS", access);
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: None,
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            });
            let slice = |binding: u32, offset: u64| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer.buffer,
                    offset,
                    size: std::num::NonZeroU64::new(256),
                }),
            };
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[slice(0, 0), slice(1, 256)],
            });
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
            gpu.0.queue.submit([encoder.finish()]);
        },
    )?;
    gpu.download(&buffer)
}

#[test]
fn a_read_only_and_a_writable_slice_of_one_buffer_are_refused() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("GPU tests need an adapter");
    let error = dispatch(&gpu, "read").expect_err("wgpu tracks whole buffers").to_string();
    assert!(error.contains("conflicting usages"), "{error}");
}

#[test]
fn two_writable_slices_of_one_buffer_are_accepted() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("GPU tests need an adapter");
    let found = dispatch(&gpu, "read_write").expect("no conflict");
    let expected = (0..64).map(|i| i as f32).chain((0..64).map(|i| i as f32 + 1.0));
    assert!(found.into_iter().eq(expected));
}
