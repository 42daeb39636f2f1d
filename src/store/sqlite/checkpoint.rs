//! Checkpoints: a thread of its own moves what was committed from the log into the database, so that no commit waits for it and
//! the log stays short. One that fails is tried again at the next look.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use super::writer::failed;
use crate::store::{Result, StoreError};

/// Begins; the thread ends when what is answered is dropped.
pub(super) fn start(path: PathBuf) -> Result<std::sync::mpsc::Sender<()>> {
    let connection = Connection::open(&path).map_err(failed)?;
    connection.busy_timeout(Duration::from_millis(50)).map_err(failed)?;
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(failed)?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let log = PathBuf::from(format!("{}-wal", path.display()));
    std::thread::Builder::new()
        .name("checkpoint".into())
        .spawn(move || {
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(200))
            {
                let length = std::fs::metadata(&log).map_or(0, |log| log.len());
                let kind = match length {
                    0..4_194_304 => continue,
                    4_194_304..268_435_456 => "PASSIVE",
                    _ => "RESTART",
                };
                let done = connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |_| Ok(()));
                if let Err(error) = done {
                    tracing::debug!(%error, "checkpoint put off");
                }
            }
        })
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(stop)
}
