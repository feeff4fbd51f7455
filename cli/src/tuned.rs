//! The kernels that `primer bench --tune` found best on an adapter, in a file of the user's.
//!
//! An entry counts for one adapter with one driver and one version of the engine. A file that can't be used is said to
//! be so, and the built-in choice is taken: no command fails for it.

use crate::failure::{Failure, Outcome};
use crate::terminal;
use primer_tensor::Device;
use primer_tensor::gpu::{GpuDevice, GpuInfo, MatMulVariant, RowVariant, Variants};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What the file begins with.
const HEAD: &str = "# The fastest kernels for an adapter, as `primer bench --tune` measured them. Without an entry, or without this\n\
                    # file, they are chosen by the adapter's class.\n\n";

/// Entries by adapter.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    adapter: Vec<Entry>,
}

/// The kernels of one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    driver: String,
    backend: String,
    /// Version of the engine that measured.
    engine: String,
    matmul: String,
    rows: String,
    invocations: usize,
}

impl Entry {
    fn new(info: &GpuInfo, variants: Variants) -> Self {
        Self {
            name: info.name.clone(),
            driver: info.driver.clone(),
            backend: info.backend.clone(),
            engine: env!("CARGO_PKG_VERSION").into(),
            matmul: variants.matmul.name().into(),
            rows: variants.rows.name().into(),
            invocations: variants.invocations,
        }
    }

    /// Whether it was measured on that adapter by this engine.
    fn is_of(&self, info: &GpuInfo) -> bool {
        let adapter = (&self.name, &self.driver, &self.backend);
        adapter == (&info.name, &info.driver, &info.backend) && self.engine == env!("CARGO_PKG_VERSION")
    }

    fn variants(&self) -> Result<Variants, String> {
        let unknown = |what: &str, name: &str| format!("there is no {what} variant {name:?}");
        let matmul = MatMulVariant::parse(&self.matmul).ok_or_else(|| unknown("matmul", &self.matmul))?;
        let rows = RowVariant::parse(&self.rows).ok_or_else(|| unknown("rows", &self.rows))?;
        match self.invocations {
            1..=16_777_216 => Ok(Variants { matmul, rows, invocations: self.invocations, half_operands: false }),
            other => Err(format!("{other} invocations are not between 1 and 2^24")),
        }
    }
}

/// The device with the kernels found best on it, and the file that says so, if there is one.
pub fn apply(device: Device) -> (Device, Option<PathBuf>) {
    let (Device::Gpu(gpu), Some(path)) = (&device, path()) else { return (device, None) };
    match find(&path, gpu.info()) {
        Ok(Some(variants)) => (Device::Gpu(gpu.clone().with_variants(variants)), Some(path)),
        Ok(None) => (device, None),
        Err(why) => {
            terminal::note(&format!(
                "warning: {} can't be used: {why}; the built-in choice of kernels is taken (measure again with \
                 `primer bench --tune`, or remove the file)",
                path.display()
            ));
            (device, None)
        }
    }
}

/// Stores what was found best on an adapter, in place of what was known of it, and gives the file.
///
/// # Errors
/// A file that can't be written, or no place for one.
pub fn store(gpu: &GpuDevice, variants: Variants) -> Outcome<PathBuf> {
    let path = path().ok_or_else(|| {
        Failure::new("there is no folder for settings, so the choice can't be stored")
            .hint("Set XDG_CONFIG_HOME (on Windows, APPDATA) to a folder of yours.")
    })?;
    // What can't be read is replaced: `apply` has said what is wrong with it.
    let mut file = read(&path).unwrap_or_default();
    let entry = Entry::new(gpu.info(), variants);
    file.adapter.retain(|other| (&other.name, &other.backend) != (&entry.name, &entry.backend));
    file.adapter.push(entry);
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(format!("cannot write {}: {e}", path.display()))
            .hint("Set XDG_CONFIG_HOME (on Windows, APPDATA) to a folder that can be written.")
    };
    let text = toml::to_string(&file).map_err(|e| failed(&e))?;
    // Complete or not there, also for a command that reads it at this moment.
    let half = path.with_extension(format!("toml.{}", std::process::id()));
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&half, HEAD.to_owned() + &text))
        .and_then(|()| std::fs::rename(&half, &path))
        .map_err(|e| failed(&e))?;
    Ok(path)
}

/// The kernels that the file names for an adapter.
fn find(path: &Path, info: &GpuInfo) -> Result<Option<Variants>, String> {
    let file = read(path)?;
    file.adapter.iter().find(|entry| entry.is_of(info)).map(Entry::variants).transpose()
}

/// The file's entries; none where there is no file.
fn read(path: &Path) -> Result<File, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|e| e.message().to_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(File::default()),
        Err(e) => Err(e.to_string()),
    }
}

/// Where the file is, if the system says where a user's settings are.
fn path() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let folder = if cfg!(windows) {
        given("APPDATA")
    } else {
        given("XDG_CONFIG_HOME").or_else(|| Some(given("HOME")?.join(".config")))
    };
    Some(folder?.join("primer").join("kernels.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            name: "a card".into(),
            driver: "a driver 1.2".into(),
            backend: "vulkan".into(),
            engine: env!("CARGO_PKG_VERSION").into(),
            matmul: "tiles-4x4".into(),
            rows: "shared".into(),
            invocations: 8192,
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let file = File { adapter: vec![entry()] };
        let text = HEAD.to_owned() + &toml::to_string(&file).unwrap();
        assert_eq!(toml::from_str::<File>(&text).unwrap(), file);
        let expected = Variants { rows: RowVariant::Shared, invocations: 8192, ..Variants::INTEGRATED };
        assert_eq!(entry().variants(), Ok(expected));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.toml");
        assert_eq!(read(&path), Ok(File::default()));
        for bad in ["adapter = 3", "[[adapter]]\nname = \"a card\"", "other = 1", "\u{0}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&path).is_err_and(|why| !why.is_empty()), "{bad}");
        }
        assert!(read(folder.path()).is_err(), "a folder");
        for wrong in [
            Entry { matmul: "tiles".into(), ..entry() },
            Entry { rows: "columns".into(), ..entry() },
            Entry { invocations: 0, ..entry() },
            Entry { invocations: usize::MAX >> 1, ..entry() },
        ] {
            assert!(wrong.variants().is_err(), "{wrong:?}");
        }
    }
}
