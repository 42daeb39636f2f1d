//! One thread owns the database for writing. It takes whatever waits in its queue into one transaction, each job in a
//! savepoint of its own, and answers after the commit: what it answers is on disk. It waits on no timer. For simulation the
//! same code runs inline, on the caller's thread.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::{Result, StoreError};

type Answer = Box<dyn Any + Send>;
type Work = Box<dyn FnOnce(&Connection) -> Result<Answer> + Send>;

struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Answer>>,
}

/// At most so many jobs share a transaction, so that the first of them does not wait for ever.
const SHARED: usize = 512;

pub struct Writer {
    mode: Mode,
    failed: Arc<AtomicBool>,
}

enum Mode {
    Thread { queue: SyncSender<Job>, thread: Mutex<Option<JoinHandle<()>>> },
    Inline { connection: Mutex<Connection>, crash: Mutex<Option<Crash>> },
}

/// For simulation: after so many more commits the process "dies": the commit is written, and nobody is answered.
pub struct Crash {
    pub commits_left: u64,
    /// Called after that commit, with the length that the write-ahead log had before it.
    pub at: Box<dyn FnOnce(u64) + Send>,
}

impl Writer {
    pub fn thread(connection: Connection, room: usize) -> Writer {
        let (queue, jobs) = sync_channel(room);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = failed.clone();
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || run(connection, jobs, &flag)).ok();
        Writer { mode: Mode::Thread { queue, thread: Mutex::new(thread) }, failed }
    }

    pub fn inline(connection: Connection) -> Writer {
        let mode = Mode::Inline { connection: Mutex::new(connection), crash: Mutex::new(None) };
        Writer { mode, failed: Arc::default() }
    }

    pub fn crash_after(&self, crash: Crash) {
        if let Mode::Inline { crash: slot, .. } = &self.mode {
            *slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(crash);
        }
    }

    /// Whether the last transaction failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Runs `work` in a transaction and answers when it is on disk. A full queue is an answer, too.
    pub async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let answer = match &self.mode {
            Mode::Thread { queue, .. } => {
                let (sender, receiver) = oneshot::channel();
                let work: Work = Box::new(move |connection| work(connection).map(|value| Box::new(value) as Answer));
                queue.try_send(Job { work, answer: sender }).map_err(|error| match error {
                    TrySendError::Full(_) => StoreError::Full,
                    TrySendError::Disconnected(_) => StoreError::Failed("the writer has stopped".into()),
                })?;
                receiver.await.unwrap_or_else(|_| Err(StoreError::Failed("the writer has stopped".into())))?
            }
            Mode::Inline { connection, crash } => {
                if self.failed() {
                    std::future::pending::<()>().await; // the process is dead
                }
                let dies = {
                    let mut crash = crash.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    match crash.as_mut() {
                        Some(due) if due.commits_left == 0 => crash.take(),
                        Some(due) => {
                            due.commits_left -= 1;
                            None
                        }
                        None => None,
                    }
                };
                let value = {
                    let connection = connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    if let Some(crash) = dies {
                        self.failed.store(true, Ordering::Relaxed);
                        let log = std::fs::metadata(format!("{}-wal", connection.path().unwrap_or_default()));
                        let before = log.map_or(0, |log| log.len());
                        let _ = transaction(&connection, work);
                        (crash.at)(before);
                        None
                    } else {
                        Some(transaction(&connection, work)?)
                    }
                };
                match value {
                    Some(value) => return Ok(value),
                    None => std::future::pending().await,
                }
            }
        };
        answer.downcast().map(|value| *value).map_err(|_| StoreError::Failed("the writer mixed up its answers".into()))
    }

    /// Reads on the writer's own connection: inline mode has no other.
    pub fn read_inline<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Option<Result<T>> {
        match &self.mode {
            Mode::Inline { connection, .. } => {
                Some(work(&connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner())))
            }
            Mode::Thread { .. } => None,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Mode::Thread { queue, thread } = &mut self.mode {
            let (closed, _) = sync_channel(0);
            *queue = closed; // drops the sender: the thread ends after what is queued
            if let Some(thread) = thread.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
                let _ = thread.join();
            }
        }
    }
}

fn transaction<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    match work(connection) {
        Ok(value) => match connection.execute_batch("COMMIT") {
            Ok(()) => Ok(value),
            Err(error) => {
                let _ = connection.execute_batch("ROLLBACK");
                Err(failed(error))
            }
        },
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

pub fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn run(connection: Connection, jobs: Receiver<Job>, flag: &AtomicBool) {
    let mut answers: Vec<(oneshot::Sender<Result<Answer>>, Result<Answer>)> = Vec::new();
    while let Ok(first) = jobs.recv() {
        let mut begun = connection.execute_batch("BEGIN IMMEDIATE");
        let mut next = Some(first);
        while let Some(job) = next {
            let result = match &begun {
                // The first needs no savepoint, which would keep every page that it changes twice: there is nothing but its
                // own work to be undone.
                Ok(()) if answers.is_empty() => {
                    let result = contained(&connection, job.work);
                    if result.is_err() {
                        let _ = connection.execute_batch("ROLLBACK");
                        begun = connection.execute_batch("BEGIN IMMEDIATE");
                    }
                    result
                }
                Ok(()) => savepoint(&connection, job.work),
                Err(error) => Err(StoreError::Failed(error.to_string())),
            };
            answers.push((job.answer, result));
            next = if answers.len() < SHARED { jobs.try_recv().ok() } else { None };
        }
        if begun.is_ok() {
            begun = connection.execute_batch("COMMIT");
            if begun.is_err() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
        flag.store(begun.is_err(), Ordering::Relaxed);
        if let Err(error) = &begun {
            tracing::error!(%error, "the store could not commit; lanes stop and ingest answers 503");
        }
        for (answer, result) in answers.drain(..) {
            let result = match &begun {
                Ok(()) => result,
                Err(error) => Err(StoreError::Failed(error.to_string())),
            };
            let _ = answer.send(result);
        }
    }
}

/// A job that fails undoes its own work alone; a panic in it is contained.
fn savepoint(connection: &Connection, work: Work) -> Result<Answer> {
    let run =
        |sql: &str| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(failed);
    run("SAVEPOINT job")?;
    let result = contained(connection, work);
    if result.is_err() {
        run("ROLLBACK TO job")?;
    }
    run("RELEASE job")?;
    result
}

fn contained(connection: &Connection, work: Work) -> Result<Answer> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err(StoreError::Failed("a job of the writer panicked".into())))
}
