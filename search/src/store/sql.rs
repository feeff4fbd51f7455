//! Statements, their values and their rows, whichever engine answers.

use std::borrow::Cow;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Decode, Executor, Sqlite, Type};

use super::Fault;

/// An open connection.
pub(super) struct Connection {
    engine: SqliteConnection,
}

/// A row of an answer.
pub(super) struct Row {
    engine: SqliteRow,
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

/// Begins a statement. Each `?` of the text stands for the next value.
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
        let done = connection.engine.execute(self.query()?).await?;
        Ok(done.rows_affected())
    }

    /// All rows of its answer.
    pub(super) async fn fetch_all(self, connection: &mut Connection) -> Result<Vec<Row>, Fault> {
        let rows = connection.engine.fetch_all(self.query()?).await?;
        Ok(rows.into_iter().map(|engine| Row { engine }).collect())
    }

    /// The first row of its answer, if there is one.
    pub(super) async fn fetch_optional(self, connection: &mut Connection) -> Result<Option<Row>, Fault> {
        let row = connection.engine.fetch_optional(self.query()?).await?;
        Ok(row.map(|engine| Row { engine }))
    }

    /// The first row of its answer.
    pub(super) async fn fetch_one(self, connection: &mut Connection) -> Result<Row, Fault> {
        let row = self.fetch_optional(connection).await?;
        row.ok_or(Fault::Sql(sqlx::Error::RowNotFound))
    }

    fn query(self) -> Result<sqlx::query::Query<'static, Sqlite, SqliteArguments>, Fault> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Real(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(AssertSqlSafe(self.text.into_owned()), arguments))
    }
}

impl Row {
    /// The value of a column, counted from 0.
    pub(super) fn get<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, column: usize) -> Result<T, Fault> {
        Ok(sqlx::Row::try_get(&self.engine, column)?)
    }
}

impl Connection {
    pub(super) async fn open(options: &SqliteConnectOptions) -> Result<Connection, Fault> {
        Ok(Connection { engine: options.connect().await? })
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        sqlx::Connection::close(self.engine).await
    }

    /// Starts a transaction that may write, after those of all others.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        // A plain BEGIN that reads first and writes later fails at once, whatever the time-out, if another
        // writer came between.
        sql("BEGIN IMMEDIATE").execute(self).await?;
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
