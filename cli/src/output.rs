//! The one file that a command writes; `-` is standard output.

use crate::failure::{Failure, Outcome};
use crate::folder::write_whole;
use crate::terminal;
use std::path::Path;

/// Whether it is standard output.
pub fn is_stdout(out: &Path) -> bool {
    out.as_os_str() == "-"
}

/// Checks, before the work, that the file may be written.
///
/// # Errors
/// A file that is there, unless it is to be written over; two things for standard output.
pub fn check(out: &Path, force: bool, json: bool) -> Outcome {
    if is_stdout(out) && json {
        return Err(Failure::usage("--json and --out - both write to standard output"));
    }
    if !is_stdout(out) && out.exists() && !force {
        return Err(Failure::usage(format!("{} is already there", out.display()))
            .hint("Write over it with --force, or choose another file with --out."));
    }
    Ok(())
}

/// Writes it, whole or not at all.
///
/// # Errors
/// A place that can't be written.
pub fn write(out: &Path, content: &[u8]) -> Outcome {
    if is_stdout(out) {
        return terminal::bytes_out(content);
    }
    write_whole(out, content).map_err(|e| {
        Failure::of_path(&e, format!("cannot write {}: {e}", out.display())).hint("Choose another file with --out.")
    })
}
