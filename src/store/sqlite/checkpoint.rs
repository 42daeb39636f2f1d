//! Checkpoints: a thread of its own moves what was committed from the log into the database, so that no commit waits for it and
//! the log stays short. One that fails is tried again at the next look.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use super::writer::failed;
use crate::store::{Result, StoreError};

/// Between two looks while much is written …
const SOON: Duration = Duration::from_millis(200);
/// … and after one that found less than this many pages in the log: each costs two syncs, whatever it moves.
const LATER: Duration = Duration::from_secs(2);
const FEW: i64 = 512;

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
            let mut wait = SOON;
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                wait = SOON;
                let length = std::fs::metadata(&log).map_or(0, |log| log.len());
                let kind = match length {
                    0..4_194_304 => continue,
                    4_194_304..268_435_456 => "PASSIVE",
                    _ => "RESTART",
                };
                // The file keeps its length when the log begins anew; what is in it, the checkpoint says.
                match connection.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], |row| row.get::<_, i64>(1)) {
                    Ok(pages) if pages < FEW => wait = LATER,
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "checkpoint put off"),
                }
            }
        })
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(stop)
}
