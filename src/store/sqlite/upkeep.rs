//! Keys, words, channels, breakers.

use rusqlite::Connection;

use super::rows::{all, first, parsed, run};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::BroadcastId;
use crate::ingest::DeadRecord;
use crate::store::{BreakerRow, Frozen, JournalRow, Reserved, Result, Wording, WordingKey};

pub fn freeze(db: &Connection, frozen: &Frozen) -> Result<()> {
    run(db, "INSERT OR IGNORE INTO frozen VALUES (?1, ?2, ?3)", (&frozen.digest[..], frozen.kind, &frozen.bytes))
        .map(drop)
}

pub fn frozen(db: &Connection, digest: &[u8; 32]) -> Result<Option<Vec<u8>>> {
    first(db, "SELECT bytes FROM frozen WHERE digest = ?1", [&digest[..]], |row| row.get(0))
}

pub fn dead(db: &Connection, record: &DeadRecord, now: Time) -> Result<()> {
    run(
        db,
        "INSERT OR IGNORE INTO dead_record VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        // A tombstone has no body, and is kept all the same.
        (
            &record.topic,
            record.partition,
            record.offset,
            now.0,
            &record.reason,
            record.body.as_deref().unwrap_or_default(),
        ),
    )
    .map(drop)
}

pub fn wording(db: &Connection, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>> {
    first(
        db,
        "SELECT m.bytes FROM wording w JOIN message m ON m.digest = w.digest
         WHERE w.broadcast = ?1 AND w.locale = ?2 AND w.zone = ?3 AND w.format = ?4 AND w.markup = ?5",
        (broadcast.0, &key.locale, &key.zone, key.format.word(), key.markup.word()),
        |row| row.get(0),
    )
}

pub fn word(db: &Connection, wordings: &[Wording]) -> Result<()> {
    for Wording { broadcast, key, digest, bytes } in wordings {
        run(db, "INSERT OR IGNORE INTO message VALUES (?1, ?2)", (&digest[..], bytes))?;
        run(
            db,
            "INSERT OR IGNORE INTO wording VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (broadcast.0, &key.locale, &key.zone, key.format.word(), key.markup.word(), &digest[..]),
        )?;
    }
    Ok(())
}

/// The number of each channel, given once and kept, and whether it is paused.
pub fn channels(db: &Connection, names: &[String]) -> Result<Vec<(String, ChannelId, bool)>> {
    for name in names {
        run(
            db,
            "INSERT INTO channel (id, name) SELECT coalesce(max(id), 0) + 1, ?1 FROM channel WHERE true ON CONFLICT DO NOTHING",
            [name],
        )?;
    }
    let known = all(db, "SELECT name, id, paused FROM channel", [], |row| {
        Ok((row.get::<_, String>(0)?, ChannelId(row.get(1)?), row.get(2)?))
    })?;
    Ok(known.into_iter().filter(|(name, ..)| names.is_empty() || names.contains(name)).collect())
}

pub fn pause_channel(db: &Connection, channel: ChannelId, paused: bool) -> Result<()> {
    run(db, "UPDATE channel SET paused = ?2 WHERE id = ?1", (channel.0, paused)).map(drop)
}

pub fn breakers(db: &Connection) -> Result<Vec<BreakerRow>> {
    all(db, "SELECT channel, host, state, since, until FROM breaker", [], |row| {
        Ok(BreakerRow {
            channel: ChannelId(row.get(0)?),
            host: row.get(1)?,
            state: row.get(2)?,
            since: Time(row.get(3)?),
            until: Time(row.get(4)?),
        })
    })
}

pub fn set_breaker(db: &Connection, row: &BreakerRow) -> Result<()> {
    run(
        db,
        "INSERT OR REPLACE INTO breaker VALUES (?1, ?2, ?3, ?4, ?5)",
        (row.channel.0, &row.host, &row.state, row.since.0, row.until.0),
    )
    .map(drop)
}

/// Up to `count` more in this bucket, as far as `most` leaves room in it and `buckets` before it.
pub fn reserve(db: &Connection, name: &str, bucket: i64, buckets: i64, most: i64, count: i64) -> Result<Reserved> {
    let sql = "SELECT bucket, spent FROM permit WHERE name = ?1 AND bucket BETWEEN ?2 AND ?3 ORDER BY bucket";
    let spent =
        || all(db, sql, (name, bucket - buckets, bucket), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let known = spent()?;
    let count = count.min(most - known.iter().map(|(_, spent)| spent).sum::<i64>()).max(0);
    if count == 0 {
        return Ok(Reserved { bucket, count, spent: known, ahead: 0 });
    }
    run(
        db,
        "INSERT INTO permit VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET spent = spent + excluded.spent",
        (name, bucket, count),
    )?;
    Ok(Reserved { bucket, count, spent: spent()?, ahead: 0 })
}

pub fn meta(db: &Connection, name: &str) -> Result<Option<String>> {
    first(db, "SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
}

pub fn set_meta(db: &Connection, name: &str, value: &str) -> Result<()> {
    run(db, "INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [name, value]).map(drop)
}

pub fn swap_meta(db: &Connection, name: &str, was: Option<&str>, value: &str) -> Result<bool> {
    let same = meta(db, name)?.as_deref() == was;
    if same {
        set_meta(db, name, value)?;
    }
    Ok(same)
}

pub fn journal(db: &Connection, after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>> {
    all(
        db,
        "SELECT sequence, at, kind, body FROM journal WHERE sequence > ?1 AND (?3 OR kind <> 'outcomes')
         ORDER BY sequence LIMIT ?2",
        (after, limit as i64, outcomes),
        |row| Ok(JournalRow { sequence: row.get(0)?, at: Time(row.get(1)?), kind: row.get(2)?, body: parsed(row, 3)? }),
    )
}
