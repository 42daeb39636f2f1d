//! What keeps writers from each other's way. SQLite has one writer; here each transaction takes the locks of what it is about, and
//! statements after that see all that others committed before (READ COMMITTED). Locks are taken in this order, so that no two
//! wait for each other: an incident, unmatched receipts, the recipients of a broadcast, subscribers. Where two do all the same, the server ends one
//! of them, and it is done again.

use ring::digest::{SHA256, digest};

use super::connection::Db;
use super::rows::{first, run};
use super::value::values;
use crate::id::{BroadcastId, IncidentId};
use crate::store::Result;

/// Of all advisory locks of two numbers, ours have this one first: "loud".
const OURS: i32 = 0x6c6f_7564;
/// Of whoever changes the schema.
const SCHEMA: i32 = 2;
const SUBSCRIBERS: i32 = 3;
const BLOCKS: i32 = 4;
const RECEIPTS: i32 = 5;

/// An incident, by the key that events name it by: it may not be there yet, so there is no row to lock.
pub async fn incident_key(db: &Db, key: &str) -> Result<()> {
    name(db, key).await
}

/// What others say of a component.
pub async fn component(db: &Db, component: &str) -> Result<()> {
    name(db, &format!("component {component}")).await
}

/// A limit of several nodes.
pub async fn limit(db: &Db, limit: &str) -> Result<()> {
    name(db, &format!("limit {limit}")).await
}

async fn name(db: &Db, name: &str) -> Result<()> {
    let hash = digest(&SHA256, name.as_bytes());
    let hash = hash.as_ref().iter().take(8).fold(0u64, |hash, byte| hash << 8 | u64::from(*byte));
    // Below zero; recipients are above.
    let number = !((hash >> 1) as i64);
    run(db, "SELECT pg_advisory_xact_lock($1::bigint)", values![number]).await.map(drop)
}

/// An incident with its broadcasts and threads: whoever changes the state of one decides by the states of all.
pub async fn incident(db: &Db, id: IncidentId) -> Result<()> {
    run(db, "SELECT 1 FROM incident WHERE id = $1 FOR UPDATE", values![id.0]).await.map(drop)
}

/// The incident of a broadcast; answers it.
pub async fn incident_of(db: &Db, id: BroadcastId) -> Result<Option<IncidentId>> {
    let sql = "SELECT id FROM incident WHERE id = (SELECT incident FROM broadcast WHERE id = $1) FOR UPDATE";
    first(db, sql, values![id.0], |row| row.get(0).map(IncidentId)).await
}

/// The recipients of broadcasts, shard by shard: how somebody ends is decided by all rows that they have in a broadcast, and the
/// counters by how they stood before. Outcomes, receipts, replays and lapses of different shards do not wait for each other.
pub async fn recipients(db: &Db, of: impl IntoIterator<Item = (BroadcastId, u8)>) -> Result<()> {
    let mut numbers: Vec<i64> = of.into_iter().map(|(broadcast, shard)| broadcast.0 << 6 | i64::from(shard)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    run(db, "SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS number", values![numbers])
        .await
        .map(drop)
}

/// All who write subscribers take turns: whose an address or a key is, is decided by reading before writing.
pub async fn subscribers(db: &Db) -> Result<()> {
    run(db, "SELECT pg_advisory_xact_lock($1::int, $2::int)", values![OURS, SUBSCRIBERS]).await.map(drop)
}

/// Nobody else opens the store until the end of the transaction.
pub async fn schema(db: &Db) -> Result<()> {
    run(db, "SELECT pg_advisory_xact_lock($1::int, $2::int)", values![OURS, SCHEMA]).await.map(drop)
}

pub async fn blocks(db: &Db) -> Result<()> {
    run(db, "SELECT pg_advisory_xact_lock($1::int, $2::int)", values![OURS, BLOCKS]).await.map(drop)
}

/// Receipts that match nothing yet. Held by whoever keeps one of them, after all outcomes that may match it are committed.
pub async fn receipts(db: &Db) -> Result<()> {
    run(db, "SELECT pg_advisory_xact_lock($1::int, $2::int)", values![OURS, RECEIPTS]).await.map(drop)
}

/// Held by whoever writes outcomes that receipts may match. It comes before recipients.
pub async fn no_receipts(db: &Db) -> Result<()> {
    run(db, "SELECT pg_advisory_xact_lock_shared($1::int, $2::int)", values![OURS, RECEIPTS]).await.map(drop)
}
