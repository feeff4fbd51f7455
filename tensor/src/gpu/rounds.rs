//! What the software adapter makes of long loops: the rule on which [`Granted::max_loop_rounds`](super::Granted) rests.

use super::pools::scoped;
use super::{GpuDevice, GpuOptions};

/// Runs one workgroup of 64 invocations; `body` may use `lane`, the lengths `n[i]` and writes `total`. Gives each one's
/// total.
fn totals(gpu: &GpuDevice, lengths: [u32; 4], body: &str) -> Vec<u32> {
    let source = format!(
        "@group(0) @binding(0) var<storage, read> n: array<u32>;
         @group(0) @binding(1) var<storage, read_write> result: array<u32>;
         @compute @workgroup_size(64)
         fn main(@builtin(local_invocation_index) lane: u32) {{ var total = 0u; {body} result[lane] = total; }}"
    );
    let device = &gpu.0.device;
    let lengths = gpu.upload(bytemuck::cast_slice(&lengths)).expect("uploads");
    let result = gpu.upload(&[0.0; 64]).expect("uploads");
    scoped(
        device,
        || "loops".into(),
        || {
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
            let bound = [&lengths, &result].into_iter().enumerate();
            let entries: Vec<_> = bound
                .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.buffer.as_entire_binding() })
                .collect();
            let layout = pipeline.get_bind_group_layout(0);
            let group = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
            let group = device.create_bind_group(&group);
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
            gpu.0.queue.submit([encoder.finish()]);
        },
    )
    .expect("runs");
    bytemuck::cast_slice(&gpu.download(&result).expect("reads")).to_vec()
}

/// As many rounds as a shader may have, by [`Shader::rounds`](super::launch::Shader): none is lost, whatever the loops.
#[test]
fn the_rounds_that_are_granted_are_run() {
    let gpu = GpuDevice::for_tests(GpuOptions::default()).expect("GPU tests need an adapter");
    // Something that the driver can't know keeps it from computing the sum at once.
    let round = "total += 1u + (n[3] & i);";
    let loops = |counts: [&str; 2]| counts.map(|n| format!("for (var i = 0u; i < {n}; i++) {{ {round} }}"));
    let all = if gpu.info().is_software() { gpu.info().limits.max_loop_rounds } else { 65_535 };
    let [one, two] = loops(["n[0]", "n[1]"]);
    let [odd, even] = loops(["n[0] * (lane & 1u)", "n[1] * (1u - (lane & 1u))"]);
    let nested = format!("for (var j = 0u; j < n[0]; j++) {{ {two} }}");
    let barrier = format!("{one} workgroupBarrier(); {two}");
    let expect = |name: &str, body: &str, lengths: [u32; 2], expected: [u32; 2]| {
        let found = totals(&gpu, [lengths[0], lengths[1], 0, 0], body);
        let expected: Vec<u32> = expected.into_iter().cycle().take(64).collect();
        assert_eq!(found, expected, "{name}");
    };
    expect("one loop", &one, [all - 1, 0], [all - 1; 2]);
    expect("one after the other", &format!("{one} {two}"), [40_000, all - 40_002], [all - 2; 2]);
    expect("with a barrier between", &barrier, [40_000, all - 40_002], [all - 2; 2]);
    // 255 + 254·257 = 65,533 rounds.
    expect("one in the other", &nested, [254, 256], [254 * 256; 2]);
    expect("in turns", &format!("{odd} {even}"), [40_000, all - 40_002], [all - 40_002, 40_000]);
}
