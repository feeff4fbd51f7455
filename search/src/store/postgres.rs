//! Stores in a schema of a Postgres server.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Executor};
use tokio::time::timeout;

use super::database::{Database, Target};
use super::location::ServerUrl;
use super::sql::{Connection, sql};
use super::{Fault, NewStudy, schema};
use crate::error::ServerProblem;

/// How long a server may take to answer the door.
const CONNECT: Duration = Duration::from_secs(10);

/// What a session begins with. A worker's machine that vanishes, or is frozen, in the middle of a transaction
/// loses that transaction soon, and with it its hold on the study; the others wait longer than that.
const SETTINGS: &str = "SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '30s'; \
     SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";

/// Starts a transaction that may write, after those of all others: they queue for the study's row. What was
/// committed while this one waited is seen, which takes this isolation level and no higher one.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1 FROM study WHERE id = 1 FOR UPDATE";

pub(super) async fn connect(url: &ServerUrl) -> Result<PgConnection, Fault> {
    let options: PgConnectOptions = url.secret().parse().map_err(|error: sqlx::Error| {
        let reason = match error {
            sqlx::Error::Configuration(reason) => reason.to_string(),
            other => other.to_string(),
        };
        Fault::Server(ServerProblem::Url { reason })
    })?;
    if matches!(options.get_ssl_mode(), PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
        return Err(Fault::Server(ServerProblem::Tls));
    }
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("primer"),
    };
    let options = options.disable_statement_logging();
    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    let mut connection = timeout(CONNECT, options.connect()).await.map_err(late)??;
    connection.execute(sqlx::raw_sql(SETTINGS)).await?;
    Ok(connection)
}

/// Whether the schema holds a store.
pub(super) async fn is_there(connection: &mut Connection) -> Result<bool, Fault> {
    let found = sql("SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = ?)")
        .bind(schema::VERSION_TABLE)
        .fetch_one(connection)
        .await?;
    found.get(0)
}

/// Checks that the schema holds a store that this build can work with.
pub(super) async fn inspect(connection: &mut Connection) -> Result<(), Fault> {
    if !is_there(connection).await? {
        return Err(Fault::Server(ServerProblem::NoStudy));
    }
    let found = sql("SELECT version FROM primer_store").fetch_one(connection).await?.get(0)?;
    match found == schema::VERSION {
        true => Ok(()),
        false => Err(Fault::Version(found)),
    }
}

/// Makes the tables, all or none, and puts the study in. `false` if there is a store already.
pub(super) fn create(url: &ServerUrl, study: NewStudy) -> Result<bool, Fault> {
    let database = Database::start(Target::Postgres(url.clone()))?;
    database.call(async move |connection| {
        sql("BEGIN").execute(connection).await?;
        let made = make(connection, &study).await;
        match made {
            Ok(true) => connection.commit().await?,
            _ => connection.roll_back().await,
        }
        made
    })
}

async fn make(connection: &mut Connection, study: &NewStudy) -> Result<bool, Fault> {
    // Of several processes that start together, one makes it and the others find it.
    sql("SELECT pg_advisory_xact_lock(?)").bind(schema::APPLICATION_ID).fetch_one(connection).await?;
    if is_there(connection).await? {
        return Ok(false);
    }
    sql("CREATE TABLE primer_store (version INTEGER NOT NULL)").execute(connection).await?;
    sql("INSERT INTO primer_store VALUES (?)").bind(schema::VERSION).execute(connection).await?;
    study.insert(connection).await?;
    Ok(true)
}

/// A statement as Postgres wants it. They are written as SQLite wants them.
pub(super) fn translated(text: &str) -> String {
    let text = text
        .replace(
            "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS INTEGER)",
        )
        .replace(" INTEGER", " BIGINT")
        .replace(" REAL", " DOUBLE PRECISION")
        .replace(") STRICT", ")");
    let mut numbered = String::with_capacity(text.len() + 16);
    for (i, part) in text.split('?').enumerate() {
        if i > 0 {
            numbered.push_str(&format!("${i}"));
        }
        numbered.push_str(part);
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_translated() {
        assert_eq!(
            translated("UPDATE t SET a = ?, t = CAST(unixepoch('subsec') * 1000 AS INTEGER) + ? WHERE b = ?"),
            "UPDATE t SET a = $1, t = CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) + $2 WHERE b = $3"
        );
        assert_eq!(
            translated("CREATE TABLE t (a INTEGER, b REAL) STRICT"),
            "CREATE TABLE t (a BIGINT, b DOUBLE PRECISION)"
        );
    }
}
