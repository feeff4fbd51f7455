//! Adapters reached through wgpu: Vulkan, Metal and DX12, hardware or software.
//!
//! A plan becomes WGSL (`wgsl`), at least one shader a kernel; pipelines are shared by source and buffers by size
//! (`pools`); an executable holds everything that a run needs and submits once a run. Invariants: a buffer is bound
//! once a launch, and written by it or only read; no binding is empty; no launch exceeds the granted limits; whatever
//! the driver reports becomes an error of the next call; nothing here panics on a lost device.

mod adapter;
mod executable;
mod launch;
mod pools;
mod roof;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod slices;
mod variants;
mod wgsl;
mod writer;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use crate::memory::MemoryBudget;
use crate::passes::{self, PlanLimits, TileLimits};
use crate::plan::Plan;
use crate::{Error, Program, Result};

pub use adapter::{GpuInfo, GpuOptions, Granted};
pub use executable::GpuExecutable;
pub use pools::PoolCounts;
pub use variants::{MatMulVariant, RowVariant, Variants};

use pools::{BufferPool, PipelinePool, scoped, typed};

/// One opened adapter. Cloning shares it.
#[derive(Clone)]
pub struct GpuDevice(Arc<Inner>, MemoryBudget, Variants);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: GpuInfo,
    buffers: BufferPool,
    pipelines: PipelinePool,
    /// The first error that no call could be blamed for; every later call gives it back.
    failure: Arc<Mutex<Option<Error>>>,
    /// Bytes that wait in staging buffers for the next submission.
    staged: AtomicU64,
    /// The longest wait: a kernel that takes longer is taken for hung.
    timeout: Duration,
    tiles: TileLimits,
}

/// f32 elements in device memory; goes back to the device's pool when dropped.
pub struct GpuBuffer {
    buffer: wgpu::Buffer,
    elements: usize,
    device: GpuDevice,
}

/// The longest wait where nothing else is asked for.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes in staging buffers that are worth a wait.
const STAGED: u64 = 128 << 20;

/// Smaller tensors are stored whole, so that launches are few and nothing is computed twice. A chunk is work enough for
/// a large GPU, as are that many rows of several heads.
const TILES: TileLimits = TileLimits { bytes: 64 << 20, rows: 1024, fewest: 2, chunk: Some(256 << 20) };

/// A software adapter is busy with less.
const SOFTWARE_TILES: TileLimits = TileLimits { bytes: 32 << 20, rows: 128, fewest: 2, chunk: Some(32 << 20) };

/// More buffers in a kernel would only make it slower to record.
const MAX_BUFFERS: u32 = 24;

impl GpuDevice {
    fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: GpuInfo,
        variants: Variants,
        options: GpuOptions,
        budget: MemoryBudget,
    ) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let set = |failure: &Arc<Mutex<Option<Error>>>| {
            let failure = failure.clone();
            move |error: Error| {
                tracing::error!(%error, "the device failed");
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
            }
        };
        let uncaptured = set(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| uncaptured(typed(error, "outside of a call"))));
        let lost = set(&failure);
        device.set_device_lost_callback(move |reason, message| {
            lost(Error::DeviceLost { message: format!("{reason:?}: {message}") })
        });
        let tiles = if info.is_software() { SOFTWARE_TILES } else { TILES };
        let inner = Inner {
            device,
            queue,
            info,
            buffers: BufferPool::default(),
            pipelines: PipelinePool::new(options.runtime_checks),
            failure,
            staged: AtomicU64::new(0),
            timeout: options.timeout.unwrap_or(TIMEOUT),
            tiles: options.tiles.unwrap_or(tiles),
        };
        Self(Arc::new(inner), budget, variants)
    }

    pub(crate) fn budget(&self) -> MemoryBudget {
        self.1
    }

    pub(crate) fn with_budget(self, budget: MemoryBudget) -> Self {
        Self(self.0, budget, self.2)
    }

    /// The device, where what is compiled from now on runs those kernels, or what it can run in place of one that it
    /// can't. It shares buffers with this one. Results may differ in their last bits.
    #[must_use]
    pub fn with_variants(self, variants: Variants) -> Self {
        let variants = variants.within(&self.0.info.limits);
        Self(self.0, self.1, variants)
    }

    /// The device, where what is compiled from now on stores in 16 bits what matrix products alone read. Products still
    /// add up in f32, parameters and outputs stay f32. A value beyond 65,504 becomes infinite or that, as the driver
    /// rounds; one below 6.2·10⁻⁵ loses digits or becomes zero. Training scales its loss to stay between (Micikevicius
    /// et al. 2018, "Mixed Precision Training").
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the adapter has no f16 (WebGPU's `shader-f16`).
    pub fn with_half_operands(self) -> Result<Self> {
        if !self.0.info.limits.f16 {
            return Err(Error::Unsupported { device: self.to_string(), what: "f16" });
        }
        Ok(Self(self.0, self.1, Variants { half_operands: true, ..self.2 }))
    }

    /// The adapter and what it granted.
    pub fn info(&self) -> &GpuInfo {
        &self.0.info
    }

    /// The kernels that it runs: those for the adapter's class, or what [`GpuDevice::with_variants`] says.
    pub fn variants(&self) -> Variants {
        self.2
    }

    /// Buffers, bytes and pipelines held.
    pub fn counts(&self) -> PoolCounts {
        PoolCounts { pipelines: self.0.pipelines.len(), ..self.0.buffers.counts() }
    }

    /// Allocations and bytes that the driver holds for this device, staging included, where the backend tells.
    pub fn driver_memory(&self) -> Option<(usize, u64)> {
        let report = self.0.device.generate_allocator_report()?;
        Some((report.allocations.len(), report.total_allocated_bytes))
    }

    /// Loses the device, as a driver reset does: every later call on it, its buffers and its executables is an
    /// [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.0.device.destroy();
        // The callback comes from a poll, once the queue is empty.
        let _ = self.poll(wgpu::PollType::wait_indefinitely());
    }

    /// What the driver has reported since the device was opened, if anything.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// As [`GpuDevice::check`], after a look at what has happened: wgpu tells of a loss when it is polled.
    fn settle(&self) -> Result<()> {
        // One that doesn't wait fails for no other reason than a loss.
        let _ = self.poll(wgpu::PollType::Poll)?;
        self.check()
    }

    /// [`poll`], after which the device stays lost if it was.
    fn poll(&self, how: wgpu::PollType) -> Result<std::result::Result<wgpu::PollStatus, wgpu::PollError>> {
        poll(&self.0.device, how).inspect_err(|error| {
            self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        })
    }

    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The largest tensor that a kernel can bind, in bytes; what buffers hold is a multiple of 16.
    fn max_tensor(&self) -> u64 {
        let Granted { max_binding, max_buffer, .. } = self.0.info.limits;
        // Shaders count elements in 32 bits.
        max_binding.min(max_buffer).min(4 * u64::from(u32::MAX)) & !15
    }

    fn allocate(&self, elements: usize) -> Result<GpuBuffer> {
        let (needed, granted) = (4 * elements as u64, self.max_tensor());
        if needed > granted {
            return Err(Error::TensorSize { what: "a tensor".into(), shape: [elements].into(), needed, granted });
        }
        // Bindings may not be empty; vectors of four read to a multiple of 16 bytes.
        let buffer = self.0.buffers.take(&self.0.device, needed.max(1).next_multiple_of(16))?;
        Ok(GpuBuffer { buffer, elements, device: self.clone() })
    }

    /// Writes the first bytes of a buffer before whatever is submitted next.
    fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        scoped(
            &self.0.device,
            || format!("staging {} bytes", bytes.len()),
            || {
                self.0.queue.write_buffer(buffer, 0, bytes);
            },
        )?;
        let staged = self.0.staged.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
        if staged >= STAGED {
            // A state would else be in memory twice until the first run.
            self.0.staged.store(0, Ordering::Relaxed);
            let submission = self.0.queue.submit([]);
            self.wait(submission)?;
        }
        Ok(())
    }

    pub(crate) fn upload(&self, values: &[f32]) -> Result<GpuBuffer> {
        self.check()?;
        let buffer = self.allocate(values.len())?;
        self.write(&buffer.buffer, bytemuck::cast_slice(values))?;
        self.settle()?;
        Ok(buffer)
    }

    pub(crate) fn download(&self, buffer: &GpuBuffer) -> Result<Vec<f32>> {
        if !self.same(&buffer.device) {
            return Err(Error::DeviceMismatch { what: "a buffer" });
        }
        self.read(&buffer.buffer, buffer.elements)
    }

    /// Plans a program.
    ///
    /// # Errors
    /// Those of [`passes::plan`].
    pub(crate) fn plan(&self, program: &Program) -> Result<Plan> {
        let buffers = self.0.info.limits.max_storage_buffers.min(MAX_BUFFERS).saturating_sub(1) as usize;
        let epilogues = self.variants().matmul.is_tiled();
        // A chunk is one buffer.
        let most = usize::try_from(self.max_tensor()).unwrap_or(usize::MAX);
        let tiles = TileLimits { chunk: self.0.tiles.chunk.map(|bytes| bytes.min(most)), ..self.0.tiles };
        let half_operands = self.variants().half_operands;
        passes::plan(program, PlanLimits { buffers, tiles: Some(tiles), epilogues, half_operands })
    }

    pub(crate) fn compile(&self, program: &Program) -> Result<GpuExecutable> {
        self.check()?;
        GpuExecutable::new(self, program, self.plan(program)?)
    }

    /// The first elements of a buffer, through one submit and one wait.
    fn read(&self, buffer: &wgpu::Buffer, elements: usize) -> Result<Vec<f32>> {
        self.check()?;
        if elements == 0 {
            return Ok(Vec::new());
        }
        let Inner { device, queue, .. } = &*self.0;
        let size = 4 * elements as u64;
        let (staging, submission) = scoped(
            device,
            || format!("reading back {size} bytes"),
            || {
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
            },
        )?;
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |mapped| {
            let _ = sender.send(mapped);
        });
        self.wait(submission)?;
        let failed = |what: String| Error::Device { message: format!("reading back: {what}") };
        let mapped = receiver.recv_timeout(self.0.timeout).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Error::Timeout { after: self.0.timeout },
            mpsc::RecvTimeoutError::Disconnected => failed(error.to_string()),
        })?;
        mapped.map_err(|e| failed(e.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view[..]))
    }

    /// Blocks until a submission has run.
    fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let after = self.0.timeout;
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(after) };
        let polled = self.poll(wait)?;
        self.check()?;
        waited(polled, after)
    }
}

/// Looks at what has happened, and waits where asked to.
///
/// # Errors
/// [`Error::DeviceLost`]: wgpu panics where the driver says so while it is asked.
fn poll(device: &wgpu::Device, how: wgpu::PollType) -> Result<std::result::Result<wgpu::PollStatus, wgpu::PollError>> {
    unless_lost(|| device.poll(how))
}

fn unless_lost<T>(work: impl FnOnce() -> T) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Error::DeviceLost { message: words.unwrap_or_else(|| "the driver gave no reason".into()) }
    })
}

/// What a wait that may last so long came to.
fn waited(polled: Result<wgpu::PollStatus, wgpu::PollError>, after: Duration) -> Result<()> {
    match polled {
        Ok(_) => Ok(()),
        Err(wgpu::PollError::Timeout) => Err(Error::Timeout { after }),
        Err(error) => Err(Error::Device { message: error.to_string() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_takes_too_long_is_a_time_out() {
        let after = Duration::from_millis(1500);
        let error = waited(Err(wgpu::PollError::Timeout), after).expect_err("too long");
        assert!(matches!(error, Error::Timeout { after: waited } if waited == after), "{error:?}");
        assert_eq!(error.to_string(), "the device gave no answer within 1.5 s");
        assert!(waited(Ok(wgpu::PollStatus::QueueEmpty), after).is_ok());
        let error = waited(Err(wgpu::PollError::WrongSubmissionIndex(2, 1)), after).expect_err("wrong");
        assert!(matches!(error, Error::Device { .. }), "{error:?}");
    }

    #[test]
    fn a_panic_over_a_lost_device_is_an_error() {
        let error = unless_lost(|| panic!("Error in Device::poll: {}", "lost")).expect_err("lost");
        assert!(matches!(&error, Error::DeviceLost { message } if message.ends_with("poll: lost")), "{error:?}");
        assert_eq!(unless_lost(|| 3).expect("there"), 3);
    }
}
