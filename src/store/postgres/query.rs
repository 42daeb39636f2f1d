//! What people and programs look at: lists by key, newest first, a page at a time. Reads only.

use super::attempt;
use super::connection::Db;
use super::delivery::delivery_id;
use super::rows::{all, first, word};
use super::value::{Row, values};
use super::{broadcast, ingest};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use crate::incident::Incident;
use crate::store::{
    AttemptRow, Broadcast, BroadcastFilter, BroadcastState, Counts, DeliveryFilter, DeliveryRow, DeliveryState, Result,
    WordingKey,
};

pub async fn incidents(db: &Db, before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>> {
    let before = before.map_or(i64::MAX, |id| id.0);
    let sql =
        format!("{} WHERE i.id < $1 AND (i.closed IS NULL OR NOT $2) ORDER BY i.id DESC LIMIT $3", ingest::INCIDENT);
    all(db, &sql, values![before, open, limit as i64], ingest::read_incident).await
}

pub async fn broadcasts(db: &Db, filter: &BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>> {
    let before = filter.before.map_or(i64::MAX, |id| id.0);
    let incident = filter.incident.map(|id| id.0);
    let state = filter.state.map(BroadcastState::number);
    let sql = format!(
        "{} WHERE b.id < $1 AND ($2::bigint IS NULL OR b.incident = $2) AND ($3::bigint IS NULL OR b.state = $3)
         ORDER BY b.id DESC LIMIT $4",
        broadcast::BROADCAST
    );
    let found = all(db, &sql, values![before, incident, state, limit as i64], broadcast::read).await?;
    let mut counted = Vec::with_capacity(found.len());
    for broadcast in found {
        let counts = counts(db, broadcast.id).await?;
        counted.push((broadcast, counts));
    }
    Ok(counted)
}

pub async fn counts(db: &Db, id: BroadcastId) -> Result<Counts> {
    let sums = ["selected", "told", "unknown", "unreachable", "skipped", "superseded", "cancelled", "expired"]
        .map(|column| format!("coalesce(sum({column}), 0)::bigint"));
    let sql = format!("SELECT {} FROM progress WHERE broadcast = $1", sums.join(", "));
    let found = first(db, &sql, values![id.0], |row| {
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
    });
    Ok(found.await?.unwrap_or_default())
}

/// Members of the audience whom no page has read yet.
pub async fn unread(db: &Db, broadcast: &Broadcast) -> Result<i64> {
    let (mut after, mut last) = (Vec::new(), Vec::new());
    for shard in (0..64u8).filter(|shard| broadcast.shards & 1 << shard != 0) {
        let from = i64::from(shard) << 48;
        after.push(broadcast.progress.get(&shard).map_or(0, |cursor| cursor.after).max(from - 1));
        last.push(from | ((1 << 48) - 1));
    }
    let sql = "SELECT coalesce(sum((SELECT count(*) FROM member
             WHERE audience = (SELECT id FROM audience WHERE name = $1) AND subscriber > shard.after
               AND subscriber <= shard.last AND since <= $4)), 0)::bigint
         FROM unnest($2::bigint[], $3::bigint[]) AS shard (after, last)";
    let released = broadcast.released.unwrap_or(broadcast.created).0;
    let unread = first(db, sql, values![&broadcast.audience, after, last, released], |row| row.get::<i64>(0)).await?;
    Ok(unread.unwrap_or(0))
}

const DELIVERY: &str =
    "SELECT d.broadcast, d.subscriber, d.place, d.state, d.channel, d.began, d.ended, d.tries, d.detail, d.ref,
  d.receipt, d.lane, d.due, b.state FROM delivery d JOIN broadcast b ON b.id = d.broadcast";

fn read_delivery(row: &Row) -> Result<DeliveryRow> {
    let own = DeliveryState::from_number(row.get(3)?);
    let ended = BroadcastState::from_number(row.get(13)?);
    let receipt: Option<String> = row.get(10)?;
    Ok(DeliveryRow {
        id: delivery_id(row)?,
        state: own.in_broadcast(ended, receipt.as_deref()),
        channel: ChannelId(row.get(4)?),
        began: Time(row.get(5)?),
        ended: Time(row.get(6)?),
        tries: row.get(7)?,
        detail: row.get(8)?,
        reference: row.get(9)?,
        receipt,
        lane: ChannelId(row.get(11)?),
        due: Time(row.get(12)?),
    })
}

/// By broadcast in the order of recipients; by subscriber alone, the newest broadcasts first.
pub async fn deliveries(db: &Db, filter: &DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>> {
    let state = filter.state.map(|state| state as i64);
    let after =
        filter.after.unwrap_or(DeliveryId { broadcast: BroadcastId(i64::MAX), subscriber: SubscriberId(-1), place: 0 });
    match (filter.broadcast, filter.subscriber) {
        (Some(broadcast), who) => {
            let sql = format!(
                "{DELIVERY} WHERE d.broadcast = $1 AND (d.subscriber, d.place) > ($2, $3)
                   AND ($4::bigint IS NULL OR d.state = $4) AND d.subscriber BETWEEN $5 AND $6
                 ORDER BY d.subscriber, d.place LIMIT $7"
            );
            let (from, to) = (who.map_or(0, |who| who.0), who.map_or(i64::MAX, |who| who.0));
            let values = values![broadcast.0, after.subscriber.0, after.place, state, from, to, limit as i64];
            all(db, &sql, values, read_delivery).await
        }
        (None, Some(who)) => {
            let sql = format!(
                "{DELIVERY} WHERE d.subscriber = $1 AND (b.id < $2 OR b.id = $2 AND d.place > $3)
                   AND ($4::bigint IS NULL OR d.state = $4)
                 ORDER BY b.id DESC, d.place LIMIT $5"
            );
            let values = values![who.0, after.broadcast.0, after.place, state, limit as i64];
            all(db, &sql, values, read_delivery).await
        }
        (None, None) => Ok(Vec::new()),
    }
}

pub async fn delivery(db: &Db, id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>> {
    let sql = format!("{DELIVERY} WHERE d.broadcast = $1 AND d.subscriber = $2 AND d.place = $3");
    let found = first(db, &sql, values![id.broadcast.0, id.subscriber.0, id.place], read_delivery).await?;
    let Some(row) = found else { return Ok(None) };
    let attempts = attempt::of(db, id.broadcast, id.subscriber).await?;
    Ok(Some((row, attempts.into_iter().filter(|attempt| attempt.place == id.place).collect())))
}

pub async fn wordings(db: &Db, broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>> {
    let sql =
        "SELECT w.locale, w.zone, w.format, w.markup, m.bytes FROM wording w JOIN message m ON m.digest = w.digest
         WHERE w.broadcast = $1 ORDER BY w.format, w.locale, w.zone, w.markup LIMIT 500";
    all(db, sql, values![broadcast.0], |row| {
        let key = WordingKey { locale: row.get(0)?, zone: row.get(1)?, format: word(row, 2)?, markup: word(row, 3)? };
        Ok((key, row.get(4)?))
    })
    .await
}

/// Since when the oldest open row of this urgency has been due. Lane after lane, by the index: however many wait.
pub async fn oldest_due(db: &Db, priority: u8) -> Result<Option<Time>> {
    let sql = "WITH RECURSIVE lanes (lane) AS (
           SELECT min(lane) FROM delivery WHERE state = 0
           UNION ALL SELECT (SELECT min(d.lane) FROM delivery d WHERE d.state = 0 AND d.lane > lanes.lane) FROM lanes
           WHERE lanes.lane IS NOT NULL)
         SELECT min((SELECT min(d.due) FROM delivery d WHERE d.state = 0 AND d.lane = lanes.lane AND d.priority = $1))
         FROM lanes WHERE lanes.lane IS NOT NULL";
    let oldest = first(db, sql, values![priority], |row| row.get::<Option<i64>>(0)).await?;
    Ok(oldest.flatten().map(Time))
}

/// The last row of the journal.
pub async fn journal_end(db: &Db) -> Result<i64> {
    let sql = "SELECT coalesce(max(sequence), 0) FROM journal";
    Ok(first(db, sql, values![], |row| row.get(0)).await?.unwrap_or(0))
}
