//! What is old enough goes, a bounded part at a time: whoever writes meanwhile waits for one part, not for all of it. Where all
//! broadcasts of a block go, its partitions are dropped, however many rows they have.

use super::connection::Db;
use super::rows::{all, first, run};
use super::value::{Row, values};
use super::{block, grant, lock};
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::store::Result;

/// Rows that one commit deletes.
const PART: usize = 4096;

/// The block that may be dropped next.
pub async fn block_over(db: &Db, before: Time) -> Result<Option<i64>> {
    Ok(block::over(db, before.0).await?.into_iter().next())
}

/// Deletes a part of what is older than asked for; answers how many rows went. Call again until it answers 0.
pub async fn retain(db: &Db, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64> {
    let mut gone = 0;
    while gone < PART
        && let Some(incident) = over(db, incidents).await?
    {
        lock::incident(db, IncidentId(incident)).await?;
        gone += forget(db, incident, PART - gone).await?;
    }
    for (sql, before) in [
        ("DELETE FROM event WHERE (source, id) IN (SELECT source, id FROM event WHERE at < $1 LIMIT $2)", events),
        (
            "DELETE FROM dead_record WHERE (topic, partition, \"offset\") IN
               (SELECT topic, partition, \"offset\" FROM dead_record WHERE at < $1 LIMIT $2)",
            events,
        ),
        // The last row stays: it says where the journal ends.
        (
            "DELETE FROM journal WHERE sequence IN
               (SELECT sequence FROM journal WHERE at < $1 AND sequence < (SELECT max(sequence) FROM journal) LIMIT $2)",
            journal,
        ),
        (
            "DELETE FROM receipt WHERE (channel, ref, status) IN
               (SELECT channel, ref, status FROM receipt WHERE at < $1 LIMIT $2)",
            receipts,
        ),
        (
            "DELETE FROM signal WHERE (component, origin) IN
               (SELECT component, origin FROM signal WHERE at < $1 LIMIT $2)",
            receipts,
        ),
        (
            "DELETE FROM subscriber_past WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE open) AND (id, version) IN
               (SELECT id, version FROM subscriber_past WHERE at < $1 LIMIT $2)",
            receipts,
        ),
    ] {
        if gone < PART {
            gone += run(db, sql, values![before.0, (PART - gone) as i64]).await?;
        }
    }
    if gone < PART {
        gone += grant::forget(db, PART - gone).await?;
    }
    Ok(gone as u64)
}

/// An incident that was closed before then, and of which nobody is still to be told.
async fn over(db: &Db, before: Time) -> Result<Option<i64>> {
    let sql = "SELECT id FROM incident WHERE closed < $1 AND NOT EXISTS
           (SELECT 1 FROM broadcast b WHERE b.incident = incident.id AND b.state < 3) LIMIT 1";
    first(db, sql, values![before.0], |row| row.get(0)).await
}

/// Deletes up to `room` rows of an incident, and itself when nothing else of it is left.
async fn forget(db: &Db, incident: i64, room: usize) -> Result<usize> {
    let mut gone = 0;
    let sql = "SELECT id FROM broadcast WHERE incident = $1 LIMIT 1";
    while let Some(broadcast) = first(db, sql, values![incident], |row| row.get::<i64>(0)).await? {
        gone += empty(db, broadcast, room - gone).await?;
        if gone >= room {
            return Ok(gone);
        }
        gone += run(db, "DELETE FROM broadcast WHERE id = $1", values![broadcast]).await?;
    }
    for sql in [
        "DELETE FROM event WHERE (source, id) IN (SELECT source, id FROM event WHERE incident = $1 LIMIT $2)",
        "DELETE FROM incident_update WHERE incident = $1 AND number IN
           (SELECT number FROM incident_update WHERE incident = $1 LIMIT $2)",
        "DELETE FROM incident_alias WHERE name IN (SELECT name FROM incident_alias WHERE incident = $1 LIMIT $2)",
        "DELETE FROM thread WHERE incident = $1 AND audience IN (SELECT audience FROM thread WHERE incident = $1 LIMIT $2)",
    ] {
        gone += run(db, sql, values![incident, room.saturating_sub(gone) as i64]).await?;
    }
    if gone < room {
        gone += run(db, "DELETE FROM incident WHERE id = $1", values![incident]).await?;
    }
    Ok(gone)
}

/// Deletes up to `room` rows of a broadcast; less than that means that nothing of it is left.
async fn empty(db: &Db, broadcast: i64, room: usize) -> Result<usize> {
    let mut gone = 0;
    let tables = match block::is_there(db, BroadcastId(broadcast)).await? {
        true => &[
            "DELETE FROM delivery WHERE broadcast = $1 AND (subscriber, place) IN
               (SELECT subscriber, place FROM delivery WHERE broadcast = $1 LIMIT $2)",
            "DELETE FROM attempt WHERE broadcast = $1 AND (subscriber, place, began, node) IN
               (SELECT subscriber, place, began, node FROM attempt WHERE broadcast = $1 LIMIT $2)",
            "DELETE FROM manifest WHERE broadcast = $1 AND (shard, number) IN
               (SELECT shard, number FROM manifest WHERE broadcast = $1 LIMIT $2)",
        ][..],
        false => &[],
    };
    for sql in tables.iter().chain(&[
        "DELETE FROM reference WHERE (channel, ref) IN (SELECT channel, ref FROM reference WHERE broadcast = $1 LIMIT $2)",
        "DELETE FROM progress WHERE broadcast = $1 AND shard IN
           (SELECT shard FROM progress WHERE broadcast = $1 LIMIT $2)",
    ]) {
        gone += run(db, sql, values![broadcast, room.saturating_sub(gone) as i64]).await?;
    }
    let unworded = all(
        db,
        "DELETE FROM wording WHERE broadcast = $1 AND (locale, zone, format, markup) IN
           (SELECT locale, zone, format, markup FROM wording WHERE broadcast = $1 LIMIT $2) RETURNING digest",
        values![broadcast, room.saturating_sub(gone) as i64],
        |row: &Row| row.get::<Vec<u8>>(0),
    )
    .await?;
    let count = unworded.len();
    let sql = "DELETE FROM message WHERE digest = ANY($1) AND NOT EXISTS (SELECT 1 FROM wording w WHERE w.digest = message.digest)";
    run(db, sql, values![unworded]).await?;
    Ok(gone + count)
}
