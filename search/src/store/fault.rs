//! Failures on the store's thread, which knows neither the store's place nor what a call was for.

use super::location::Location;
use super::schema;
use crate::error::{Error, ServerProblem};

/// A failure of a call.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database's.
    Sql(sqlx::Error),
    /// What the server says no to.
    Server(ServerProblem),
    /// Another version's store.
    Version(i64),
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
    pub(super) fn at(self, location: &Location, action: &'static str) -> Error {
        let location = location.clone();
        match self {
            Fault::Sql(source) => match (problem(&source), &location) {
                (Some(problem), Location::Postgres(_)) => Error::StoreServer { location, problem },
                _ if is_damage(&source) => {
                    Error::StoreContent { location, reason: format!("it is damaged ({source})") }
                }
                _ => Error::Store { location, action, source },
            },
            Fault::Server(problem) => Error::StoreServer { location, problem },
            Fault::Version(found) => Error::StoreVersion { location, found, expected: schema::VERSION },
            Fault::Content(reason) => Error::StoreContent { location, reason },
            Fault::Other(error) => error,
        }
    }

    /// Whether the server is gone, or has ended this connection, so that another one may do.
    pub(super) fn is_broken_connection(&self) -> bool {
        match self {
            Fault::Sql(error) => matches!(problem(error), Some(ServerProblem::Unreachable { .. })),
            _ => false,
        }
    }
}

/// What Postgres means, by its codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn problem(error: &sqlx::Error) -> Option<ServerProblem> {
    let error = match error {
        sqlx::Error::Io(error) => return Some(ServerProblem::Unreachable { reason: error.to_string() }),
        sqlx::Error::Tls(_) => return Some(ServerProblem::Tls),
        sqlx::Error::Database(error) => error,
        _ => return None,
    };
    let reason = error.message().to_owned();
    match &*error.code()? {
        // Idle too long in a transaction, as after a pause of the process; too many clients; shut down;
        // starting up; connection exceptions.
        "25P03" | "53300" | "57P01" | "57P02" | "57P03" | "08000" | "08003" | "08006" => {
            Some(ServerProblem::Unreachable { reason })
        }
        "28P01" | "28000" => Some(ServerProblem::Login { reason }),
        "3D000" => Some(ServerProblem::NoDatabase { reason }),
        "3F000" => Some(ServerProblem::NoSchema),
        "42501" | "25006" => Some(ServerProblem::Permission { reason }),
        "42P07" => Some(ServerProblem::Occupied { reason }),
        _ => None,
    }
}

/// Whether the store is at fault: damage to its file (SQLITE_CORRUPT and SQLITE_NOTADB with their extended
/// codes, Postgres' XX001 and XX002), a table or column that is not there, a value of another type.
fn is_damage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let file = code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 11 | 26));
            let server = matches!(&*code, "XX001" | "XX002" | "42P01" | "42703");
            (file && code.len() < 5) || server || error.message().starts_with("no such ")
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}
