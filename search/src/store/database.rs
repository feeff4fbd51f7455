//! The thread that owns the connection, with its own small runtime: nothing asynchronous shows outside.

use std::sync::mpsc;
use std::thread::JoinHandle;

use sqlx::sqlite::SqliteConnectOptions;
use tokio::runtime::{Builder, Runtime};

use super::Fault;
use super::sql::Connection;
use crate::error::Error;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A database at work. Dropped, it finishes its work and closes the connection.
#[derive(Debug)]
pub(super) struct Database {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Database {
    /// Connects.
    pub(super) fn start(options: SqliteConnectOptions) -> Result<Database, Fault> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("primer-store".to_owned())
            .spawn(move || match Session::open(&options) {
                Ok(mut session) => {
                    // The opener waits for this; if it has gone, the queue is closed as well.
                    let _ = ready.send(Ok(()));
                    while let Ok(job) = queue.recv() {
                        job(&mut session);
                    }
                    session.close();
                }
                Err(fault) => {
                    let _ = ready.send(Err(fault));
                }
            })
            .map_err(|error| Fault::Sql(sqlx::Error::Io(error)))?;
        let database = Database { jobs: Some(jobs), thread: Some(thread) };
        opened.recv().map_err(|_| Error::Thread("store"))??;
        Ok(database)
    }

    /// Runs `job` on the database's thread.
    pub(super) fn call<T: Send + 'static>(
        &self,
        job: impl AsyncFn(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move |session| {
            // A caller that has gone doesn't need the answer.
            let _ = reply.send(session.call(&job));
        });
        self.jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or(Error::Thread("store"))?;
        answer.recv().map_err(|_| Error::Thread("store"))?
    }

    /// Runs `job` in a transaction that may write, and that is undone if it fails.
    pub(super) fn transact<T: Send + 'static>(
        &self,
        job: impl AsyncFn(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.call(async move |connection| {
            connection.begin().await?;
            let done = match job(connection).await {
                Ok(result) => connection.commit().await.map(|()| result),
                Err(fault) => Err(fault),
            };
            if done.is_err() {
                connection.roll_back().await;
            }
            done
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the store's thread panicked");
        }
    }
}

/// What the thread works with.
struct Session {
    runtime: Runtime,
    connection: Connection,
}

impl Session {
    fn open(options: &SqliteConnectOptions) -> Result<Session, Fault> {
        let runtime = Builder::new_current_thread().build().map_err(sqlx::Error::Io)?;
        let connection = runtime.block_on(Connection::open(options))?;
        Ok(Session { runtime, connection })
    }

    fn call<T>(&mut self, job: &impl AsyncFn(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        self.runtime.block_on(job(&mut self.connection))
    }

    fn close(self) {
        if let Err(error) = self.runtime.block_on(self.connection.close()) {
            tracing::warn!(%error, "closing the search store");
        }
    }
}
