//! The thread that owns the connection, with its own small runtime: nothing asynchronous shows outside.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::Fault;
use super::location::ServerUrl;
use super::sql::Connection;
use crate::error::Error;

/// How long a call goes on trying where the server has gone away, as it does when it is restarted.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pauses between tries: the first, and the longest to which they grow.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(4));

/// How long a server may take over one call, before the connection is taken for a dead one.
const CALL: Duration = Duration::from_secs(120);

/// What to connect to.
pub(super) enum Target {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(ServerUrl),
}

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A database at work. Dropped, it finishes its work and closes the connection.
#[derive(Debug)]
pub(super) struct Database {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Database {
    /// Connects.
    pub(super) fn start(target: Target) -> Result<Database, Fault> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("primer-store".to_owned())
            .spawn(move || match Session::open(target) {
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
    ///
    /// Where the connection breaks it is run again, also if only the answer was lost: a job is one whose
    /// repetition does no harm.
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
            let attempt = async {
                connection.begin().await?;
                let result = job(connection).await?;
                connection.commit().await?;
                Ok(result)
            };
            let done = attempt.await;
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
    target: Target,
    /// None where it broke.
    connection: Option<Connection>,
    /// Whether the last call found the server; one after another that waited in vain doesn't wait again.
    patient: bool,
}

impl Session {
    fn open(target: Target) -> Result<Session, Fault> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(sqlx::Error::Io)?;
        let connection = runtime.block_on(Connection::open(&target))?;
        Ok(Session { runtime, target, connection: Some(connection), patient: true })
    }

    fn call<T>(&mut self, job: &impl AsyncFn(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let (mut pause, longest) = PAUSES;
        let mut broken = None;
        loop {
            let fault = match self.attempt(job) {
                Err(fault) if fault.is_broken_connection() => fault,
                result => {
                    self.patient = true;
                    return result;
                }
            };
            self.connection = None;
            let since = broken.get_or_insert_with(Instant::now);
            if !self.patient || since.elapsed() + pause > PATIENCE {
                self.patient = false;
                return Err(fault);
            }
            tracing::warn!(?fault, "the search store's server is gone; trying again");
            std::thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    fn attempt<T>(&mut self, job: &impl AsyncFn(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        self.runtime.block_on(async {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                broken => broken.insert(Connection::open(&self.target).await?),
            };
            match self.target {
                Target::Sqlite(_) => job(connection).await,
                Target::Postgres(_) => {
                    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
                    timeout(CALL, job(connection)).await.map_err(late)?
                }
            }
        })
    }

    fn close(self) {
        let Some(connection) = self.connection else { return };
        if let Err(error) = self.runtime.block_on(connection.close()) {
            tracing::warn!(%error, "closing the search store");
        }
    }
}
