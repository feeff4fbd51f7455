//! `report.html`, which opens from disk and needs nothing else, and `report.json` beside it.

pub mod chart;
pub mod comparison;
pub mod data;
pub mod derive;
mod figures;
pub mod html;
pub mod retest;
pub mod scaling;
pub mod search;
mod search_page;
pub mod spread;

use crate::folder::write_whole;
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
    let page = html::page(report, &derived).map_err(io::Error::other)?;
    write_both(&Json { report, derived: &derived }, &page, folder)
}

/// Writes `report.json` and `report.html` into `folder`, and returns the page's path.
fn write_both(data: &impl Serialize, page: &str, folder: &Path) -> io::Result<PathBuf> {
    write_whole(&folder.join("report.json"), serde_json::to_string_pretty(data)?.as_bytes())?;
    let path = folder.join("report.html");
    write_whole(&path, page.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
