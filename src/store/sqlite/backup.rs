//! The whole store as one file, and back.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::Backup;
use tempfile::NamedTempFile;

use super::carry::{still, sums};
use super::writer::failed;
use super::{Sqlite, file};
use crate::store::beside::Beside;
use crate::store::carried::{Doing, Step, Summed, Watch, same};
use crate::store::{Result, StoreError};

/// Pages copied in one step.
const STEP: i32 = 4096;

/// A consistent copy while the broker runs: one read of the source lasts from the first page to the last, so that whoever writes
/// meanwhile does not make it begin again.
pub fn backup(from: &Path, to: &Path, watch: &Watch) -> Result<Vec<Summed>> {
    let beside = Beside::of(to)?;
    let source = file::reader(from)?;
    source.execute_batch("BEGIN").map_err(failed)?;
    let there = sums(&source, watch)?;
    let mut target = Connection::open(beside.path()).map_err(failed)?;
    {
        let copy = Backup::new(&source, &mut target).map_err(failed)?;
        let mut more = true;
        while more {
            use rusqlite::backup::StepResult::{Done, More};
            more = match copy.step(STEP).map_err(failed)? {
                Done => false,
                More => true,
                other => return Err(StoreError::Failed(format!("the copy does not go on: {other:?}"))),
            };
            let progress = copy.progress();
            let done = (progress.pagecount - progress.remaining).unsigned_abs().into();
            watch(Step { doing: Doing::Copies, table: "pages", rows: done });
        }
    }
    target.execute_batch("PRAGMA journal_mode = DELETE").map_err(failed)?;
    target.close().map_err(|(_, error)| failed(error))?;
    let copied = sums(&still(beside.path())?, watch)?;
    same(&there, &copied)?;
    beside.put_new()?;
    Ok(copied)
}

impl Sqlite {
    /// Puts a backup in the place of a store that nobody sends from. Cut off, it leaves that as it was.
    pub fn restore(backup: &Path, place: &Path, watch: &Watch) -> Result<Vec<Summed>> {
        let wrong =
            |path: &Path, error: &dyn std::fmt::Display| StoreError::Failed(format!("{}: {error}", path.display()));
        let _lock = Sqlite::lock(place)?;
        let current = Sqlite::check(backup)?;
        let beside = Beside::of(place)?;
        std::fs::copy(backup, beside.path()).map_err(|error| wrong(backup, &error))?;
        if !current {
            file::bring_up(beside.path())?;
        }
        let copied = sums(&still(beside.path())?, watch)?;
        if current {
            same(&sums(&still(backup)?, watch)?, &copied)?;
        }
        // The log of the store that is there would be taken for the new one's. What is in it goes into its file first, so that it is
        // whole until the very end.
        if place.exists() {
            let emptied = Connection::open(place).and_then(|db| db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"));
            if let Err(error) = emptied {
                tracing::debug!(%error, "the store that is replaced does not open");
            }
        }
        for suffix in ["-wal", "-shm"] {
            let log = PathBuf::from(format!("{}{suffix}", place.display()));
            match std::fs::remove_file(&log) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(&log, &error)),
                _ => {}
            }
        }
        beside.put_over()?;
        Ok(copied)
    }
}

/// A backup of this program's schema: the file itself, or a copy of an older one that was brought up to date.
pub struct Current {
    path: PathBuf,
    _copy: Option<NamedTempFile>,
}

impl Current {
    /// The file stays as it is.
    pub fn of(backup: &Path) -> Result<Current> {
        if Sqlite::check(backup)? {
            return Ok(Current { path: backup.into(), _copy: None });
        }
        let wrong = |error: std::io::Error| StoreError::Failed(format!("{}: {error}", backup.display()));
        let copy = NamedTempFile::new().map_err(wrong)?;
        std::fs::copy(backup, copy.path()).map_err(wrong)?;
        file::bring_up(copy.path())?;
        Ok(Current { path: copy.path().into(), _copy: Some(copy) })
    }

    pub fn open(&self) -> Result<Connection> {
        still(&self.path)
    }
}
