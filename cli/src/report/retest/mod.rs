//! The report of a retest.

pub mod data;
mod page;

use data::Retest;
use std::io;
use std::path::{Path, PathBuf};

/// Writes both files into `folder`, and returns the page's path.
///
/// # Errors
/// Passes on what the file system reports.
pub fn write(retest: &Retest, folder: &Path) -> io::Result<PathBuf> {
    super::write_both(retest, &page::page(retest), folder)
}
