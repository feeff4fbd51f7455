//! Values of options that are neither numbers nor times.

use crate::architecture::Architecture;
use crate::units;
use primer_models::text::TokenizerSpec;
use primer_models::{Precision, Size};
use std::time::Duration;

/// An architecture, or a program behind `dna:`.
pub fn arch(name: &str) -> Result<Architecture, String> {
    name.parse()
}

/// A size's name.
pub fn size(name: &str) -> Result<Size, String> {
    name.parse().map_err(|e: primer_models::Error| e.to_string())
}

/// `f32` or `f16`.
pub fn precision(name: &str) -> Result<Precision, String> {
    match name {
        "f32" => Ok(Precision::F32),
        "f16" => Ok(Precision::F16),
        _ => Err("there are f32 and f16".into()),
    }
}

/// `bytes` or `bpe:N`.
pub fn tokenizer(name: &str) -> Result<TokenizerSpec, String> {
    name.parse().map_err(|e: primer_models::Error| e.to_string())
}

/// A change of a setting; whether there is such a one is known later.
pub fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write key=value".into()),
    }
}

/// `auto`, `cpu`, `gpu`, `gpu:N` or `software`.
pub fn device_name(name: &str) -> Result<String, String> {
    let number = name.strip_prefix("gpu:").map(str::parse::<u16>);
    match (name, number) {
        ("auto" | "cpu" | "gpu" | "software", _) | (_, Some(Ok(_))) => Ok(name.to_owned()),
        _ => Err("the devices are auto, cpu, gpu, gpu:N and software".into()),
    }
}

/// The length of a quickstart, which in less time measures nothing.
pub fn quickstart_time(text: &str) -> Result<Duration, String> {
    match units::duration(text)? {
        time if time >= Duration::from_secs(10) => Ok(time),
        _ => Err("two models and a search take at least 10s; 3m is a good start".into()),
    }
}

/// Above 0 and at most 1.
pub fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("a probability is a number above 0 and at most 1".into()),
    }
}

/// From 0 on.
pub fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if (0.0..=1e6).contains(&t) => Ok(t),
        _ => Err("a temperature is a number from 0 on".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_exactly() {
        for good in ["auto", "cpu", "gpu", "gpu:0", "gpu:12", "software"] {
            assert!(device_name(good).is_ok(), "{good}");
        }
        for bad in ["", "GPU", "gpu:", "gpu:-1", "cuda"] {
            assert!(device_name(bad).is_err(), "{bad}");
        }
    }
}
