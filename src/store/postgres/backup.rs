//! A backup: every table, as all were at one moment, into a file of SQLite's schema, while nodes go on.

use std::path::Path;

use tokio::sync::mpsc;

use super::Postgres;
use super::carry::{Reading, counters, unhurried};
use super::connection::Db;
use super::transaction::Tries;
use crate::store::beside::Beside;
use crate::store::carried::{Counters, Doing, Page, Step, Summed, TABLES, Table, Watch, same};
use crate::store::sqlite::carry::Filling;
use crate::store::{Result, StoreError};

/// Pages that have been read and are not written yet.
const AHEAD: usize = 4;

enum Part {
    Rows(&'static Table, Page),
    End(Counters),
}

pub async fn backup(store: &Postgres, to: &Path, watch: Watch) -> Result<Vec<Summed>> {
    let beside = Beside::of(to)?;
    let mut db = store.reading(&mut Tries::new()).await?;
    db.begin_snapshot().await?;
    let (parts, taken) = mpsc::channel(AHEAD);
    let (file, watching) = (beside.path().to_path_buf(), watch.clone());
    let filling = tokio::task::spawn_blocking(move || fill(&file, taken, &watching));
    let was_read = rows(&db, parts, &watch).await;
    let written = filling.await.map_err(|_| StoreError::Failed("the backup panicked".into()))?;
    db.roll_back().await;
    // Where the file could not be written, reading ended by that.
    let (there, copied) = match (was_read, written) {
        (Ok(there), Ok(copied)) => (there, copied),
        (Err(_), Err(Cut::Failed(error))) | (Ok(_), Err(Cut::Failed(error))) | (Err(error), _) => return Err(error),
        (Ok(_), Err(Cut::Off)) => return Err(StoreError::Failed("the backup was cut off".into())),
    };
    same(&there, &copied)?;
    beside.put_new()?;
    Ok(copied)
}

/// All that is there, in the order of keys, by which a file is filled from one end to the other.
async fn rows(db: &Db, parts: mpsc::Sender<Part>, watch: &Watch) -> Result<Vec<Summed>> {
    let closed = |_| StoreError::Failed("the file is not written any more".into());
    // Before the first look, which is at the moment that all others are at: from here on no table goes away.
    let tables: Vec<String> = TABLES.iter().map(|table| format!("\"{}\"", table.name)).collect();
    db.batch(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", "))).await?;
    unhurried(db).await?;
    let mut sums = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let mut reading = Reading::begin(db, table, true).await?;
        while let Some(page) = reading.page().await? {
            parts.send(Part::Rows(table, page)).await.map_err(closed)?;
            watch(Step { doing: Doing::Copies, table: table.name, rows: reading.sum.rows });
        }
        sums.push(reading.sum.of(table));
    }
    parts.send(Part::End(counters(db).await?)).await.map_err(closed)?;
    Ok(sums)
}

/// Why a file was not written.
enum Cut {
    /// No end came.
    Off,
    Failed(StoreError),
}

impl From<StoreError> for Cut {
    fn from(error: StoreError) -> Cut {
        Cut::Failed(error)
    }
}

fn fill(file: &Path, mut parts: mpsc::Receiver<Part>, watch: &Watch) -> std::result::Result<Vec<Summed>, Cut> {
    let filling = Filling::begin(file)?;
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Rows(table, page) => filling.rows(table, &page)?,
            Part::End(counters) => return Ok(filling.end(&counters, watch)?),
        }
    }
    Err(Cut::Off)
}
