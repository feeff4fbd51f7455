//! The report of `primer scaling`.

pub mod data;
mod page;

use super::write_both;
use data::Scaling;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `report.json` and `report.html` into `folder`, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(scaling: &Scaling, folder: &Path) -> io::Result<PathBuf> {
    write_both(scaling, &page::page(scaling).map_err(io::Error::other)?, folder)
}
