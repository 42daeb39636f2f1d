//! What people and programs look at: lists by key, newest first, a page at a time. Reads only.

use rusqlite::Connection;

use super::delivery::attempts;
use super::rows::{all, first, word};
use super::{broadcast, ingest};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use crate::incident::Incident;
use crate::store::{
    AttemptRow, Broadcast, BroadcastFilter, BroadcastState, Counts, DeliveryFilter, DeliveryRow, DeliveryState, Result,
    WordingKey,
};

pub fn incidents(db: &Connection, before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>> {
    let before = before.map_or(i64::MAX, |id| id.0);
    all(
        db,
        &format!("{} WHERE i.id < ?1 AND (i.closed IS NULL OR NOT ?2) ORDER BY i.id DESC LIMIT ?3", ingest::INCIDENT),
        (before, open, limit as i64),
        ingest::read_incident,
    )
}

pub fn broadcasts(db: &Connection, filter: &BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>> {
    let before = filter.before.map_or(i64::MAX, |id| id.0);
    let incident = filter.incident.map(|id| id.0);
    let state = filter.state.map(BroadcastState::number);
    let found = all(
        db,
        &format!(
            "{} WHERE b.id < ?1 AND (?2 IS NULL OR b.incident = ?2) AND (?3 IS NULL OR b.state = ?3) ORDER BY b.id DESC LIMIT ?4",
            broadcast::BROADCAST
        ),
        (before, incident, state, limit as i64),
        broadcast::read,
    )?;
    found
        .into_iter()
        .map(|broadcast| {
            let counts = counts(db, broadcast.id)?;
            Ok((broadcast, counts))
        })
        .collect()
}

pub fn counts(db: &Connection, id: BroadcastId) -> Result<Counts> {
    let found = first(
        db,
        "SELECT coalesce(sum(selected), 0), coalesce(sum(told), 0), coalesce(sum(unknown), 0), coalesce(sum(unreachable), 0),
           coalesce(sum(skipped), 0), coalesce(sum(superseded), 0), coalesce(sum(cancelled), 0), coalesce(sum(expired), 0)
         FROM progress WHERE broadcast = ?1",
        [id.0],
        |row| {
            Ok(Counts {
                selected: row.get(0)?,
                told: row.get(1)?,
                unknown: row.get(2)?,
                unreachable: row.get(3)?,
                skipped: row.get(4)?,
                superseded: row.get(5)?,
                cancelled: row.get(6)?,
                expired: row.get(7)?,
            })
        },
    )?;
    Ok(found.unwrap_or_default())
}

/// Members of the audience whom no page has read yet.
pub fn unread(db: &Connection, broadcast: &Broadcast) -> Result<i64> {
    let mut unread = 0;
    for shard in (0..64u8).filter(|shard| broadcast.shards & 1 << shard != 0) {
        let from = i64::from(shard) << 48;
        let after = broadcast.progress.get(&shard).map_or(0, |cursor| cursor.after).max(from - 1);
        let count = first(
            db,
            "SELECT count(*) FROM member WHERE audience = (SELECT id FROM audience WHERE name = ?1)
               AND subscriber > ?2 AND subscriber <= ?3 AND since <= ?4",
            (&broadcast.audience, after, from | ((1 << 48) - 1), broadcast.released.unwrap_or(broadcast.created).0),
            |row| row.get::<_, i64>(0),
        )?;
        unread += count.unwrap_or(0);
    }
    Ok(unread)
}

const DELIVERY: &str =
    "SELECT d.broadcast, d.subscriber, d.place, d.state, d.channel, d.began, d.ended, d.tries, d.detail, d.ref,
  d.receipt, d.lane, d.due, b.state FROM delivery d JOIN broadcast b ON b.id = d.broadcast";

fn read_delivery(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let own = DeliveryState::from_number(row.get(3)?);
    let ended = BroadcastState::from_number(row.get(13)?);
    let state = own.in_broadcast(ended, row.get::<_, Option<String>>(10)?.as_deref());
    Ok(DeliveryRow {
        id: DeliveryId {
            broadcast: BroadcastId(row.get(0)?),
            subscriber: SubscriberId(row.get(1)?),
            place: row.get(2)?,
        },
        state,
        channel: ChannelId(row.get(4)?),
        began: Time(row.get(5)?),
        ended: Time(row.get(6)?),
        tries: row.get(7)?,
        detail: row.get(8)?,
        reference: row.get(9)?,
        receipt: row.get(10)?,
        lane: ChannelId(row.get(11)?),
        due: Time(row.get(12)?),
    })
}

/// By broadcast in the order of recipients; by subscriber alone, the newest broadcasts first.
pub fn deliveries(db: &Connection, filter: &DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>> {
    let state = filter.state.map(|state| state as i64);
    let after =
        filter.after.unwrap_or(DeliveryId { broadcast: BroadcastId(i64::MAX), subscriber: SubscriberId(-1), place: 0 });
    match (filter.broadcast, filter.subscriber) {
        (Some(broadcast), who) => all(
            db,
            &format!(
                "{DELIVERY} WHERE d.broadcast = ?1 AND (d.subscriber, d.place) > (?2, ?3) AND (?4 IS NULL OR d.state = ?4)
                   AND d.subscriber BETWEEN ?5 AND ?6 ORDER BY d.subscriber, d.place LIMIT ?7"
            ),
            (
                broadcast.0,
                after.subscriber.0,
                after.place,
                state,
                who.map_or(0, |who| who.0),
                who.map_or(i64::MAX, |who| who.0),
                limit as i64,
            ),
            read_delivery,
        ),
        (None, Some(who)) => all(
            db,
            &format!(
                "{DELIVERY} WHERE d.subscriber = ?1 AND (b.id < ?2 OR b.id = ?2 AND d.place > ?3) AND (?4 IS NULL OR d.state = ?4)
                 ORDER BY b.id DESC, d.place LIMIT ?5"
            ),
            (who.0, after.broadcast.0, after.place, state, limit as i64),
            read_delivery,
        ),
        (None, None) => Ok(Vec::new()),
    }
}

pub fn delivery(db: &Connection, id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>> {
    let found = first(
        db,
        &format!("{DELIVERY} WHERE d.broadcast = ?1 AND d.subscriber = ?2 AND d.place = ?3"),
        (id.broadcast.0, id.subscriber.0, id.place),
        read_delivery,
    )?;
    let Some(row) = found else { return Ok(None) };
    let attempts = attempts(db, id.broadcast, id.subscriber)?;
    Ok(Some((row, attempts.into_iter().filter(|attempt| attempt.place == id.place).collect())))
}

pub fn wordings(db: &Connection, broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>> {
    all(
        db,
        "SELECT w.locale, w.zone, w.format, w.markup, m.bytes FROM wording w JOIN message m ON m.digest = w.digest
         WHERE w.broadcast = ?1 ORDER BY w.format, w.locale, w.zone, w.markup LIMIT 500",
        [broadcast.0],
        |row| {
            let key =
                WordingKey { locale: row.get(0)?, zone: row.get(1)?, format: word(row, 2)?, markup: word(row, 3)? };
            Ok((key, row.get(4)?))
        },
    )
}

/// Since when the oldest open row of this urgency has been due.
pub fn oldest_due(db: &Connection, priority: u8) -> Result<Option<Time>> {
    // Lane after lane, by the index: however many wait.
    let oldest = first(
        db,
        "WITH RECURSIVE lanes (lane) AS (
           SELECT min(lane) FROM delivery WHERE state = 0
           UNION ALL SELECT (SELECT min(d.lane) FROM delivery d WHERE d.state = 0 AND d.lane > lanes.lane) FROM lanes
           WHERE lanes.lane IS NOT NULL)
         SELECT min((SELECT min(d.due) FROM delivery d WHERE d.state = 0 AND d.lane = lanes.lane AND d.priority = ?1))
         FROM lanes WHERE lanes.lane IS NOT NULL",
        [priority],
        |row| row.get::<_, Option<i64>>(0),
    )?;
    Ok(oldest.flatten().map(Time))
}

/// The last row of the journal.
pub fn journal_end(db: &Connection) -> Result<i64> {
    Ok(first(db, "SELECT coalesce(max(sequence), 0) FROM journal", [], |row| row.get(0))?.unwrap_or(0))
}
