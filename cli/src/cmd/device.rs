//! Which device a command takes, and why.

use crate::args::Compute;
use crate::failure::Outcome;
use crate::tuned;
use primer_tensor::Device;

/// A device and the reason for it.
pub struct Chosen {
    /// The device.
    pub device: Device,
    /// Why it was taken, in one clause.
    pub why: String,
}

/// Opens the device asked for, with the kernels that were found best on it.
///
/// # Errors
/// A device that isn't there.
pub fn open(compute: &Compute) -> Outcome<Chosen> {
    let device = Device::parse(&compute.device, compute.threads.map(usize::from))?;
    let (device, file) = tuned::apply(device);
    let mut why = match (compute.device.as_str(), &device) {
        ("auto", Device::Gpu(_)) => "it is the first real GPU found".to_owned(),
        ("auto", _) => "no real GPU was found, and the CPU always works".to_owned(),
        (name, _) => format!("--device {name} asked for it"),
    };
    if let Some(file) = file {
        why += &format!("; kernels as tuned, {}", file.display());
    }
    Ok(Chosen { device, why })
}

/// GFLOP/s of f32 matrix products, as measured on the device.
///
/// # Errors
/// What the device reports.
pub fn matmul_roof(device: &Device) -> Outcome<Option<f64>> {
    Ok(match device {
        Device::Cpu(cpu) => Some(cpu.matmul_roof()?),
        Device::Gpu(gpu) => Some(gpu.matmul_roof()?),
        Device::Reference(_) => None,
    })
}
