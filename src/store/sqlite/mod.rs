//! The embedded store: SQLite, WAL, `synchronous=FULL`, one writer thread with group commit, a small pool of readers,
//! checkpoints elsewhere.

mod broadcast;
mod checkpoint;
mod confirm;
mod delivery;
mod file;
mod import;
mod ingest;
mod inline;
mod manifest;
mod put;
mod query;
mod receipt;
mod recipient;
mod replay;
mod retention;
mod rows;
mod store;
mod subscriber;
mod upkeep;
pub mod writer;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ring::hmac;
use rusqlite::Connection;

pub use self::inline::Crash;
use self::writer::{Writer, failed};
use crate::store::{Result, StoreError};

const READERS: usize = 2;

pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    reading: tokio::sync::Semaphore,
    key: hmac::Key,
    epoch: i64,
    /// Ends the checkpointing thread.
    checkpoints: Option<std::sync::mpsc::Sender<()>>,
    /// Held by the process that sends.
    _owned: Option<std::fs::File>,
}

impl Sqlite {
    /// Opens or creates the file for the process that sends from it; an older schema is brought up to date. A second such
    /// process on the same file is refused.
    pub fn own(path: &Path, room: usize) -> Result<Sqlite> {
        let lock = Sqlite::lock(path)?;
        Sqlite::with(path, |connection| Writer::thread(connection, room), true, Some(lock))
    }

    /// The same for a process that only writes much, as an import does: in memory that does not grow with the store.
    pub fn alone(path: &Path, room: usize) -> Result<Sqlite> {
        let lock = Sqlite::lock(path)?;
        let small = |connection: Connection| {
            if let Err(error) = connection.execute_batch("PRAGMA cache_size = -4096") {
                tracing::warn!(%error, "the cache keeps its size");
            }
            Writer::thread(connection, room)
        };
        Sqlite::with(path, small, true, Some(lock))
    }

    /// Opens the file beside its owner, for a command that sends nothing.
    pub fn visit(path: &Path) -> Result<Sqlite> {
        Sqlite::with(path, |connection| Writer::thread(connection, 1024), true, None)
    }

    /// Everything on the caller's thread, without checkpoints: for simulation. It takes the shards even while another has them, as
    /// an owner does whose predecessor's lease has ended.
    pub fn inline(path: &Path) -> Result<Sqlite> {
        Sqlite::with(path, Writer::inline, false, None)
    }

    fn with(
        path: &Path,
        writer: impl FnOnce(Connection) -> Writer,
        threads: bool,
        owned: Option<std::fs::File>,
    ) -> Result<Sqlite> {
        let connection = file::open(path)?;
        if !threads {
            // A simulated death copies the files as they are, so nothing is gained by waiting for the disk.
            connection.execute_batch("PRAGMA synchronous = OFF").map_err(failed)?;
        }
        let key = file::installation_key(&connection)?;
        let epoch = if owned.is_some() || !threads { file::raise_epoch(&connection)? } else { 0 };
        let mut readers = Vec::new();
        let mut checkpoints = None;
        if threads {
            for _ in 0..READERS {
                readers.push(file::reader(path)?);
            }
            checkpoints = Some(checkpoint::start(path.to_path_buf())?);
        }
        Ok(Sqlite {
            path: path.into(),
            writer: writer(connection),
            reading: tokio::sync::Semaphore::new(readers.len().max(1)),
            readers: Mutex::new(readers),
            key,
            epoch,
            checkpoints,
            _owned: owned,
        })
    }

    /// For simulation: from here on every write fails, or none does any more.
    pub fn refuse(&self, refuses: bool) {
        self.writer.refuse(refuses);
    }

    pub fn crash_after(&self, crash: Crash) {
        self.writer.crash_after(crash);
    }

    /// Reads on a pooled connection, off the asynchronous threads. Keep reads short: they hold the log.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        if let Some(inline) = self.writer.is_inline() {
            return inline.read(work).await;
        }
        let _permit = self.reading.acquire().await.map_err(|_| StoreError::Failed("the store is closed".into()))?;
        let reader = self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let Some(reader) = reader else { return Err(StoreError::Failed("no reader is free".into())) };
        let (reader, result) = tokio::task::spawn_blocking(move || {
            let result = work(&reader);
            (reader, result)
        })
        .await
        .map_err(|_| StoreError::Failed("a read panicked".into()))?;
        self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(reader);
        result
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.run(work).await
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.checkpoints.take();
    }
}
