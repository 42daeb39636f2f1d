//! The writer and the reads on the caller's thread, for simulation: jobs that are ready together share a transaction, as in the
//! writer's thread; and the disk may stop in the middle of a commit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

use super::writer::{Answers, Job, answer, commit};
use super::writing::Writing;
use crate::store::{Result, StoreError};

/// After so many more commits the disk stops: that commit may be on it in part, and neither it nor anything later is answered.
pub struct Crash {
    pub commits_left: u64,
    /// Called after that commit, with the length that the write-ahead log had before it.
    pub at: Box<dyn FnOnce(u64) + Send>,
}

pub struct Inline {
    writing: Mutex<Writing>,
    queue: Mutex<VecDeque<Job>>,
    crash: Mutex<Option<Crash>>,
    failed: Arc<AtomicBool>,
    stopped: AtomicBool,
    /// Nothing can be written for now.
    refuses: AtomicBool,
    /// Nothing can be read for now.
    unreadable: AtomicBool,
    /// Reads so far.
    reads: AtomicU64,
    /// What a stopped disk never answers.
    unanswered: Mutex<Answers>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Inline {
    pub fn new(writing: Writing, failed: Arc<AtomicBool>) -> Inline {
        Inline {
            writing: Mutex::new(writing),
            queue: Mutex::default(),
            crash: Mutex::default(),
            failed,
            stopped: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            unanswered: Mutex::default(),
        }
    }

    pub fn crash_after(&self, crash: Crash) {
        *lock(&self.crash) = Some(crash);
    }

    /// From here on every write fails, or none does any more.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// From here on every read fails, or none does any more.
    pub fn unreadable(&self, unreadable: bool) {
        self.unreadable.store(unreadable, Ordering::Relaxed);
    }

    /// Takes a job; it is written after whoever else is ready now has had a turn, so that they share the commit.
    pub fn take(self: Arc<Inline>, job: Job) {
        let mut queue = lock(&self.queue);
        queue.push_back(job);
        if queue.len() == 1 {
            let own = self.clone();
            tokio::spawn(async move { own.write() });
        }
    }

    fn write(&self) {
        if self.stopped.load(Ordering::Relaxed) {
            return; // what is queued is never answered
        }
        let jobs = std::mem::take(&mut *lock(&self.queue));
        if self.refuses.load(Ordering::Relaxed) {
            self.failed.store(true, Ordering::Relaxed);
            return jobs.into_iter().for_each(|job| job.refuse("the disk is full"));
        }
        let dies = {
            let mut crash = lock(&self.crash);
            match crash.as_mut() {
                Some(due) if due.commits_left == 0 => crash.take(),
                Some(due) => {
                    due.commits_left -= 1;
                    None
                }
                None => None,
            }
        };
        let writing = lock(&self.writing);
        let log =
            || std::fs::metadata(format!("{}-wal", writing.path().unwrap_or_default())).map_or(0, |log| log.len());
        let before = if dies.is_some() { log() } else { 0 };
        let answers = commit(&writing, jobs.into(), &self.failed);
        match dies {
            Some(crash) => {
                self.stopped.store(true, Ordering::Relaxed);
                lock(&self.unanswered).extend(answers);
                (crash.at)(before);
            }
            None => answer(answers),
        }
    }

    /// On the one connection; what was read is answered a few turns later, and others may have written meanwhile, as with the pool of
    /// readers. After the disk has stopped nothing is read: what is not on it for sure may not be seen.
    pub async fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if self.stopped.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.unreadable.load(Ordering::Relaxed) {
            return Err(StoreError::Failed("the disk can't be read".into()));
        }
        let answer = work(&lock(&self.writing));
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        for _ in 0..read.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 {
            tokio::task::yield_now().await;
        }
        answer
    }
}
