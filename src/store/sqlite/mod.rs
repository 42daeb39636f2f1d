//! The embedded store: SQLite, WAL, `synchronous=FULL`, one writer thread with group commit, a small pool of readers,
//! checkpoints elsewhere.

mod access;
pub mod backup;
mod broadcast;
pub mod carry;
mod checkpoint;
mod confirm;
mod delivery;
mod earlier;
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
mod shard;
mod signal;
mod store;
mod subscriber;
mod upkeep;
pub mod writer;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use ring::hmac;
use rusqlite::Connection;

pub use self::inline::Crash;
use self::manifest::For;
use self::writer::{Writer, failed};
use self::writing::Writing;
use crate::store::{Broadcast, Leases, Result, StoreError};

const READERS: usize = 2;
/// The number of the one node that owns every shard, as whoever opens the file to send from it does.
const OWNER: i64 = 1;

pub struct Sqlite {
    path: PathBuf,
    writer: Writer,
    readers: Arc<Mutex<Vec<Connection>>>,
    reading: Arc<tokio::sync::Semaphore>,
    key: hmac::Key,
    /// Whose shards are its own; 0: nothing is sent from here.
    node: Arc<AtomicI64>,
    leases: Arc<Leases>,
    outcomes: bool,
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

    /// For simulation: the same store as another node has it, which owns what is that node's.
    pub fn beside(&self, node: Arc<AtomicI64>, leases: Arc<Leases>) -> Sqlite {
        Sqlite {
            path: self.path.clone(),
            writer: self.writer.beside(),
            readers: self.readers.clone(),
            reading: self.reading.clone(),
            key: self.key.clone(),
            node,
            leases,
            outcomes: self.outcomes,
            checkpoints: None,
            _owned: None,
        }
    }

    /// For simulation: each shard, its node and its epoch.
    pub async fn shards(&self) -> Result<Vec<(u8, i64, i64)>> {
        self.read(shard::all_of_them).await
    }

    /// For simulation: gives shards that are others' to a node, each under an epoch, and answers those that still were.
    pub async fn reassign(&self, shards: Vec<(u8, i64)>, to: i64, epoch: Option<i64>) -> Result<Vec<u8>> {
        self.write(move |db| shard::reassign(db, &shards, to, epoch)).await
    }

    fn node(&self) -> i64 {
        self.node.load(Ordering::Acquire)
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
        let sends = owned.is_some() || !threads;
        let epoch = if sends { file::raise_epoch(&connection)? } else { 0 };
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
            reading: Arc::new(tokio::sync::Semaphore::new(readers.len().max(1))),
            readers: Arc::new(Mutex::new(readers)),
            key,
            node: Arc::new(AtomicI64::new(if sends { OWNER } else { 0 })),
            leases: Arc::new(Leases::forever(epoch)),
            outcomes: false,
            checkpoints,
            _owned: owned,
        })
    }

    /// What deliveries come to stands in the journal, too, where somebody asks for it.
    pub fn noting_outcomes(mut self, wanted: bool) -> Sqlite {
        self.outcomes = wanted;
        self
    }

    /// For simulation: from here on every write fails, or none does any more.
    pub fn refuse(&self, refuses: bool) {
        self.writer.refuse(refuses);
    }

    /// For simulation: the same of every read.
    pub fn unreadable(&self, unreadable: bool) {
        self.writer.unreadable(unreadable);
    }

    pub fn crash_after(&self, crash: Crash) {
        self.writer.crash_after(crash);
    }

    /// Reads what concerns a broadcast.
    async fn read_of<T, F>(&self, broadcast: &Broadcast, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &For) -> Result<T> + Send + 'static,
    {
        let of = For::from(broadcast);
        self.read(move |db| work(db, &of)).await
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
        let closed = |_| StoreError::Failed("the store is closed".into());
        let permit = self.reading.clone().acquire_owned().await.map_err(closed)?;
        let readers = self.readers.clone();
        // Whoever asked may have gone by the end of it, and the read may panic: the reader is free again all the same.
        let reading = move || {
            let _permit = permit;
            let reader = readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
            let Some(reader) = reader else { return Err(StoreError::Failed("no reader is free".into())) };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&reader)));
            readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(reader);
            result.unwrap_or_else(|_| Err(StoreError::Failed("a read panicked".into())))
        };
        let ended = tokio::task::spawn_blocking(reading).await;
        ended.unwrap_or_else(|_| Err(StoreError::Failed("the store is closing".into())))
    }

    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Writing) -> Result<T> + Send + 'static,
    {
        self.writer.run(work).await
    }

    /// What comes from outside: a full queue is an answer.
    async fn take<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Writing) -> Result<T> + Send + 'static,
    {
        self.writer.try_run(work).await
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.checkpoints.take();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_job_that_fails_takes_nobody_with_it_and_what_was_noted_outside_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        // Jobs that are ready together share a transaction.
        let store = Sqlite::inline(&folder.path().join("store.db")).expect("opens");
        let write = |db: &Connection, name: &str| rows::run(db, "INSERT INTO meta VALUES (?1, '')", [name]);
        let noted = Arc::new(Mutex::new(Vec::new()));
        let (note, undo) = (noted.clone(), noted.clone());
        let lock = |noted: &Mutex<Vec<&'static str>>| noted.lock().expect("noted").clone();
        let good = store.writer.run_or_undo(
            move |db| {
                write(db, "good")?;
                note.lock().expect("noted").push("good");
                Ok(())
            },
            move || undo.lock().expect("noted").push("undone"),
        );
        let bad = store.write(move |db| {
            write(db, "bad")?;
            Err::<(), _>(StoreError::Failed("it can't".into()))
        });
        let panics = store.write(move |db| -> Result<()> {
            write(db, "panics")?;
            panic!("in a job")
        });
        let last = store.write(move |db| write(db, "last"));
        let (good, bad, panics, last) = tokio::join!(good, bad, panics, last);
        assert!(good.is_ok() && last.is_ok(), "{good:?}, {last:?}");
        assert!(bad.is_err() && panics.is_err());
        let names = store.read(|db| rows::all(db, "SELECT name FROM meta WHERE value = ''", [], |row| row.get(0)));
        let mut names: Vec<String> = names.await.expect("reads");
        names.sort();
        assert_eq!(names, ["good", "last"]);
        assert_eq!(lock(&noted), ["good", "undone", "good"], "done, undone with the others, and done again");
    }

    #[tokio::test]
    async fn a_reader_comes_back_from_whoever_goes_before_the_end_and_from_a_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::own(&folder.path().join("store.db"), 16).expect("opens");
        for _ in 0..READERS * 2 {
            let (begun, begins) = tokio::sync::oneshot::channel();
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let read = store.read(move |_| {
                let _ = begun.send(());
                let _ = wait.recv();
                Ok(())
            });
            tokio::select! {
                biased;
                _ = begins => {}
                _ = read => panic!("it waits"),
            }
            drop(go);
            let panics = store.read(|_| -> Result<()> { panic!("in a read") });
            assert!(panics.await.is_err());
        }
        let one = store.read(|db| rows::first(db, "SELECT 1", [], |row| row.get::<_, i64>(0)));
        let read = tokio::time::timeout(Duration::from_secs(10), one).await.expect("a reader is free");
        assert_eq!(read.expect("reads"), Some(1));
    }
}
