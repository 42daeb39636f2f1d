//! A backup put in place of what a database holds, in one transaction: it is all there, or as it was. While it lasts nobody else opens
//! the store, and nobody who had opened it before is there.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::carry::{count_on, fill, partitions, sums, unhurried};
use super::connection::{Db, NOW};
use super::rows::{all, exists, first};
use super::transaction::Tries;
use super::value::values;
use super::{Postgres, Server, block, lock};
use crate::id::BroadcastId;
use crate::store::carried::{Doing, Step, Summed, TABLES, Table, Watch, same};
use crate::store::sqlite::backup::Current;
use crate::store::sqlite::carry;
use crate::store::{Broadcast, Result, Store, StoreError};

/// Pages that have been read and are not written yet.
const AHEAD: usize = 4;
/// How long a process that has just ended may still seem to be connected.
const LEAVES: Duration = Duration::from_secs(2);
/// What a store has as soon as it is opened, or when a server has run on it that was never told anything.
const OF_ITSELF: [&str; 3] = ["meta", "channel", "frozen"];

/// A database that is ours alone until this is dropped.
pub struct Restoring {
    store: Postgres,
    db: Db,
    /// Nothing would be lost.
    pub empty: bool,
}

/// What was put there.
pub struct Restored {
    pub tables: Vec<Summed>,
    /// Texts with zero bytes, or with what is no UTF-8, that have U+FFFD in its place now.
    pub mended: u64,
    /// What goes on with the next start.
    pub live: Vec<Broadcast>,
}

impl Restoring {
    /// A database without tables gets them; one that is not ours is refused, and so is one that somebody uses.
    pub async fn begin(server: &Server) -> Result<Restoring> {
        let store = Postgres::open(server, 1, 1, None).await?;
        let mut db = store.reading(&mut Tries::new()).await?;
        db.begin(None).await?;
        unhurried(&db).await?;
        lock::schema(&db).await?;
        nobody(&db).await?;
        let mut empty = true;
        for table in TABLES.iter().filter(|table| !OF_ITSELF.contains(&table.name)) {
            empty &= !exists(&db, &format!("SELECT 1 FROM \"{}\" LIMIT 1", table.name), values![]).await?;
        }
        Ok(Restoring { store, db, empty })
    }

    /// Ends as it began, but for the tables that were made.
    pub async fn give_up(mut self) -> Result<()> {
        self.db.roll_back().await;
        drop(self.db);
        self.store.close().await
    }

    pub async fn put(mut self, backup: &Path, watch: Watch) -> Result<Restored> {
        let db = &self.db;
        let path = backup.to_path_buf();
        let opened = tokio::task::spawn_blocking(move || {
            let current = Current::of(&path)?;
            let (blocks, counters) = (carry::broadcasts(&current.open()?)?, carry::counters(&current.open()?)?);
            Ok::<_, StoreError>((current, blocks, counters))
        });
        let (current, broadcasts, counters) = opened.await.map_err(|_| panicked())??;
        empty(db).await?;
        for id in broadcasts {
            block::make(db, BroadcastId(id)).await?;
        }
        // Rows come in the order of keys, so that indexes cost little as they are filled (docs/PERFORMANCE.md).
        let (mut there, mut mended) = (Vec::with_capacity(TABLES.len()), 0);
        for table in TABLES {
            let source = current.open()?;
            let (pages, taken) = mpsc::channel(AHEAD);
            let reading = tokio::task::spawn_blocking(move || {
                let closed = |_| StoreError::Failed("the table is not written any more".into());
                carry::read(&source, table, |page, _| pages.blocking_send(page).map_err(closed))
            });
            // Where the file does not read, that is why no more rows came; what was written of them goes with the transaction.
            let written = fill(db, table, taken, &watch).await;
            let read = reading.await.map_err(|_| panicked())?;
            let read = match (read, written) {
                (Ok(read), Ok(())) => read,
                (Ok(_), Err(error)) => return Err(error),
                (Err(_), Err(error)) if db.trouble() != super::connection::Trouble::None => return Err(error),
                (Err(error), _) => return Err(StoreError::Failed(format!("{}: {error}", backup.display()))),
            };
            there.push(read.sum.of(table));
            mended += read.mended;
        }
        count_on(db, &counters).await?;
        db.batch("UPDATE journal_end SET sequence = greatest(sequence, (SELECT max(sequence) FROM journal))").await?;
        for (rows, Table { name: table, .. }) in (1..).zip(TABLES) {
            watch(Step { doing: Doing::Indexes, table, rows });
            db.batch(&format!("ANALYZE \"{table}\"")).await?;
        }
        let tables = sums(db, &watch).await?;
        same(&there, &tables)?;
        self.db.commit().await?;
        drop(self.db);
        let live = self.store.live().await?;
        self.store.close().await?;
        Ok(Restored { tables, mended, live })
    }
}

fn panicked() -> StoreError {
    StoreError::Failed("reading the backup panicked".into())
}

/// Refused while a node may be alive, or anybody of ours is connected: what they have in memory is of the store that is replaced.
async fn nobody(db: &Db) -> Result<()> {
    let sql = format!("SELECT id, until - {NOW} FROM node WHERE until > {NOW} ORDER BY id");
    let alive = all(db, &sql, values![], |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))).await?;
    if !alive.is_empty() {
        let names: Vec<String> = alive.iter().map(|(id, _)| id.to_string()).collect();
        let longest = alive.iter().map(|(_, lasts)| lasts.div_euclid(1000) + 1).max().unwrap_or(1);
        return Err(StoreError::Failed(format!(
            "nodes send from this database: {}; stop them first (the lease of one that is dead ends within {longest} s)",
            names.join(", ")
        )));
    }
    let since = Instant::now();
    let sql = "SELECT format('process %s of %s', pid, coalesce(host(client_addr), 'this machine')) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'loudhailer' AND pid <> pg_backend_pid() ORDER BY pid LIMIT 1";
    while let Some(who) = first(db, sql, values![], |row| row.get::<String>(0)).await? {
        if since.elapsed() > LEAVES {
            return Err(StoreError::Failed(format!(
                "another loudhailer is connected to this database ({who}, as PostgreSQL calls it); stop it first"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        db.batch("SELECT pg_stat_clear_snapshot()").await?;
    }
    Ok(())
}

/// As after the first start, but that numbers go on.
async fn empty(db: &Db) -> Result<()> {
    for partition in partitions(db).await? {
        db.batch(&format!("DROP TABLE \"{partition}\"")).await?;
    }
    let tables: Vec<String> = TABLES.iter().map(|table| format!("\"{}\"", table.name)).collect();
    db.batch(&format!("TRUNCATE {}, pace, node", tables.join(", "))).await?;
    db.batch("UPDATE shard SET node = 0, epoch = 0").await
}
