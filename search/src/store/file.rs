//! Looks at a store's file before the database may touch it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::schema;
use crate::error::{Error, Result};

/// Bytes of the header of an SQLite file.
const HEADER: usize = 100;

/// Checks that `path` is a store that this build can work with. Reads the first bytes only, so
/// that a file of another kind or version stays as it is.
///
/// # Errors
///
/// [`Error::Io`] if it can't be read, [`Error::StoreContent`] if it is something else or cut
/// short, [`Error::StoreVersion`] if another version wrote it.
pub(super) fn inspect(path: &Path) -> Result<()> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let content = |reason: &str| Error::StoreContent { location: path.into(), reason: reason.to_owned() };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if length < HEADER as u64 {
        return Err(content("it is too short to be a database"));
    }
    let mut header = [0u8; HEADER];
    file.read_exact(&mut header).map_err(io)?;
    // Fields of the database header: https://www.sqlite.org/fileformat.html §1.3.
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| header[at + i]));
    if &header[..16] != b"SQLite format 3\0" {
        return Err(content("it is not a database"));
    }
    if i64::from(word(68)) != schema::APPLICATION_ID {
        return Err(content("it is another program's database"));
    }
    let found = i64::from(word(60));
    if found != schema::VERSION {
        return Err(Error::StoreVersion { location: path.into(), found, expected: schema::VERSION });
    }
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    // While a log lies beside it, pages may be on their way, and only the database can tell.
    if length < page_size * u64::from(word(28)) && !log_of(path).exists() {
        return Err(content("it is cut short"));
    }
    Ok(())
}

/// The database's write-ahead log, which exists while anyone has the store open.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// A name beside `path` that nobody else uses, to build the file under.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or(path.as_os_str()));
    name.push(format!(".{}-{}.new", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// Gives the finished file its name unless that is taken; `false` if it is.
///
/// # Errors
///
/// [`Error::Io`].
pub(super) fn publish(unfinished: &Path, path: &Path) -> Result<bool> {
    // A link never replaces what is there, a rename would.
    let linked = match std::fs::hard_link(unfinished, path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        // File systems without links.
        Err(_) if !path.exists() => {
            return match std::fs::rename(unfinished, path) {
                Ok(()) => Ok(true),
                Err(source) => Err(Error::Io { path: path.to_owned(), source }),
            };
        }
        Err(_) => false,
    };
    std::fs::remove_file(unfinished).map_err(|source| Error::Io { path: unfinished.to_owned(), source })?;
    Ok(linked)
}
