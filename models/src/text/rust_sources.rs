//! The zero-download corpus: Rust sources that every machine which built the project already has.
//!
//! `cargo metadata` is asked about a throw-away manifest that names only the crates of the allow-list, at the versions
//! of our `Cargo.lock`. Asking about the workspace itself would be simpler, but it resolves development dependencies
//! too, and a machine that has only ever run `cargo run` never downloaded those, so that `--offline` fails there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::MetadataCommand;
use cargo_metadata::semver::Version;
use sha2::{Digest, Sha256};

use super::corpus::{Document, join};

/// Crates to train on, each an unconditional dependency of the program on every platform; read in this order.
const TRAIN: [&str; 31] = [
    "bytes",
    "camino",
    "cargo_metadata",
    "clap_builder",
    "codespan-reporting",
    "flume",
    "futures-util",
    "hashbrown",
    "indexmap",
    "indicatif",
    "log",
    "memchr",
    "num-traits",
    "once_cell",
    "plotters",
    "rand",
    "regex-automata",
    "serde",
    "serde_core",
    "sharded-slab",
    "slab",
    "smallvec",
    "sqlx-core",
    "thiserror",
    "toml",
    "toml_parser",
    "tracing",
    "tracing-core",
    "tracing-subscriber",
    "winnow",
    "wgpu-types",
];

/// Crates held out for validation.
const VALID: [&str; 4] = ["semver", "serde_json", "strsim", "url"];

/// Larger files are tables more often than programs.
const MAX_FILE: u64 = 256 * 1024;
/// Bytes of text at most, nine tenths of them for training.
const CAP: usize = 8 * 1024 * 1024;

/// What [`locked_crates`] found.
pub(super) struct Found {
    pub train: Vec<u8>,
    pub valid: Vec<u8>,
    pub documents: usize,
    pub skipped: usize,
    pub crates: usize,
}

/// Reads the allow-listed crates' sources, or says in a few words why that can't be done here.
pub(super) fn locked_crates() -> Result<Found, String> {
    let lock = find_lock().ok_or("no Cargo.lock is near")?;
    let folders = crate_folders(&lock)?;
    let mut seen = std::collections::HashSet::new();
    let mut found = Found { train: Vec::new(), valid: Vec::new(), documents: 0, skipped: 0, crates: 0 };
    for (names, cap) in [(&TRAIN[..], CAP / 10 * 9), (&VALID[..], CAP / 10)] {
        let mut part = Vec::new();
        for folder in names.iter().filter_map(|name| folders.get(*name)) {
            let mut texts = Vec::new();
            for file in rust_files(folder) {
                match fs::read(&file) {
                    Ok(text) if is_written_by_hand(&text) && seen.insert(Sha256::digest(&text).to_vec()) => {
                        texts.push(text)
                    }
                    _ => found.skipped += 1,
                }
            }
            found.crates += 1;
            found.documents += texts.len();
            part.extend(join(texts.iter().map(Vec::as_slice)));
        }
        part.truncate(cap);
        if cap == CAP / 10 { found.valid = part } else { found.train = part }
    }
    if found.train.is_empty() || found.valid.is_empty() {
        return Err("none of the expected crates is unpacked".into());
    }
    Ok(found)
}

/// The nearest `Cargo.lock`: upward from the current folder, then from the package's folder that cargo names when it
/// runs a program, then from the one this crate was compiled in.
fn find_lock() -> Option<PathBuf> {
    let upward = |start: PathBuf| {
        // The lock must be ours, not that of another project the user happens to stand in.
        let is_ours = |lock: &PathBuf| {
            fs::read_to_string(lock).is_ok_and(|text| text.contains(concat!("name = \"", env!("CARGO_PKG_NAME"), "\"")))
        };
        start.ancestors().map(|folder| folder.join("Cargo.lock")).find(is_ours)
    };
    let starts = [
        std::env::current_dir().ok(),
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        Some(PathBuf::from(env!("CARGO_MANIFEST_DIR"))),
    ];
    starts.into_iter().flatten().find_map(upward)
}

/// The unpacked folder of each allow-listed crate.
fn crate_folders(lock: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let lock_text = fs::read_to_string(lock).map_err(|e| format!("{} can't be read: {e}", lock.display()))?;
    let mut manifest = String::from(
        "[package]\nname = \"corpus-probe\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[lib]\npath = \"lib.rs\"\n[dependencies]\n",
    );
    for (name, version) in locked_versions(&lock_text)? {
        manifest.push_str(&format!("{name} = {{ version = \"={version}\", default-features = false }}\n"));
    }
    let probe = ProbeFolder::new().map_err(|e| format!("no temporary folder can be made: {e}"))?;
    let write = |name: &str, text: &str| fs::write(probe.0.join(name), text);
    write("Cargo.toml", &manifest)
        .and_then(|()| write("Cargo.lock", &lock_text))
        .and_then(|()| write("lib.rs", ""))
        .map_err(|e| format!("the temporary folder can't be written: {e}"))?;

    let metadata = MetadataCommand::new()
        .manifest_path(probe.0.join("Cargo.toml"))
        // Source replacement and vendoring are configured where the workspace lies.
        .current_dir(lock.parent().unwrap_or(Path::new(".")))
        .other_options(vec!["--offline".into(), "--filter-platform".into(), host_triple()?])
        .exec()
        .map_err(|e| match e {
            cargo_metadata::Error::CargoMetadata { stderr } => first_line(&stderr),
            other => first_line(&other.to_string()),
        })?;
    let mut newest: BTreeMap<String, (Version, PathBuf)> = BTreeMap::new();
    for package in metadata.packages {
        if package.source.is_none() {
            continue;
        }
        if let Some(folder) = package.manifest_path.parent() {
            let entry = (package.version.clone(), folder.as_std_path().to_owned());
            let slot = newest.entry(package.name.to_string()).or_insert_with(|| entry.clone());
            if entry.0 > slot.0 {
                *slot = entry;
            }
        }
    }
    Ok(newest.into_iter().map(|(name, (_, folder))| (name, folder)).collect())
}

/// Name and newest locked version of the allow-listed crates that the lock file has.
fn locked_versions(lock_text: &str) -> Result<BTreeMap<String, Version>, String> {
    let lock: toml::Table = lock_text.parse().map_err(|_| "Cargo.lock is not readable".to_owned())?;
    let packages = lock.get("package").and_then(toml::Value::as_array).ok_or("Cargo.lock names no package")?;
    let mut versions = BTreeMap::new();
    for package in packages {
        let field = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let (Some(name), Some(version), Some(_)) = (field("name"), field("version"), field("source")) else {
            continue;
        };
        if !TRAIN.contains(&name) && !VALID.contains(&name) {
            continue;
        }
        let Ok(version) = Version::parse(version) else {
            continue;
        };
        let newest = versions.entry(name.to_owned()).or_insert_with(|| version.clone());
        if version > *newest {
            *newest = version;
        }
    }
    Ok(versions)
}

fn host_triple() -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).arg("-vV").output().map_err(|e| format!("cargo can't be run: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(|triple| triple.trim().to_owned())
        .ok_or_else(|| "cargo doesn't name its host".to_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("cargo failed").trim_start_matches("error: ").to_owned()
}

/// The `.rs` files of a crate in order of their paths, too large ones left out.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(m) if m.is_dir() => walk(&path, files),
                Ok(m) if m.is_file() && m.len() <= MAX_FILE && path.extension().is_some_and(|e| e == "rs") => {
                    files.push(path)
                }
                _ => {}
            }
        }
    }
    let mut files = Vec::new();
    walk(folder, &mut files);
    // Compared as text with one separator, so that the order is the same on every platform.
    files.sort_by_cached_key(|file| file.to_string_lossy().replace('\\', "/"));
    files
}

/// Whether a source looks written: not marked as generated, no table of very long lines.
fn is_written_by_hand(text: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&text[..text.len().min(2048)]).to_ascii_lowercase();
    let marked = ["@generated", "automatically generated", "do not edit"].iter().any(|mark| head.contains(mark));
    let lines = text.iter().filter(|&&b| b == b'\n').count().max(1);
    !text.is_empty() && !marked && text.len() / lines <= 200
}

/// A folder of our own under the system's temporary one, removed when dropped.
struct ProbeFolder(PathBuf);

impl ProbeFolder {
    fn new() -> std::io::Result<Self> {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("primer-corpus-{}-{count}", std::process::id()));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self(folder)),
                // Left by a process of the same number that was killed.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for ProbeFolder {
    fn drop(&mut self) {
        // Nothing depends on it; a leftover in the temporary folder is the system's to clear.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A few of our own sources, in the binary itself.
pub(super) fn embedded() -> Vec<Document> {
    const SOURCES: [(&str, &str); 8] = [
        ("models/src/error.rs", include_str!("../error.rs")),
        ("models/src/rng.rs", include_str!("../rng.rs")),
        ("models/src/text/batches.rs", include_str!("batches.rs")),
        ("models/src/text/corpus.rs", include_str!("corpus.rs")),
        ("models/src/text/rust_sources.rs", include_str!("rust_sources.rs")),
        ("models/src/text/tokenizer.rs", include_str!("tokenizer.rs")),
        ("models/src/checkpoint.rs", include_str!("../checkpoint.rs")),
        ("models/src/settings.rs", include_str!("../settings.rs")),
    ];
    SOURCES.iter().map(|(name, text)| Document { name: (*name).to_owned(), text: text.as_bytes().to_vec() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_list_is_sorted_disjoint_and_locked() {
        assert!(VALID.is_sorted() && TRAIN.iter().all(|name| !VALID.contains(name)));
        let lock = find_lock().expect("the workspace has a lock file");
        let versions = locked_versions(&fs::read_to_string(lock).unwrap()).unwrap();
        let missing: Vec<_> = TRAIN.iter().chain(&VALID).filter(|name| !versions.contains_key(**name)).collect();
        assert!(missing.is_empty(), "no longer locked: {missing:?}");
    }

    #[test]
    fn generated_and_tabular_files_are_told_apart() {
        assert!(is_written_by_hand(b"fn main() {}\n"));
        assert!(!is_written_by_hand(b"// This file is @generated\nfn main() {}\n"));
        assert!(!is_written_by_hand(&[b'1'; 500]));
    }
}
