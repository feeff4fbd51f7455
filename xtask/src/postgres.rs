//! Where are the programs of a Postgres server? Asked by `cargo xtask test` and by the tests themselves.

use std::path::{Path, PathBuf};

/// The programs with which the tests make, start and question a server of their own.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "psql"];

/// The folder that holds them all: one of PATH, or the newest version in Debian's place, which is not on it.
pub fn folder() -> Option<PathBuf> {
    let has_all = |folder: &PathBuf| PROGRAMS.iter().all(|program| folder.join(program).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).find(has_all).or_else(|| versions().into_iter().rev().find(has_all))
}

/// Debian's folders in the order of their versions.
fn versions() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new("/usr/lib/postgresql")).into_iter().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, folder)| folder).collect()
}
