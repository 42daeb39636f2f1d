//! Whose a shard is, and under which epoch: all are the one process's that sends from the file. In simulation several nodes share
//! one store, and each owns some.

use rusqlite::Connection;

use super::rows::{all, first, run};
use crate::store::{Fact, Leases, Result, SHARDS};

/// Rows of shards that a node owns, of a table `delivery`; the node is the statement's first value.
pub const OWN: &str = "(SELECT node FROM shard WHERE id = subscriber >> 48) = ?1";
/// Whether such a row lies in the lane of an earlier owner, who may have sent it and not said so. In a store that nobody has sent from
/// since it was restored no shard is anybody's.
pub const PERHAPS: &str = "entered > 0 AND entered IS NOT (SELECT epoch FROM shard WHERE id = subscriber >> 48)";

pub fn take_all(db: &Connection, node: i64, epoch: i64) -> Result<()> {
    for shard in 0..SHARDS {
        let sql = "INSERT INTO shard VALUES (?1, ?2, ?3, 0) ON CONFLICT DO UPDATE SET node = excluded.node, epoch = excluded.epoch";
        run(db, sql, (shard, node, epoch))?;
    }
    Ok(())
}

pub fn epoch(db: &Connection, shard: u8) -> Result<Option<i64>> {
    first(db, "SELECT epoch FROM shard WHERE id = ?1", [shard], |row| row.get(0))
}

/// Whether some of these are about shards that another has by now.
pub fn any_lost(db: &Connection, leases: &Leases, facts: &[Fact]) -> Result<bool> {
    for shard in facts.iter().map(|fact| fact.delivery.subscriber.shard()) {
        if epoch(db, shard)? != leases.epoch(shard) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each with its node and its epoch.
pub fn all_of_them(db: &Connection) -> Result<Vec<(u8, i64, i64)>> {
    all(db, "SELECT id, node, epoch FROM shard ORDER BY id", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// Gives shards of these nodes to another, under another epoch or their own; answers those that were still theirs.
pub fn reassign(db: &Connection, shards: &[(u8, i64)], to: i64, epoch: Option<i64>) -> Result<Vec<u8>> {
    let mut given = Vec::new();
    for (shard, from) in shards {
        let sql = "UPDATE shard SET node = ?3, epoch = coalesce(?4, epoch) WHERE id = ?1 AND node = ?2";
        if run(db, sql, (shard, from, to, epoch))? == 1 {
            given.push(*shard);
        }
    }
    Ok(given)
}
