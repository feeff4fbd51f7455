//! Buffers by size and pipelines by source, each made once and used again.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::launch::Shader;
use crate::{Error, Result};

/// A pipeline and the layout of its bindings.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Free buffers, those last that came back last.
#[derive(Default)]
pub(super) struct BufferPool {
    free: Mutex<VecDeque<wgpu::Buffer>>,
    counts: Mutex<PoolCounts>,
}

/// How many buffers a device holds and how large they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolCounts {
    /// Buffers in use or kept for reuse.
    pub buffers: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Pipelines compiled and kept.
    pub pipelines: usize,
}

/// Free memory kept for reuse, in bytes; beyond it buffers go back to the driver.
const KEPT: u64 = 1 << 30;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the driver reports of `what`, as an error of the engine.
pub(super) fn typed(error: wgpu::Error, what: &str) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { what: what.to_owned() },
        error => Error::Device { message: format!("{what}: {error}") },
    }
}

/// Runs `create` and gives back the error that the driver reports for it, which says `what` was done.
pub(super) fn scoped<T>(device: &wgpu::Device, what: impl Fn() -> String, create: impl FnOnce() -> T) -> Result<T> {
    let scopes = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory]
        .map(|filter| device.push_error_scope(filter));
    let made = create();
    let mut first = None;
    for scope in scopes.into_iter().rev() {
        let error = pollster::block_on(scope.pop());
        first = first.or(error);
    }
    match first {
        Some(error) => Err(typed(error, &what())),
        None => Ok(made),
    }
}

impl BufferPool {
    /// A buffer of exactly `size` bytes, a multiple of 4 that isn't 0, with whatever was in it.
    pub fn take(&self, device: &wgpu::Device, size: u64) -> Result<wgpu::Buffer> {
        {
            let mut free = lock(&self.free);
            if let Some(buffer) = free.iter().rposition(|buffer| buffer.size() == size).and_then(|at| free.remove(at)) {
                return Ok(buffer);
            }
        }
        let create = || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let what = || format!("a buffer of {size} bytes");
        let buffer = match scoped(device, what, create) {
            Err(Error::OutOfMemory { .. }) if self.keep(0) => {
                // What waited for another program of the same sizes makes room, once the driver has it back.
                let _ = super::poll(device, wgpu::PollType::wait_indefinitely())?;
                scoped(device, what, create)?
            }
            made => made?,
        };
        let mut counts = lock(&self.counts);
        counts.buffers += 1;
        counts.bytes += size;
        Ok(buffer)
    }

    /// Takes a buffer back; the oldest make room.
    pub fn give(&self, buffer: wgpu::Buffer) {
        lock(&self.free).push_back(buffer);
        self.keep(KEPT);
    }

    /// Gives the oldest free buffers back to the driver until the rest has `most` bytes; whether there were any.
    fn keep(&self, most: u64) -> bool {
        let (mut free, mut counts) = (lock(&self.free), lock(&self.counts));
        let mut kept: u64 = free.iter().map(wgpu::Buffer::size).sum();
        let before = kept;
        while kept > most
            && let Some(oldest) = free.pop_front()
        {
            kept -= oldest.size();
            counts.buffers -= 1;
            counts.bytes -= oldest.size();
        }
        kept < before
    }

    pub fn counts(&self) -> PoolCounts {
        *lock(&self.counts)
    }
}

/// Compiled pipelines by their source.
pub(super) struct PipelinePool {
    compiled: Mutex<HashMap<String, Arc<Pipeline>>>,
    checks: wgpu::ShaderRuntimeChecks,
}

/// Pipelines kept though no executable uses them.
const IDLE_PIPELINES: usize = 1024;

impl PipelinePool {
    /// Pipelines with wgpu's run-time checks of indices, loops and divisions, or without.
    pub fn new(checked: bool) -> Self {
        let checks =
            if checked { wgpu::ShaderRuntimeChecks::checked() } else { wgpu::ShaderRuntimeChecks::unchecked() };
        Self { compiled: Mutex::default(), checks }
    }

    /// The pipelines of all `shaders`, in order; what is new is compiled by as many threads as there are cores.
    pub fn get(&self, device: &wgpu::Device, shaders: &[&Shader]) -> Result<Vec<Arc<Pipeline>>> {
        let mut wanted: Vec<&Shader> = Vec::new();
        {
            let compiled = lock(&self.compiled);
            for shader in shaders {
                if !compiled.contains_key(&shader.source) && !wanted.iter().any(|w| w.source == shader.source) {
                    wanted.push(shader);
                }
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || {
            let mut made = Vec::new();
            while let Some(shader) = wanted.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                made.push((shader.source.clone(), Arc::new(compile(device, shader, self.checks)?)));
            }
            Ok(made)
        };
        let made: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
            // This thread, and as many more as the system grants.
            let more = (1..threads).map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok());
            let more: Vec<_> = more.collect();
            let failed = |_| Err(Error::Device { message: "the shader compiler panicked".into() });
            let own = std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(failed);
            let others = more.into_iter().map(|thread| thread.join().unwrap_or_else(failed));
            std::iter::once(own).chain(others).collect()
        });
        let mut compiled = lock(&self.compiled);
        for batch in made {
            compiled.extend(batch?);
        }
        let found = shaders.iter().map(|shader| {
            let missing = || Error::Device { message: "a pipeline is missing".into() };
            compiled.get(&shader.source).cloned().ok_or_else(missing)
        });
        let found = found.collect::<Result<Vec<_>>>()?;
        if compiled.len() > IDLE_PIPELINES {
            compiled.retain(|_, pipeline| Arc::strong_count(pipeline) > 1);
        }
        Ok(found)
    }

    pub fn len(&self) -> usize {
        lock(&self.compiled).len()
    }
}

fn compile(device: &wgpu::Device, shader: &Shader, checks: wgpu::ShaderRuntimeChecks) -> Result<Pipeline> {
    let started = std::time::Instant::now();
    let made = scoped(
        device,
        || format!("kernel {}", shader.name),
        || {
            let module = wgpu::ShaderModuleDescriptor {
                label: Some(shader.name),
                source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
            };
            // SAFETY: the generator bounds every index and loop. A launch computes no element past its count; views lie
            // in their buffers (`Plan::check_views`); indices that are data are clamped; loops count up to a number
            // fixed at launch; no divisor is 0, since nothing is launched for an empty view. The tests run kernels of
            // every family with the checks too.
            let module = unsafe { device.create_shader_module_trusted(module, checks) };
            let entry = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            };
            let uniform = shader.has_params().then(|| entry(0, wgpu::BufferBindingType::Uniform));
            let storage = shader.bindings.iter().enumerate();
            let storage =
                storage.map(|(i, b)| entry(i + 1, wgpu::BufferBindingType::Storage { read_only: !b.written }));
            let entries: Vec<_> = uniform.into_iter().chain(storage).collect();
            let layout =
                device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(shader.name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write what they read of it.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
            Pipeline { pipeline, layout }
        },
    );
    tracing::debug!(kernel = shader.name, ms = started.elapsed().as_millis() as u64, "compiled");
    made.map_err(|error| match error {
        Error::Device { message } => {
            tracing::error!(source = shader.source, "the driver refuses a kernel");
            Error::Kernel { kernel: shader.name.into(), message }
        }
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{GpuDevice, GpuOptions};

    #[test]
    fn a_kernel_that_the_driver_refuses_is_named() {
        let device = GpuDevice::for_tests(GpuOptions::default()).expect("GPU tests need an adapter");
        let shader = |name: &'static str, body: &str| Shader {
            name,
            source: format!("@compute @workgroup_size(1)\nfn main() {{ {body} }}\n"),
            bindings: Vec::new(),
            params: Vec::new(),
            workgroups: 1,
            auxiliary: 0,
            rounds: 0,
        };
        let fine = shader("row/fine", "let x = 1u;");
        let inner = &device.0;
        let pipelines = PipelinePool::new(false);
        for (name, body) in [
            ("row/unparsed", "let x = ;"),
            ("row/untyped", "let x: f32 = 1u;"),
            ("row/unknown", "let x = no_such_function(1.0);"),
            // Parses, and is refused by the validation of the pipeline: no such binding in the layout.
            (
                "row/unbound",
                "out[0] = 1.0; } @group(0) @binding(7) var<storage, read_write> out: array<f32>; fn rest() {",
            ),
        ] {
            let error = pipelines.get(&inner.device, &[&fine, &shader(name, body)]).err().expect("refused");
            assert!(matches!(&error, Error::Kernel { kernel, .. } if kernel == name), "{name}: {error:?}");
        }
        // The device and what it compiled are unharmed.
        pipelines.get(&inner.device, &[&fine]).expect("compiles");
        device.check().expect("no failure is left");
    }
}
