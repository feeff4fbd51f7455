//! Where a study's store lies.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Where a store lies: `sqlite:PATH`, a file for the workers of one machine, or `postgres://…`, a server
/// for those of several.
///
/// Shown, it is a URL without the password, so that it can go into messages and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// The first schema in the search path of a connection to a Postgres server.
    Postgres(ServerUrl),
}

impl FromStr for Location {
    type Err = Error;

    /// Reads `sqlite:PATH`, `postgres://…` or `postgresql://…`. An address of a server is looked at only when
    /// it is used, since whoever reports a bad argument would show it with its password.
    fn from_str(url: &str) -> Result<Location> {
        let bad = |reason: String| Err(Error::StoreUrl { reason });
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Location::Postgres(ServerUrl { text: url.to_owned() }));
        }
        match url.strip_prefix("sqlite:") {
            Some("") => bad("the path is missing; write sqlite:study.db".into()),
            Some(path) => Ok(Location::Sqlite(path.strip_prefix("//").unwrap_or(path).into())),
            None if url.contains("://") => bad("a store is sqlite:PATH or postgres://USER@HOST/DATABASE".into()),
            None => bad(format!("write sqlite:{url}")),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Location {
        Location::Sqlite(path.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Location::Postgres(url) => write!(f, "{url}"),
        }
    }
}

impl Location {
    /// A text that may hold this place's URL, as a command line does, without its password.
    pub fn hide_password(&self, text: &str) -> String {
        match self {
            Location::Sqlite(_) => text.to_owned(),
            Location::Postgres(url) => text.replace(&url.text, &url.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Location, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The URL of a Postgres server, which may hold a password and never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
}

impl ServerUrl {
    /// The whole text, password and all: for connecting only.
    pub(super) fn secret(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.text.split_once("://").unwrap_or(("postgres", ""));
        // The last @ of all, since a password that isn't encoded may hold any character: rather too much is
        // left out of a strange URL than too little.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (format!("{}@", login.split(':').next().unwrap_or_default()), rest),
            None => (String::new(), rest),
        };
        write!(f, "{scheme}://{user}")?;
        let Some((address, parameters)) = rest.split_once('?') else {
            return write!(f, "{rest}");
        };
        let shown: Vec<&str> =
            parameters.split('&').filter(|parameter| !parameter.to_lowercase().starts_with("pass")).collect();
        match shown.is_empty() {
            true => write!(f, "{address}"),
            false => write!(f, "{address}?{}", shown.join("&")),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_exactly() {
        let read = |url: &str| url.parse::<Location>();
        assert_eq!(read("sqlite:a/b.db").unwrap(), Location::Sqlite("a/b.db".into()));
        assert_eq!(read("sqlite:///a/b.db").unwrap(), Location::Sqlite("/a/b.db".into()));
        for server in ["postgres://host/db", "postgresql://user@host:5433/db"] {
            assert_eq!(read(server).unwrap().to_string(), server);
        }
        for bad in ["sqlite:", "mysql://host/db", "b.db"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://ann:secret@host/db", "postgres://ann@host/db"),
            ("postgres://:secret@host/db", "postgres://@host/db"),
            ("postgres://ann:sec/r?e@t@host/db", "postgres://ann@host/db"),
            ("postgres://host/db?password=secret", "postgres://host/db"),
            (
                "postgres://host/db?user=ann&Password=secret&sslmode=disable",
                "postgres://host/db?user=ann&sslmode=disable",
            ),
            ("postgres://ann:secret@%2Frun%2Fpg/db", "postgres://ann@%2Frun%2Fpg/db"),
        ] {
            let location: Location = url.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert!(!format!("{location:?}").contains("secret"), "{location:?}");
            let typed = location.hide_password(&format!("primer search retest --store={url} --top 3"));
            assert_eq!(typed, format!("primer search retest --store={shown} --top 3"));
            let stored = serde_json::to_string(&location).unwrap();
            assert_eq!(serde_json::from_str::<Location>(&stored).unwrap(), shown.parse().unwrap());
        }
    }
}
