//! One thread owns the database for writing. It takes whatever waits in its queue into one transaction, each job in a
//! savepoint of its own, and answers after the commit: what it answers is on disk. It waits on no timer. For simulation the
//! same code runs on the caller's thread (`inline.rs`).

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::inline::{Crash, Inline};
use crate::fault::{self, Fault};
use crate::store::{Result, StoreError};

type Answer = Box<dyn Any + Send>;
type Work = Box<dyn FnOnce(&Connection) -> Result<Answer> + Send>;

pub(super) struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Answer>>,
}

impl Job {
    pub(super) fn refuse(self, reason: &str) {
        let _ = self.answer.send(Err(StoreError::Failed(reason.into())));
    }
}

pub(super) type Answers = Vec<(oneshot::Sender<Result<Answer>>, Result<Answer>)>;

/// At most so many jobs share a transaction, so that the first of them does not wait for ever.
const SHARED: usize = 512;

pub struct Writer {
    mode: Mode,
    failed: Arc<AtomicBool>,
}

enum Mode {
    Thread { queue: SyncSender<Job>, thread: Mutex<Option<JoinHandle<()>>> },
    Inline(Arc<Inline>),
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
        let failed: Arc<AtomicBool> = Arc::default();
        Writer { mode: Mode::Inline(Arc::new(Inline::new(connection, failed.clone()))), failed }
    }

    pub fn refuse(&self, refuses: bool) {
        if let Mode::Inline(inline) = &self.mode {
            inline.refuse(refuses);
        }
    }

    pub fn crash_after(&self, crash: Crash) {
        if let Mode::Inline(inline) = &self.mode {
            inline.crash_after(crash);
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
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move |connection| work(connection).map(|value| Box::new(value) as Answer));
        let job = Job { work, answer: sender };
        match &self.mode {
            Mode::Thread { queue, .. } => queue.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => StoreError::Full,
                TrySendError::Disconnected(_) => StoreError::Failed("the writer has stopped".into()),
            })?,
            Mode::Inline(inline) => inline.clone().take(job),
        }
        let answer = receiver.await.unwrap_or_else(|_| Err(StoreError::Failed("the writer has stopped".into())))?;
        answer.downcast().map(|value| *value).map_err(|_| StoreError::Failed("the writer mixed up its answers".into()))
    }

    /// Where reads go to the writer's own connection, since there is no other.
    pub(super) fn is_inline(&self) -> Option<&Inline> {
        match &self.mode {
            Mode::Inline(inline) => Some(inline),
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

pub fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn run(connection: Connection, jobs: Receiver<Job>, flag: &AtomicBool) {
    let mut answers = Answers::new();
    while let Ok(first) = jobs.recv() {
        let more = std::iter::from_fn(|| jobs.try_recv().ok());
        commit(&connection, std::iter::once(first).chain(more), flag, &mut answers);
        answer(&mut answers);
    }
}

/// Runs jobs in one transaction; their answers are to be given after it.
pub(super) fn commit(
    connection: &Connection,
    jobs: impl Iterator<Item = Job>,
    flag: &AtomicBool,
    answers: &mut Answers,
) {
    let mut begun = connection.execute_batch("BEGIN IMMEDIATE");
    for job in jobs.take(SHARED) {
        let result = match &begun {
            // The first needs no savepoint, which would keep every page that it changes twice: there is nothing but its
            // own work to be undone.
            Ok(()) if answers.is_empty() => {
                let result = contained(connection, job.work);
                if result.is_err() {
                    let _ = connection.execute_batch("ROLLBACK");
                    begun = connection.execute_batch("BEGIN IMMEDIATE");
                }
                result
            }
            Ok(()) => savepoint(connection, job.work),
            Err(error) => Err(StoreError::Failed(error.to_string())),
        };
        answers.push((job.answer, result));
    }
    if fault::on(Fault::AnsweredBeforeWritten) {
        answer(answers);
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
        for (_, result) in answers.iter_mut() {
            *result = Err(StoreError::Failed(error.to_string()));
        }
    }
}

pub(super) fn answer(answers: &mut Answers) {
    for (waiting, result) in answers.drain(..) {
        let _ = waiting.send(result);
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
