//! The report of `primer search report`.

pub mod data;
mod page;

use crate::folder::write_whole;
use data::Study;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `report.json` and `report.html` into `folder`, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(study: &Study, folder: &Path) -> io::Result<PathBuf> {
    write_whole(&folder.join("report.json"), serde_json::to_string_pretty(study)?.as_bytes())?;
    let path = folder.join("report.html");
    write_whole(&path, page::page(study).map_err(io::Error::other)?.as_bytes())?;
    Ok(path)
}
