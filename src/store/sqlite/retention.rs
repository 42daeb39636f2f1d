//! What is old enough goes, a bounded part at a time: whoever writes meanwhile waits for one part, not for all of it.

use rusqlite::{Connection, Row};

use super::rows::{all, first, run};
use crate::clock::Time;
use crate::store::Result;

/// Rows that one commit deletes.
const PART: usize = 4096;

/// Deletes a part of what is older than asked for; answers how many rows went. Call again until it answers 0.
pub fn retain(db: &Connection, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64> {
    let mut gone = 0;
    while gone < PART
        && let Some(incident) = over(db, incidents)?
    {
        gone += forget(db, incident, PART - gone)?;
    }
    for (sql, before) in [
        ("DELETE FROM event WHERE (source, id) IN (SELECT source, id FROM event WHERE at < ?1 LIMIT ?2)", events),
        (
            "DELETE FROM dead_record WHERE (topic, partition, offset) IN
               (SELECT topic, partition, offset FROM dead_record WHERE at < ?1 LIMIT ?2)",
            events,
        ),
        // The last row stays: the next one is numbered after it, and nobody who follows takes it for one that was before.
        (
            "DELETE FROM journal WHERE sequence IN
               (SELECT sequence FROM journal WHERE at < ?1 AND sequence < (SELECT max(sequence) FROM journal) LIMIT ?2)",
            journal,
        ),
        (
            "DELETE FROM receipt WHERE (channel, ref, status) IN
               (SELECT channel, ref, status FROM receipt WHERE at < ?1 LIMIT ?2)",
            receipts,
        ),
        (
            "DELETE FROM signal WHERE (component, origin) IN
               (SELECT component, origin FROM signal WHERE at < ?1 LIMIT ?2)",
            receipts,
        ),
        (
            "DELETE FROM subscriber_past WHERE NOT EXISTS (SELECT 1 FROM manifest WHERE open = 1) AND (id, version) IN
               (SELECT id, version FROM subscriber_past WHERE at < ?1 LIMIT ?2)",
            receipts,
        ),
    ] {
        if gone < PART {
            gone += run(db, sql, (before.0, (PART - gone) as i64))?;
        }
    }
    Ok(gone as u64)
}

/// An incident that was closed before then, and of which nobody is still to be told.
fn over(db: &Connection, before: Time) -> Result<Option<i64>> {
    first(
        db,
        "SELECT id FROM incident WHERE closed < ?1 AND NOT EXISTS
           (SELECT 1 FROM broadcast b WHERE b.incident = incident.id AND b.state < 3) LIMIT 1",
        [before.0],
        |row| row.get(0),
    )
}

/// Deletes up to `room` rows of an incident, and itself when nothing else of it is left.
fn forget(db: &Connection, incident: i64, room: usize) -> Result<usize> {
    let mut gone = 0;
    while let Some(broadcast) =
        first(db, "SELECT id FROM broadcast WHERE incident = ?1 LIMIT 1", [incident], |row| row.get::<_, i64>(0))?
    {
        gone += empty(db, broadcast, room - gone)?;
        if gone >= room {
            return Ok(gone);
        }
        gone += run(db, "DELETE FROM broadcast WHERE id = ?1", [broadcast])?;
    }
    for sql in [
        "DELETE FROM event WHERE (source, id) IN (SELECT source, id FROM event WHERE incident = ?1 LIMIT ?2)",
        "DELETE FROM incident_update WHERE incident = ?1 AND number IN
           (SELECT number FROM incident_update WHERE incident = ?1 LIMIT ?2)",
        "DELETE FROM incident_alias WHERE name IN (SELECT name FROM incident_alias WHERE incident = ?1 LIMIT ?2)",
        "DELETE FROM thread WHERE incident = ?1 AND audience IN (SELECT audience FROM thread WHERE incident = ?1 LIMIT ?2)",
    ] {
        gone += run(db, sql, (incident, room.saturating_sub(gone) as i64))?;
    }
    if gone < room {
        gone += run(db, "DELETE FROM incident WHERE id = ?1", [incident])?;
    }
    Ok(gone)
}

/// Deletes up to `room` rows of a broadcast; less than that means that nothing of it is left.
fn empty(db: &Connection, broadcast: i64, room: usize) -> Result<usize> {
    let mut gone = 0;
    let referring = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?));
    for sql in [
        "DELETE FROM delivery WHERE broadcast = ?1 AND (subscriber, place) IN
           (SELECT subscriber, place FROM delivery WHERE broadcast = ?1 LIMIT ?2) RETURNING channel, ref",
        "DELETE FROM attempt WHERE broadcast = ?1 AND (subscriber, place, began, node) IN
           (SELECT subscriber, place, began, node FROM attempt WHERE broadcast = ?1 LIMIT ?2) RETURNING channel, ref",
    ] {
        let rows = all(db, sql, (broadcast, room.saturating_sub(gone) as i64), referring)?;
        for (channel, reference) in &rows {
            if let Some(reference) = reference {
                run(db, "DELETE FROM reference WHERE channel = ?1 AND ref = ?2", (channel, reference))?;
            }
        }
        gone += rows.len();
    }
    for sql in [
        "DELETE FROM manifest WHERE broadcast = ?1 AND (shard, number) IN
           (SELECT shard, number FROM manifest WHERE broadcast = ?1 LIMIT ?2)",
        "DELETE FROM progress WHERE broadcast = ?1 AND shard IN
           (SELECT shard FROM progress WHERE broadcast = ?1 LIMIT ?2)",
    ] {
        gone += run(db, sql, (broadcast, room.saturating_sub(gone) as i64))?;
    }
    let unworded = all(
        db,
        "DELETE FROM wording WHERE broadcast = ?1 AND (locale, zone, format, markup) IN
           (SELECT locale, zone, format, markup FROM wording WHERE broadcast = ?1 LIMIT ?2) RETURNING digest",
        (broadcast, room.saturating_sub(gone) as i64),
        |row| row.get::<_, Vec<u8>>(0),
    )?;
    for digest in &unworded {
        let sql = "DELETE FROM message WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM wording WHERE digest = ?1)";
        run(db, sql, [digest])?;
    }
    Ok(gone + unworded.len())
}
