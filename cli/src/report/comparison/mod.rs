//! The report of `primer compare`.

pub mod data;
mod page;

use super::write_both;
use data::Comparison;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `report.json` and `report.html` into `folder`, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(comparison: &Comparison, folder: &Path) -> io::Result<PathBuf> {
    write_both(comparison, &page::page(comparison).map_err(io::Error::other)?, folder)
}
