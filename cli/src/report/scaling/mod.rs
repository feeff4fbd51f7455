//! The report of `primer scaling`.

pub mod data;
mod page;

use crate::folder::write_whole;
use data::Scaling;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `report.json` and `report.html` into `folder`, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(scaling: &Scaling, folder: &Path) -> io::Result<PathBuf> {
    write_whole(&folder.join("report.json"), serde_json::to_string_pretty(scaling)?.as_bytes())?;
    let path = folder.join("report.html");
    write_whole(&path, page::page(scaling).map_err(io::Error::other)?.as_bytes())?;
    Ok(path)
}
