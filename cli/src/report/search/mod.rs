//! The report of `primer search report`.

pub mod data;
mod page;

use super::write_both;
use data::Study;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `report.json` and `report.html` into `folder`, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(study: &Study, folder: &Path) -> io::Result<PathBuf> {
    write_both(study, &page::page(study).map_err(io::Error::other)?, folder)
}
