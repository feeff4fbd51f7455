//! Failures on the store's thread, which knows neither the store's place nor what a call was for.

use std::path::Path;

use crate::error::Error;

/// A failure of a call.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database's.
    Sql(sqlx::Error),
    /// A row that can't be understood.
    Content(String),
    /// Any other, complete as it is.
    Other(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Fault {
        Fault::Other(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

impl Fault {
    /// The error that a caller sees.
    pub(super) fn at(self, path: &Path, action: &'static str) -> Error {
        let path = path.to_owned();
        match self {
            Fault::Sql(source) if is_damage(&source) => {
                Error::StoreContent { path, reason: format!("it is damaged ({source})") }
            }
            Fault::Sql(source) => Error::Store { path, action, source },
            Fault::Content(reason) => Error::StoreContent { path, reason },
            Fault::Other(error) => error,
        }
    }
}

/// Whether the file is at fault: SQLITE_CORRUPT and SQLITE_NOTADB with their extended codes, a
/// table or column that is not there, a value of another type.
fn is_damage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<u32>().ok());
            code.is_some_and(|code| matches!(code & 0xff, 11 | 26)) || error.message().starts_with("no such ")
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}
