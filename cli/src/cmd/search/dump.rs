//! Studies as text: `dump` and `restore`.

use super::{open, vacant};
use crate::args::{SearchDump, SearchRestore};
use crate::failure::{Failure, Outcome};
use crate::{output, terminal};
use primer_search::store::Dump;
use serde_json::json;
use std::io::{self, Read as _};
use std::path::Path;

/// `primer search dump`
///
/// # Errors
/// A store that can't be read, a file that can't be written.
pub fn dump(args: &SearchDump) -> Outcome {
    output::check(&args.out, args.force, args.json)?;
    let dump = Dump::of(&open(&args.store.store)?)?;
    let text = dump.to_jsonl()?;
    output::write(&args.out, text.as_bytes())?;
    let (study, candidates) = (dump.study_sha256(), dump.candidates());
    if args.json {
        return terminal::json(&json!({ "study": study, "candidates": candidates, "out": args.out }));
    }
    terminal::note(&format!("study {study:.12}: {candidates} candidates, {} bytes", text.len()));
    Ok(())
}

/// `primer search restore`
///
/// # Errors
/// A text that is no study or doesn't lead to its own programs, a store that is there already or can't be made.
pub fn restore(args: &SearchRestore) -> Outcome {
    let (from, store) = (&args.file, &args.store.store);
    vacant(store)?;
    let text = read(from).map_err(|e| unreadable(from, &e))?;
    let dump = Dump::from_jsonl(&text)?;
    let restored = dump.restore(store)?;
    let (study, candidates) = (restored.spec_sha256(), dump.candidates());
    if args.json {
        return terminal::json(&json!({ "study": study, "candidates": candidates, "store": store }));
    }
    terminal::line(&format!("study {study:.12} in {store}: {candidates} candidates, bred again"))
}

fn unreadable(path: &Path, e: &io::Error) -> Failure {
    let message = format!("{} can't be read: {e}", path.display());
    match e.kind() {
        io::ErrorKind::InvalidData => Failure::usage(message)
            .hint("It is no text. A packed one is unpacked on the way: `gunzip -c FILE | primer search restore -`."),
        _ => Failure::of_path(e, message),
    }
}

fn read(path: &Path) -> io::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
