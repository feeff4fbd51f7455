//! `report.html`, which opens from disk and needs nothing else, and `report.json` beside it.

pub mod chart;
pub mod data;
pub mod derive;
mod diff;
mod figures;
pub mod html;
mod search_page;

use data::Report;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What `report.json` holds.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a Report,
    derived: &'a derive::Derived,
}

/// Writes both files into `folder`, each whole or not at all, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(report: &Report, folder: &Path) -> io::Result<PathBuf> {
    let derived = derive::derive(report);
    let json = serde_json::to_string_pretty(&Json { report, derived: &derived })?;
    let page = html::page(report, &derived).map_err(io::Error::other)?;
    put(&folder.join("report.json"), json.as_bytes())?;
    let path = folder.join("report.html");
    put(&path, page.as_bytes())?;
    Ok(path)
}

/// Writes beside the target first, so that an earlier report survives a full disk.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path))
        .inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests;
