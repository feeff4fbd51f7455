//! `primer devices`

use crate::args::Devices;
use crate::cmd::device::matmul_roof;
use crate::failure::Outcome;
use crate::{terminal, tuned};
use primer_tensor::Device;
use primer_tensor::gpu::{GpuDevice, GpuInfo};
use serde_json::{Value, json};

/// Lists every device with its speed; one that fails is listed with its failure.
///
/// # Errors
/// Only if stdout can't be written.
pub fn run(args: &Devices) -> Outcome {
    let mut found = Vec::new();
    let adapters = GpuDevice::list();
    terminal::note(&format!("measuring {} device(s) ...", adapters.len() + 1));
    for (index, info) in adapters.iter().enumerate() {
        found.push(adapter(index, info));
    }
    let cpu = Device::cpu();
    found.push(json!({
        "device": "cpu",
        "name": cpu.to_string(),
        "kind": "cpu",
        "matmul_gflops": measured(matmul_roof(&cpu).ok().flatten()),
    }));
    let auto = match adapters.iter().position(|a| !a.is_software()) {
        Some(index) => format!("gpu:{index}"),
        None => "cpu".into(),
    };
    if args.json {
        return terminal::json(&json!({ "auto": auto, "devices": found }));
    }
    for device in &found {
        let text = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
        let mark = if text("device") == auto { "  (taken by auto)" } else { "" };
        terminal::line(&format!("{:<8} {}{mark}", text("device"), text("name")))?;
        if let Some(driver) = device["driver"].as_str() {
            terminal::line(&format!("         {}; {}; {driver}", text("kind"), text("backend")))?;
            terminal::line(&format!(
                "         binding {} MiB, buffer {} MiB, shared memory {} KiB, features: {}",
                device["limits"]["max_binding"].as_u64().unwrap_or(0) >> 20,
                device["limits"]["max_buffer"].as_u64().unwrap_or(0) >> 20,
                device["limits"]["shared_bytes"].as_u64().unwrap_or(0) >> 10,
                features(&device["features"]),
            ))?;
        }
        if let Some(kernels) = device["kernels"].as_str() {
            let chosen = if device["tuned"] == true { "as tuned" } else { "built in" };
            terminal::line(&format!("         kernels {chosen}: {kernels}"))?;
        }
        match (device["matmul_gflops"].as_f64(), device["error"].as_str()) {
            (Some(speed), _) => terminal::line(&format!("         {speed:.1} GFLOP/s in f32 matrix products"))?,
            (None, Some(error)) => terminal::line(&format!("         does not work: {error}"))?,
            (None, None) => terminal::line("         its speed could not be measured")?,
        }
    }
    Ok(())
}

fn adapter(index: usize, info: &GpuInfo) -> Value {
    let opened = GpuDevice::nth(index).map(|gpu| tuned::apply(Device::Gpu(gpu)));
    let speed = opened.as_ref().ok().and_then(|(device, _)| matmul_roof(device).ok().flatten());
    let mut entry = json!({
        "device": format!("gpu:{index}"),
        "name": info.name,
        "kind": info.kind,
        "backend": info.backend,
        "driver": info.driver,
        "limits": {
            "max_binding": info.limits.max_binding,
            "max_buffer": info.limits.max_buffer,
            "max_workgroups_per_dim": info.limits.max_workgroups_per_dim,
            "max_storage_buffers": info.limits.max_storage_buffers,
            "max_invocations": info.limits.max_invocations,
            "shared_bytes": info.limits.shared_bytes,
        },
        "features": info.features,
        "matmul_gflops": measured(speed),
    });
    match opened {
        Ok((Device::Gpu(gpu), file)) => {
            entry["kernels"] = gpu.variants().to_string().into();
            entry["tuned"] = file.is_some().into();
        }
        Ok(_) => {}
        Err(e) => entry["error"] = e.to_string().into(),
    }
    entry
}

/// Rounded to what the measurement is worth.
fn measured(gflops: Option<f64>) -> Value {
    gflops.map_or(Value::Null, |g| json!((g * 10.0).round() / 10.0))
}

fn features(list: &Value) -> String {
    let names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
