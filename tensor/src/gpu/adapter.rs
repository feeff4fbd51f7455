//! Finding adapters and opening devices on them.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{GpuDevice, Variants};
use crate::memory::MemoryBudget;
use crate::passes::TileLimits;
use crate::{Error, Result};

/// What one adapter is, without opening a device on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GpuInfo {
    /// The adapter's name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// Name and version of the driver.
    pub driver: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// What the adapter can grant.
    pub limits: Granted,
    /// The features that the engine makes use of, where the adapter has them.
    pub features: Vec<&'static str>,
}

impl GpuInfo {
    /// Whether it computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }
}

impl fmt::Display for GpuInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = if self.is_software() { "software" } else { "gpu" };
        write!(f, "{class}: {} ({}, {})", self.name, self.driver, self.backend)
    }
}

/// The limits of a device that kernels must live within.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Bytes of a buffer that one kernel can see.
    pub max_binding: u64,
    /// Bytes of a buffer.
    pub max_buffer: u64,
    /// Workgroups along one dimension of a launch.
    pub max_workgroups_per_dim: u32,
    /// Storage buffers of one kernel.
    pub max_storage_buffers: u32,
    /// Invocations of one workgroup.
    pub max_invocations: u32,
    /// Bytes of memory shared by a workgroup.
    pub shared_bytes: u32,
    /// Invocations that run in lockstep, where the adapter has one fixed size and lets kernels use it; else 0.
    pub subgroup: u32,
    /// The fewest invocations that run in lockstep, where the adapter lets kernels use it; else 0.
    pub smallest_subgroup: u32,
    /// Whether kernels may use 16-bit floats.
    pub f16: bool,
    /// Rounds that an invocation may run of all its loops together: a software adapter may end it after them without a
    /// word. Else no limit, `u32::MAX`.
    pub max_loop_rounds: u32,
}

/// What Mesa's llvmpipe runs, counted for each vector of invocations in lockstep (`LP_MAX_TGSI_LOOP_ITERATIONS`).
const SOFTWARE_LOOP_ROUNDS: u32 = 65_535;

impl Granted {
    /// WebGPU's default limits, without subgroups.
    #[cfg(test)]
    pub(super) const WEBGPU: Self = Self {
        max_binding: 128 << 20,
        max_buffer: 256 << 20,
        max_workgroups_per_dim: 65_535,
        max_storage_buffers: 8,
        max_invocations: 256,
        shared_bytes: 16_384,
        subgroup: 0,
        smallest_subgroup: 0,
        f16: false,
        max_loop_rounds: u32::MAX,
    };

    fn of(limits: &wgpu::Limits, info: &wgpu::AdapterInfo, features: wgpu::Features) -> Self {
        let subgroups = features.contains(wgpu::Features::SUBGROUP);
        let fixed = subgroups && info.subgroup_min_size == info.subgroup_max_size;
        Self {
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            max_workgroups_per_dim: limits.max_compute_workgroups_per_dimension,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            max_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            shared_bytes: limits.max_compute_workgroup_storage_size,
            subgroup: if fixed { info.subgroup_min_size } else { 0 },
            smallest_subgroup: if subgroups { info.subgroup_min_size } else { 0 },
            f16: features.contains(wgpu::Features::SHADER_F16),
            max_loop_rounds: if info.device_type == wgpu::DeviceType::Cpu { SOFTWARE_LOOP_ROUNDS } else { u32::MAX },
        }
    }
}

/// How a device is opened, for tests and tuning; [`GpuDevice::first_real`] and its like take the best for the adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GpuOptions {
    /// Asks for WebGPU's default limits and no features instead of all that the adapter has.
    pub default_limits: bool,
    /// The kernels to run instead of those for the adapter's class.
    pub variants: Option<Variants>,
    /// Behaves as if a launch could have no more workgroups along a dimension.
    pub max_workgroups_per_dim: Option<u32>,
    /// Behaves as if a binding could have no more bytes.
    pub max_binding: Option<u64>,
    /// Behaves as if an invocation could run no more rounds of loops.
    pub max_loop_rounds: Option<u32>,
    /// The longest wait for the device, instead of ten minutes.
    pub timeout: Option<Duration>,
    /// What is held for a few tiles at a time, instead of what suits the adapter's class.
    pub tiles: Option<TileLimits>,
    /// Lets kernels check every index and bound every loop.
    pub runtime_checks: bool,
}

struct Entry {
    adapter: wgpu::Adapter,
    info: GpuInfo,
    opened: Mutex<Option<GpuDevice>>,
}

/// All adapters of this machine, real ones first; found once a process.
fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(backends));
        let computes =
            |a: &wgpu::Adapter| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS);
        let mut found: Vec<Entry> = adapters
            .into_iter()
            .filter(computes)
            .map(|adapter| Entry { info: describe(&adapter), adapter, opened: Mutex::new(None) })
            .collect();
        found.sort_by_key(|entry| {
            ["discrete", "integrated", "virtual", "other", "software"].iter().position(|kind| *kind == entry.info.kind)
        });
        for entry in &found {
            tracing::debug!(adapter = %entry.info, "found");
        }
        found
    })
}

fn describe(adapter: &wgpu::Adapter) -> GpuInfo {
    let info = adapter.get_info();
    let features = adapter.features();
    let named = [
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::SHADER_F16, "shader-f16"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
        (wgpu::Features::IMMEDIATES, "immediates"),
    ];
    GpuInfo {
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        backend: info.backend.to_str().to_owned(),
        limits: Granted::of(&adapter.limits(), &info, features),
        features: named.iter().filter(|(flag, _)| features.contains(*flag)).map(|(_, name)| *name).collect(),
        name: info.name,
    }
}

/// The adapter's memory: the machine's for software, the largest heap of its own for a GPU that Vulkan drives.
fn budget(entry: &Entry) -> MemoryBudget {
    if entry.info.is_software() {
        return MemoryBudget::of_machine();
    }
    // SAFETY: the handle is only read, and not kept.
    let Some(vulkan) = (unsafe { entry.adapter.as_hal::<wgpu::hal::api::Vulkan>() }) else {
        return MemoryBudget(None);
    };
    let instance = vulkan.shared_instance().raw_instance();
    // SAFETY: the physical device belongs to this instance, which the adapter keeps alive.
    let memory = unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize);
    MemoryBudget(heaps.filter(|heap| heap.flags.as_raw() & 1 != 0).map(|heap| heap.size).max())
}

fn open(entry: &Entry, options: GpuOptions) -> Result<GpuDevice> {
    let (limits, features) = if options.default_limits {
        (wgpu::Limits::default(), wgpu::Features::empty())
    } else {
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16;
        (entry.adapter.limits(), entry.adapter.features() & wanted)
    };
    let request = entry.adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("primer"),
        required_features: features,
        required_limits: limits.clone(),
        ..Default::default()
    });
    let (device, queue) =
        pollster::block_on(request).map_err(|error| Error::Device { message: format!("{}: {error}", entry.info) })?;
    let mut granted = Granted::of(&limits, &entry.adapter.get_info(), features);
    if let Some(max) = options.max_workgroups_per_dim {
        granted.max_workgroups_per_dim = granted.max_workgroups_per_dim.min(max);
    }
    if let Some(max) = options.max_binding {
        granted.max_binding = granted.max_binding.min(max);
    }
    if let Some(max) = options.max_loop_rounds {
        granted.max_loop_rounds = granted.max_loop_rounds.min(max);
    }
    let variants = options.variants.unwrap_or(Variants::of_kind(entry.info.kind)).within(&granted);
    let info = GpuInfo { limits: granted, ..entry.info.clone() };
    Ok(GpuDevice::new(device, queue, info, variants, options, budget(entry)))
}

/// The shared device of an adapter; a new one where the last was lost.
fn shared(entry: &Entry) -> Result<GpuDevice> {
    let mut opened = entry.opened.lock().unwrap_or_else(PoisonError::into_inner);
    match &*opened {
        Some(device) if device.check().is_ok() => Ok(device.clone()),
        _ => {
            let device = open(entry, GpuOptions::default())?;
            *opened = Some(device.clone());
            Ok(device)
        }
    }
}

fn missing(wanted: &str, reason: &str) -> Error {
    Error::NoDevice { wanted: wanted.into(), reason: reason.into() }
}

const INSTALL: &str = "install a software Vulkan driver, on Debian or Ubuntu with `apt-get install mesa-vulkan-drivers`, or use the device `cpu`";

impl GpuDevice {
    /// Every adapter that can compute, real ones first: `gpu:N` is the N-th.
    pub fn list() -> Vec<GpuInfo> {
        entries().iter().map(|entry| entry.info.clone()).collect()
    }

    /// The first adapter that isn't software.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where there is none; [`Error::Device`] where the driver refuses a device.
    pub fn first_real() -> Result<Self> {
        let real = entries().iter().find(|entry| !entry.info.is_software());
        let reason = match entries().len() {
            0 => {
                "no adapter with a Vulkan, Metal or DX12 driver was found; install the GPU's driver, or use the device `cpu`"
            }
            _ => {
                "there is only a software adapter, the device `software`; install the GPU's driver, or use the device `cpu`"
            }
        };
        shared(real.ok_or_else(|| missing("gpu", reason))?)
    }

    /// The software adapter.
    ///
    /// # Errors
    /// As [`GpuDevice::first_real`].
    pub fn software() -> Result<Self> {
        let software = entries().iter().find(|entry| entry.info.is_software());
        shared(software.ok_or_else(|| missing("software", INSTALL))?)
    }

    /// Adapter `index` of [`GpuDevice::list`].
    ///
    /// # Errors
    /// As [`GpuDevice::first_real`].
    pub fn nth(index: usize) -> Result<Self> {
        let count = entries().len();
        shared(entries().get(index).ok_or_else(|| {
            let reason = match count {
                0 => format!("no adapter was found; {INSTALL}"),
                1 => "there is one adapter, gpu:0".to_owned(),
                _ => format!("there are {count} adapters, gpu:0 to gpu:{}", count - 1),
            };
            missing(&format!("gpu:{index}"), &reason)
        })?)
    }

    /// A device of its own on the software adapter where there is one, else on the first real one: what tests run on.
    ///
    /// # Errors
    /// As [`GpuDevice::first_real`].
    pub fn for_tests(options: GpuOptions) -> Result<Self> {
        let software = entries().iter().find(|entry| entry.info.is_software());
        let entry = software.or(entries().first()).ok_or_else(|| missing("software", INSTALL))?;
        if options == GpuOptions::default() { shared(entry) } else { open(entry, options) }
    }
}
