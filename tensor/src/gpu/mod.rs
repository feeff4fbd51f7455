//! Adapters reached through wgpu: Vulkan, Metal and DX12, hardware or software.
//!
//! A plan becomes WGSL (`wgsl`), one or two shaders a kernel; pipelines are shared by source and buffers by size (`pools`); an
//! executable holds everything that a run needs and submits once a run. Invariants: a buffer is bound once a launch, and written
//! by it or only read; no binding is empty; no launch exceeds the granted limits; whatever the driver reports becomes an error of
//! the next call; nothing here panics on a lost device.

mod adapter;
mod executable;
mod launch;
mod pools;
mod roof;
#[cfg(test)]
mod slices;
mod wgsl;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use crate::passes::{self, PlanLimits};
use crate::{Error, Program, Result};

pub use adapter::{GpuInfo, GpuOptions, Granted, Variants};
pub use executable::GpuExecutable;
pub use pools::PoolCounts;

use pools::{BufferPool, PipelinePool, scoped};

/// One opened adapter. Cloning shares it.
#[derive(Clone)]
pub struct GpuDevice(Arc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: GpuInfo,
    variants: Variants,
    buffers: BufferPool,
    pipelines: PipelinePool,
    /// The first error that no call could be blamed for; every later call gives it back.
    failure: Arc<Mutex<Option<String>>>,
}

/// f32 elements in device memory; goes back to the device's pool when dropped.
pub struct GpuBuffer {
    buffer: wgpu::Buffer,
    elements: usize,
    device: GpuDevice,
}

/// A kernel that takes longer is taken for hung.
const TIMEOUT: Duration = Duration::from_secs(600);

/// More buffers in a kernel would only make it slower to record.
const MAX_BUFFERS: u32 = 24;

impl GpuDevice {
    fn new(device: wgpu::Device, queue: wgpu::Queue, info: GpuInfo, variants: Variants) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let set = |failure: &Arc<Mutex<Option<String>>>| {
            let failure = failure.clone();
            move |message: String| {
                tracing::error!(error = message, "the device failed");
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(message);
            }
        };
        let uncaptured = set(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured(error.to_string())));
        let lost = set(&failure);
        device.set_device_lost_callback(move |reason, message| {
            lost(format!("the device was lost ({reason:?}): {message}"))
        });
        Self(Arc::new(Inner {
            device,
            queue,
            info,
            variants,
            buffers: BufferPool::default(),
            pipelines: PipelinePool::default(),
            failure,
        }))
    }

    /// The adapter and what it granted.
    pub fn info(&self) -> &GpuInfo {
        &self.0.info
    }

    /// The kernels that it runs.
    pub fn variants(&self) -> Variants {
        self.0.variants
    }

    /// Buffers, bytes and pipelines held.
    pub fn counts(&self) -> PoolCounts {
        PoolCounts { pipelines: self.0.pipelines.len(), ..self.0.buffers.counts() }
    }

    /// Loses the device, as a driver reset does: every later call on it, its buffers and its executables is an
    /// [`Error::Device`].
    pub fn destroy(&self) {
        self.0.device.destroy();
        // The callback comes from a poll, once the queue is empty.
        let _ = self.0.device.poll(wgpu::PollType::wait_indefinitely());
    }

    /// What the driver has reported since the device was opened, if anything.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(Error::Device { message: message.clone() }),
            None => Ok(()),
        }
    }

    /// As [`GpuDevice::check`], after a look at what has happened: wgpu tells of a loss when it is polled.
    fn settle(&self) -> Result<()> {
        // A failed poll is a lost device, which `check` knows of.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
        self.check()
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn allocate(&self, what: impl Fn() -> String, elements: usize) -> Result<GpuBuffer> {
        let needed = 4 * elements as u64;
        let Granted { max_binding, max_buffer, .. } = self.0.info.limits;
        let granted = max_binding.min(max_buffer);
        if needed > granted {
            return Err(Error::Limit { what: what(), needed, granted, unit: "bytes in one buffer" });
        }
        // Bindings may not be empty; sizes in steps of 16 bytes are found again more often.
        let buffer = self.0.buffers.take(&self.0.device, needed.max(1).next_multiple_of(16).min(granted & !3))?;
        Ok(GpuBuffer { buffer, elements, device: self.clone() })
    }

    pub(crate) fn upload(&self, values: &[f32]) -> Result<GpuBuffer> {
        self.check()?;
        let buffer = self.allocate(|| format!("a tensor of {} elements", values.len()), values.len())?;
        if !values.is_empty() {
            self.0.queue.write_buffer(&buffer.buffer, 0, bytemuck::cast_slice(values));
        }
        self.settle()?;
        Ok(buffer)
    }

    pub(crate) fn download(&self, buffer: &GpuBuffer) -> Result<Vec<f32>> {
        if !self.same(&buffer.device) {
            return Err(Error::DeviceMismatch { what: "a buffer" });
        }
        self.read(&buffer.buffer, buffer.elements)
    }

    pub(crate) fn compile(&self, program: &Program) -> Result<GpuExecutable> {
        self.check()?;
        let buffers = self.0.info.limits.max_storage_buffers.min(MAX_BUFFERS).saturating_sub(1) as usize;
        let plan = passes::plan(program, PlanLimits { buffers, tiles: None })?;
        GpuExecutable::new(self, program, plan)
    }

    /// The first elements of a buffer, through one submit and one wait.
    fn read(&self, buffer: &wgpu::Buffer, elements: usize) -> Result<Vec<f32>> {
        self.check()?;
        if elements == 0 {
            return Ok(Vec::new());
        }
        let Inner { device, queue, .. } = &*self.0;
        let size = 4 * elements as u64;
        let (staging, submission) = scoped(device, || {
            let staging = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
            let submission = queue.submit([encoder.finish()]);
            (staging, submission)
        })?;
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |mapped| {
            let _ = sender.send(mapped);
        });
        self.wait(submission)?;
        let failed = |what: String| Error::Device { message: format!("reading back: {what}") };
        receiver.recv_timeout(TIMEOUT).map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view[..]))
    }

    /// Blocks until a submission has run.
    fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let polled =
            self.0.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(TIMEOUT) });
        self.check()?;
        polled.map(drop).map_err(|error| Error::Device { message: error.to_string() })
    }
}

impl fmt::Display for GpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.info.fmt(f)
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.device.0.buffers.give(self.buffer.clone());
    }
}
