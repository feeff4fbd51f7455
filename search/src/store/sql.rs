//! Statements, their values and their rows, whichever engine answers.

use std::borrow::Cow;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Decode, Encode, Executor, IntoArguments, Postgres, Sqlite, Type};

use super::database::Target;
use super::{Fault, postgres};

/// An open connection.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A statement with its values so far.
pub(super) struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// What the store's columns hold; each may be NULL.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
}

/// Begins a statement in SQLite's SQL, as far as [`postgres::translated`] knows it. Each `?` of the text stands
/// for the next value.
pub(super) fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement { text: text.into(), values: Vec::new() }
}

impl Statement {
    /// Gives the next value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Statement {
        self.values.push(value.into());
        self
    }

    /// Runs it; the number of rows that it changed.
    pub(super) async fn execute(self, connection: &mut Connection) -> Result<u64, Fault> {
        Ok(match connection {
            Connection::Sqlite(engine) => engine.execute(self.for_sqlite()?).await?.rows_affected(),
            Connection::Postgres(engine) => engine.execute(self.for_postgres()?).await?.rows_affected(),
        })
    }

    /// All rows of its answer.
    pub(super) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, Fault> {
        Ok(match connection {
            Connection::Sqlite(engine) => {
                engine.fetch_all(self.for_sqlite()?).await?.into_iter().map(Row::Sqlite).collect()
            }
            Connection::Postgres(engine) => {
                engine.fetch_all(self.for_postgres()?).await?.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row of its answer, if there is one.
    pub(super) async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Row>, Fault> {
        Ok(match connection {
            Connection::Sqlite(engine) => engine.fetch_optional(self.for_sqlite()?).await?.map(Row::Sqlite),
            Connection::Postgres(engine) => engine.fetch_optional(self.for_postgres()?).await?.map(Row::Postgres),
        })
    }

    /// The first row of its answer.
    pub(super) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, Fault> {
        let row = self.fetch_optional(connection).await?;
        row.ok_or(Fault::Sql(sqlx::Error::RowNotFound))
    }

    fn for_sqlite(self) -> Result<Query<Sqlite>, Fault> {
        query(self.text.into_owned(), self.values)
    }

    fn for_postgres(self) -> Result<Query<Postgres>, Fault> {
        let storable = |value| match value {
            // The one character that Postgres has no place for; a driver's message might hold it.
            Value::Text(Some(text)) => Value::Text(Some(text.replace('\0', "\u{fffd}"))),
            value => value,
        };
        query(postgres::translated(&self.text), self.values.into_iter().map(storable).collect())
    }
}

type Query<E> = sqlx::query::Query<'static, E, <E as sqlx::Database>::Arguments>;

fn query<E: sqlx::Database>(text: String, values: Vec<Value>) -> Result<Query<E>, Fault>
where
    E::Arguments: IntoArguments<E>,
    Option<i64>: Encode<'static, E> + Type<E>,
    Option<f64>: Encode<'static, E> + Type<E>,
    Option<String>: Encode<'static, E> + Type<E>,
{
    let mut arguments = E::Arguments::default();
    for value in values {
        match value {
            Value::Integer(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(sqlx::query_with(AssertSqlSafe(text), arguments))
}

impl Row {
    /// The value of a column, counted from 0.
    pub(super) fn get<'r, T>(&'r self, column: usize) -> Result<T, Fault>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match self {
            Row::Sqlite(row) => sqlx::Row::try_get(row, column)?,
            Row::Postgres(row) => sqlx::Row::try_get(row, column)?,
        })
    }
}

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Connection, Fault> {
        Ok(match target {
            Target::Sqlite(options) => Connection::Sqlite(options.connect().await?),
            Target::Postgres(url) => Connection::Postgres(postgres::connect(url).await?),
        })
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Connection::Sqlite(engine) => sqlx::Connection::close(engine).await,
            Connection::Postgres(engine) => sqlx::Connection::close(engine).await,
        }
    }

    /// Starts a transaction that may write, after those of all others.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        match self {
            // A plain BEGIN that reads first and writes later fails at once, whatever the time-out, if
            // another writer came between.
            Connection::Sqlite(engine) => engine.execute("BEGIN IMMEDIATE").await.map(drop)?,
            Connection::Postgres(engine) => engine.execute(sqlx::raw_sql(postgres::BEGIN)).await.map(drop)?,
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        sql("COMMIT").execute(self).await?;
        Ok(())
    }

    /// Undoes the transaction, if one is left open.
    pub(super) async fn roll_back(&mut self) {
        // Some failures have ended it already, which this one's failure then says.
        let _ = sql("ROLLBACK").execute(self).await;
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Integer(Some(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Integer(Some(value.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Value {
        Value::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(Some(value))
    }
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Value {
        Value::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Value {
        Value::Text(value.map(str::to_owned))
    }
}
