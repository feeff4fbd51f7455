//! Where a command writes: never into a folder that holds something, unless asked to.

use crate::failure::{Failure, Outcome};
use primer_models::text::{Corpus, Part};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What to do with a folder that isn't empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Write into it; files of the same name are replaced.
    Overwrite,
    /// Go on with the run that is there.
    Resume,
}

impl Existing {
    /// What `--resume` and `--force` ask for.
    pub fn of(resume: bool, force: bool) -> Self {
        match (resume, force) {
            (true, _) => Self::Resume,
            (_, true) => Self::Overwrite,
            _ => Self::Refuse,
        }
    }
}

/// Makes sure that `wanted`, or a new `runs/<command>-<time>` without it, exists and can be written.
///
/// # Errors
/// A folder that holds something and may not be touched, or one that can't be made or written.
pub fn prepare(wanted: Option<&Path>, command: &str, existing: Existing) -> Outcome<PathBuf> {
    let path = match wanted {
        Some(path) => path.to_owned(),
        None => PathBuf::from("runs").join(format!("{command}-{}", timestamp(SystemTime::now()))),
    };
    let failed = |what: &str, e: &io::Error| {
        Failure::of_path(e, format!("cannot {what} the output folder {}: {e}", path.display()))
            .hint("Choose another folder with --out.")
    };
    match std::fs::read_dir(&path) {
        Ok(mut entries) => {
            if existing == Existing::Refuse && entries.next().is_some() {
                return Err(Failure::usage(format!("the output folder {} is not empty", path.display())).hint(
                    "Give another one with --out, or --force to write into it (files of the same name are replaced).",
                ));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if existing == Existing::Resume {
                return Err(failed("resume from", &e));
            }
            std::fs::create_dir_all(&path).map_err(|e| failed("make", &e))?;
        }
        Err(e) => return Err(failed("use", &e)),
    }
    // Found out now, not after minutes of work.
    let probe = path.join(".primer-write-test");
    std::fs::write(&probe, b"primer")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|e| failed("write into", &e))?;
    Ok(path)
}

/// Writes a file whole or not at all: beside the target first, so that what was there survives a full disk.
///
/// # Errors
/// What the file system reports.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path))
        .inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// A JSON file; none where there is no such file.
///
/// # Errors
/// One that can't be read.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Outcome<Option<T>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| damaged(path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(damaged(path, e)),
    }
}

/// Why a file that an earlier command wrote can't be used.
pub fn damaged(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{} can't be read: {why}", path.display())).hint("Remove it, or begin anew in another folder.")
}

/// Writes a JSON file, whole or not at all.
///
/// # Errors
/// One that can't be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::new(format!("cannot write {e}")))?;
    write_whole(path, text.as_bytes()).map_err(|e| unwritable(path, &e))
}

/// Removes files of `folder` that are there.
///
/// # Errors
/// One that can't be removed.
pub fn remove_files(folder: &Path, files: &[&str]) -> Outcome {
    for path in files.iter().map(|file| folder.join(file)) {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unwritable(&path, &e)),
            _ => {}
        }
    }
    Ok(())
}

/// Why there is nothing to go on with in a folder, which lacks `file`.
pub fn nothing_to_resume(out: &Path, file: &str, command: &str) -> Failure {
    Failure::usage(format!("there is nothing to resume in {}: it has no {file}", out.display()))
        .hint(format!("`--resume` takes the folder that `primer {command} --out` wrote."))
}

/// Why something in the output folder isn't written.
pub fn unwritable(path: &Path, e: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {e}", path.display())).hint("Choose another folder with --out.")
}

/// Why there is no report.
pub fn no_report(out: &Path, e: &io::Error) -> Failure {
    Failure::new(format!("cannot write the report into {}: {e}", out.display()))
        .hint("Choose another folder with --out.")
}

/// The corpus that a user names, with its tokens kept in the user's cache folder where that is worth it.
///
/// # Errors
/// As [`Corpus::open`].
pub fn corpus(spec: &str) -> Outcome<Corpus> {
    let corpus = Corpus::open(spec)?;
    Ok(match token_cache() {
        Some(folder) => corpus.with_cache(folder),
        None => corpus,
    })
}

/// The text that something was begun on, as its folder says.
pub struct BegunOn<'a> {
    /// The corpus as it was named.
    pub name: &'a str,
    /// Its hash.
    pub sha256: &'a str,
    /// Bytes of its training part, where that is known: a text can be split in other places.
    pub train_bytes: Option<u64>,
}

/// Refuses another text than that which a `what` was begun on.
///
/// # Errors
/// Wrong usage.
pub fn same_text(what: &str, begun: &BegunOn<'_>, text: &Corpus) -> Outcome {
    let (found, train_bytes) = (text.sha256(), text.bytes(Part::Train));
    let BegunOn { name, sha256, train_bytes: begun_bytes } = begun;
    let difference = if *sha256 != found {
        format!("was begun on the corpus {name} with SHA-256 {sha256:.12}, but {} now has {found:.12}", text.name())
    } else if let Some(bytes) = begun_bytes.filter(|&bytes| bytes != train_bytes) {
        format!("was begun on {bytes} bytes of this text, the rest being held out; now they are {train_bytes}")
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("this {what} {difference}")).hint(format!(
        "Give the same text with --corpus, as it was given then, or begin a new {what} in another folder."
    )))
}

/// Where commands keep files of tokens: `primer/tokens` in the user's cache folder, if there is one.
fn token_cache() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = if cfg!(windows) {
        given("LOCALAPPDATA")
    } else {
        given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")))
    };
    Some(folder?.join("primer").join("tokens"))
}

/// `20260131-154500`, in UTC.
fn timestamp(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date, by the civil calendar's 400-year cycle that begins on 1 March.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_time_is_written_as_a_sortable_date() {
        for (seconds, text) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (1_767_225_599, "20251231-235959"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_folder_that_holds_something_is_refused_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(prepare(Some(path), "train", Existing::Refuse).unwrap(), path);
        std::fs::write(path.join("a"), "x").unwrap();
        assert!(prepare(Some(path), "train", Existing::Refuse).is_err());
        assert!(prepare(Some(path), "train", Existing::Overwrite).is_ok());
        assert!(prepare(Some(path), "train", Existing::Resume).is_ok());
        assert_eq!(std::fs::read(path.join("a")).unwrap(), b"x");
        assert!(prepare(Some(&path.join("a")), "train", Existing::Overwrite).is_err());
        assert!(prepare(Some(&path.join("new/deep")), "train", Existing::Resume).is_err());
        assert!(prepare(Some(&path.join("new/deep")), "train", Existing::Refuse).is_ok());
    }
}
