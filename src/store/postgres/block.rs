//! Blocks of broadcasts: the partitions of what grows with recipients. A block is made with the first broadcast that falls into it,
//! and dropped when all of its broadcasts go. Few enough that looking through all of them is quick, small enough that one goes soon.

use super::connection::Db;
use super::lock;
use super::rows::{all, exists};
use super::value::values;
use crate::id::BroadcastId;
use crate::store::Result;

/// Broadcasts of one block.
const SIZE: i64 = 256;
const TABLES: [&str; 3] = ["manifest", "delivery", "attempt"];

/// Makes the block of a broadcast, if it is not there. A table is made and attached, which keeps nobody from reading or writing the
/// others; made as a partition it would.
pub async fn make(db: &Db, id: BroadcastId) -> Result<()> {
    let block = id.0 / SIZE;
    if made(db, block).await? {
        return Ok(());
    }
    lock::blocks(db).await?;
    if made(db, block).await? {
        return Ok(());
    }
    let (from, to) = (block * SIZE, (block + 1) * SIZE);
    for table in TABLES {
        let sql = format!(
            "CREATE TABLE {table}_{block} (LIKE {table} INCLUDING ALL);
             ALTER TABLE {table} ATTACH PARTITION {table}_{block} FOR VALUES FROM ({from}) TO ({to});"
        );
        db.batch(&sql).await?;
    }
    Ok(())
}

async fn made(db: &Db, block: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM pg_class WHERE oid = to_regclass($1::text)";
    exists(db, sql, values![format!("{}_{block}", TABLES[2])]).await
}

/// Blocks that may go whole: full for a while, and every broadcast that is left in them is of an incident that ended before then and has nobody
/// left to tell.
pub async fn over(db: &Db, before: i64) -> Result<Vec<i64>> {
    let sql = "SELECT block FROM (
           SELECT substring(relname FROM '[0-9]+$')::bigint AS block FROM pg_class
           JOIN pg_inherits ON inhrelid = pg_class.oid WHERE inhparent = 'attempt'::regclass) AS made
         WHERE (block + 2) * $2 <= (SELECT last_value FROM broadcast_id) AND NOT EXISTS (
           SELECT 1 FROM broadcast b JOIN incident i ON i.id = b.incident
           WHERE b.id >= block * $2 AND b.id < (block + 1) * $2 AND (coalesce(i.closed >= $1, true) OR EXISTS (
             SELECT 1 FROM broadcast live WHERE live.incident = i.id AND live.state < 3)))
         ORDER BY block";
    all(db, sql, values![before, SIZE], |row| row.get(0)).await
}

/// Drops a block. For a moment nobody may look at the other blocks either: where others are in the way it waits for the next time.
pub async fn drop_block(db: &Db, block: i64) -> Result<()> {
    lock::blocks(db).await?;
    let tables = TABLES.map(|table| format!("{table}_{block}")).join(", ");
    db.batch(&format!("SET LOCAL lock_timeout = '500ms'; DROP TABLE IF EXISTS {tables}")).await
}

/// Whether the block of a broadcast is still there; where it is not, nothing of its recipients is.
pub async fn is_there(db: &Db, id: BroadcastId) -> Result<bool> {
    made(db, id.0 / SIZE).await
}
