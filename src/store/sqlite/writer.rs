//! One thread owns the database for writing. It takes whatever waits in its queue into one transaction, and answers after the
//! commit: what it answers is on disk. It waits on no timer. A job that fails takes nobody with it: all are undone then and done
//! again, each in a savepoint of its own. For simulation the same code runs on the caller's thread (`inline.rs`).

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::inline::{Crash, Inline};
use super::writing::Writing;
use crate::fault::{self, Fault};
use crate::store::{Result, StoreError};

type Answer = Box<dyn Any + Send>;
type Work = Box<dyn Fn(&Writing) -> Result<Answer> + Send>;
type Undo = Box<dyn Fn() + Send>;

pub(super) struct Job {
    work: Work,
    /// Called where the store has undone what the work did.
    undo: Option<Undo>,
    answer: oneshot::Sender<Result<Answer>>,
    /// Of what comes from outside, until it is answered.
    _place: Option<OwnedSemaphorePermit>,
}

impl Job {
    fn undone(&self) {
        if let Some(undo) = &self.undo {
            undo();
        }
    }

    pub(super) fn refuse(self, reason: &str) {
        let _ = self.answer.send(Err(StoreError::Failed(reason.into())));
    }
}

pub(super) type Answers = Vec<(Job, Result<Answer>)>;

/// At most so many jobs share a transaction, so that the first of them does not wait for ever.
const SHARED: usize = 512;

pub struct Writer {
    mode: Mode,
    failed: Arc<AtomicBool>,
}

enum Mode {
    Thread { queue: Option<Sender<Job>>, places: Arc<Semaphore>, thread: Mutex<Option<JoinHandle<()>>> },
    Inline(Arc<Inline>),
}

impl Writer {
    pub fn thread(connection: Connection, room: usize) -> Writer {
        let (queue, jobs) = channel();
        let places = Arc::new(Semaphore::new(room));
        let failed = Arc::new(AtomicBool::new(false));
        let flag = failed.clone();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || run(Writing::new(connection), jobs, &flag))
            .ok();
        Writer { mode: Mode::Thread { queue: Some(queue), places, thread: Mutex::new(thread) }, failed }
    }

    pub fn inline(connection: Connection) -> Writer {
        let failed: Arc<AtomicBool> = Arc::default();
        Writer { mode: Mode::Inline(Arc::new(Inline::new(Writing::new(connection), failed.clone()))), failed }
    }

    /// The same writer once more, where it is inline.
    pub fn beside(&self) -> Writer {
        let mode = match &self.mode {
            Mode::Inline(inline) => Mode::Inline(inline.clone()),
            Mode::Thread { .. } => {
                Mode::Thread { queue: None, places: Arc::new(Semaphore::new(0)), thread: Mutex::default() }
            }
        };
        Writer { mode, failed: self.failed.clone() }
    }

    pub fn refuse(&self, refuses: bool) {
        if let Mode::Inline(inline) = &self.mode {
            inline.refuse(refuses);
        }
    }

    pub fn unreadable(&self, unreadable: bool) {
        if let Mode::Inline(inline) = &self.mode {
            inline.unreadable(unreadable);
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

    /// Runs `work` in a transaction and answers when it is on disk. It may be run more than once, and what it did is undone in
    /// between. The engine's own jobs are few, since each waits for the one before, and have always room.
    pub async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Writing) -> Result<T> + Send + 'static,
    {
        self.queued(work, None, None).await
    }

    /// The same for work that leaves something outside the store, too, which `undo` takes back.
    pub async fn run_or_undo<T, F>(&self, work: F, undo: impl Fn() + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Writing) -> Result<T> + Send + 'static,
    {
        self.queued(work, Some(Box::new(undo)), None).await
    }

    /// The same for what comes from outside: where as many wait as there is room for, that is the answer.
    pub async fn try_run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Writing) -> Result<T> + Send + 'static,
    {
        let place = match &self.mode {
            Mode::Thread { places, .. } => Some(places.clone().try_acquire_owned().map_err(|_| StoreError::Full)?),
            Mode::Inline(_) => None,
        };
        self.queued(work, None, place).await
    }

    async fn queued<T, F>(&self, work: F, undo: Option<Undo>, place: Option<OwnedSemaphorePermit>) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Writing) -> Result<T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move |writing| work(writing).map(|value| Box::new(value) as Answer));
        let job = Job { work, undo, answer: sender, _place: place };
        match &self.mode {
            Mode::Thread { queue, .. } => queue.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())?,
            Mode::Inline(inline) => inline.clone().take(job),
        }
        let answer = receiver.await.unwrap_or_else(|_| Err(stopped()))?;
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
        if let Mode::Thread { queue, thread, .. } = &mut self.mode {
            *queue = None; // the thread ends after what is queued
            if let Some(thread) = thread.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take() {
                let _ = thread.join();
            }
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Failed("the writer has stopped".into())
}

pub fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn run(writing: Writing, jobs: Receiver<Job>, flag: &AtomicBool) {
    while let Ok(first) = jobs.recv() {
        // Whoever is about to ask, too, goes first where they share a core, and then shares the commit.
        std::thread::yield_now();
        let more = std::iter::from_fn(|| jobs.try_recv().ok());
        answer(commit(&writing, std::iter::once(first).chain(more).take(SHARED).collect(), flag));
    }
}

/// Runs jobs in one transaction; their answers are to be given after it.
pub(super) fn commit(writing: &Writing, jobs: Vec<Job>, flag: &AtomicBool) -> Answers {
    let begin = || writing.execute_batch("BEGIN IMMEDIATE").map_err(failed);
    let written = begin().and_then(|()| match together(writing, &jobs) {
        Ok(answers) => Ok(answers.into_iter().map(Ok).collect()),
        Err(_) => begin().map(|()| one_by_one(writing, &jobs)),
    });
    let (mut results, begun) = match written {
        Ok(results) => (results, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    };
    if fault::on(Fault::AnsweredBeforeWritten) {
        answer(jobs.into_iter().zip(results).collect());
        let _ = writing.execute_batch("COMMIT");
        return Answers::new();
    }
    let committed = begun.and_then(|()| writing.execute_batch("COMMIT").map_err(failed));
    flag.store(committed.is_err(), Ordering::Relaxed);
    if let Err(error) = committed {
        let _ = writing.execute_batch("ROLLBACK");
        writing.undone();
        tracing::error!(%error, "the store could not commit; lanes stop and ingest answers 503");
        jobs.iter().for_each(Job::undone);
        results = jobs.iter().map(|_| Err(error.clone())).collect();
    }
    jobs.into_iter().zip(results).collect()
}

/// Without savepoints, which would keep every page that a job changes a second time. Where one fails, all are undone.
fn together(writing: &Writing, jobs: &[Job]) -> Result<Vec<Answer>> {
    let results: Result<Vec<Answer>> = jobs.iter().map(|job| contained(writing, &job.work)).collect();
    if results.is_err() {
        jobs.iter().for_each(Job::undone);
        // Nothing is left of a transaction that the store itself has undone.
        let _ = writing.execute_batch("ROLLBACK");
        writing.undone();
    }
    results
}

fn one_by_one(writing: &Writing, jobs: &[Job]) -> Vec<Result<Answer>> {
    jobs.iter().map(|job| savepoint(writing, &job.work).inspect_err(|_| job.undone())).collect()
}

pub(super) fn answer(answers: Answers) {
    for (job, result) in answers {
        let _ = job.answer.send(result);
    }
}

/// A job that fails undoes its own work alone; a panic in it is contained.
fn savepoint(writing: &Writing, work: &Work) -> Result<Answer> {
    let run = |sql: &str| writing.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(failed);
    run("SAVEPOINT job")?;
    let result = contained(writing, work);
    if result.is_err() {
        writing.undone();
        run("ROLLBACK TO job")?;
    }
    run("RELEASE job")?;
    result
}

fn contained(writing: &Writing, work: &Work) -> Result<Answer> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(writing)))
        .unwrap_or_else(|_| Err(StoreError::Failed("a job of the writer panicked".into())))
}
