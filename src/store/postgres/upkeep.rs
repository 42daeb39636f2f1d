//! Keys, tokens, words, channels, breakers.

use std::collections::BTreeMap;

use super::connection::{CLOCK, Db};
use super::lock;
use super::rows::{all, first, parsed, run};
use super::value::values;
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::BroadcastId;
use crate::ingest::DeadRecord;
use crate::store::{BreakerRow, Frozen, JournalRow, Notice, Reserved, Result, Wording, WordingKey};

pub async fn freeze(db: &Db, frozen: &Frozen) -> Result<()> {
    let sql = "INSERT INTO frozen VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    run(db, sql, values![&frozen.digest[..], frozen.kind, &frozen.bytes]).await.map(drop)
}

pub async fn frozen(db: &Db, digest: &[u8; 32]) -> Result<Option<Vec<u8>>> {
    first(db, "SELECT bytes FROM frozen WHERE digest = $1", values![&digest[..]], |row| row.get(0)).await
}

pub async fn dead(db: &Db, record: &DeadRecord, now: Time) -> Result<()> {
    let sql = "INSERT INTO dead_record VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    // A tombstone has no body, and is kept all the same.
    let body = record.body.as_deref().unwrap_or_default();
    let values = values![&record.topic, record.partition, record.offset, now.0, &record.reason, body];
    run(db, sql, values).await.map(drop)
}

pub async fn wording(db: &Db, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT m.bytes FROM wording w JOIN message m ON m.digest = w.digest
         WHERE w.broadcast = $1 AND w.locale = $2 AND w.zone = $3 AND w.format = $4 AND w.markup = $5";
    let values = values![broadcast.0, &key.locale, &key.zone, key.format.word(), key.markup.word()];
    first(db, sql, values, |row| row.get(0)).await
}

/// In the order of digests, so that no two who write the same words wait for each other.
pub async fn word(db: &Db, wordings: &[Wording]) -> Result<()> {
    if wordings.is_empty() {
        return Ok(());
    }
    let messages: BTreeMap<&[u8; 32], &Vec<u8>> = wordings.iter().map(|word| (&word.digest, &word.bytes)).collect();
    run(
        db,
        "INSERT INTO message SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        values![
            messages.keys().map(|digest| digest.to_vec()).collect::<Vec<Vec<u8>>>(),
            messages.values().map(|bytes| bytes.to_vec()).collect::<Vec<Vec<u8>>>()
        ],
    )
    .await?;
    let texts = |of: &dyn Fn(&Wording) -> &str| -> Vec<String> { wordings.iter().map(|w| of(w).to_string()).collect() };
    run(
        db,
        "INSERT INTO wording SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
         ON CONFLICT DO NOTHING",
        values![
            wordings.iter().map(|wording| wording.broadcast.0).collect::<Vec<i64>>(),
            texts(&|wording| &wording.key.locale),
            texts(&|wording| &wording.key.zone),
            texts(&|wording| wording.key.format.word()),
            texts(&|wording| wording.key.markup.word()),
            wordings.iter().map(|wording| wording.digest.to_vec()).collect::<Vec<Vec<u8>>>()
        ],
    )
    .await
    .map(drop)
}

/// The number of each channel, given once and kept, and whether it is paused. Two that number one at once: the second finds the
/// number taken, and is done again.
pub async fn channels(db: &Db, names: &[String]) -> Result<Vec<(String, ChannelId, bool)>> {
    for name in names {
        let sql = "INSERT INTO channel (id, name) SELECT coalesce(max(id), 0) + 1, $1 FROM channel
             HAVING NOT EXISTS (SELECT 1 FROM channel WHERE name = $1)";
        run(db, sql, values![name]).await?;
    }
    let known = all(db, "SELECT name, id, paused FROM channel ORDER BY id", values![], |row| {
        Ok((row.get::<String>(0)?, ChannelId(row.get(1)?), row.get(2)?))
    });
    Ok(known.await?.into_iter().filter(|(name, ..)| names.is_empty() || names.contains(name)).collect())
}

pub async fn pause_channel(db: &Db, channel: ChannelId, paused: bool) -> Result<()> {
    db.notice(Notice::Channel(channel.0));
    run(db, "UPDATE channel SET paused = $2 WHERE id = $1", values![channel.0, paused]).await.map(drop)
}

pub async fn breakers(db: &Db) -> Result<Vec<BreakerRow>> {
    all(db, "SELECT channel, host, state, since, until FROM breaker ORDER BY channel, host", values![], |row| {
        Ok(BreakerRow {
            channel: ChannelId(row.get(0)?),
            host: row.get(1)?,
            state: row.get(2)?,
            since: Time(row.get(3)?),
            until: Time(row.get(4)?),
        })
    })
    .await
}

pub async fn set_breaker(db: &Db, row: &BreakerRow) -> Result<()> {
    db.notice(Notice::Channel(row.channel.0));
    let sql = "INSERT INTO breaker VALUES ($1, $2, $3, $4, $5) ON CONFLICT (channel, host)
         DO UPDATE SET state = excluded.state, since = excluded.since, until = excluded.until";
    run(db, sql, values![row.channel.0, &row.host, &row.state, row.since.0, row.until.0]).await.map(drop)
}

/// By the server's clock, which is the same for all nodes. `now` is what the asker's showed before it asked.
pub async fn reserve(
    db: &Db,
    name: &str,
    width: i64,
    buckets: i64,
    most: i64,
    count: i64,
    now: Time,
) -> Result<Reserved> {
    lock::limit(db, name).await?;
    let own = first(db, &format!("SELECT {CLOCK} / 1000"), values![], |row| row.get::<i64>(0)).await?.unwrap_or(now.0);
    let (bucket, ahead) = (own / width, own - now.0);
    let sql = "SELECT bucket, spent FROM permit WHERE name = $1 AND bucket BETWEEN $2 AND $3 ORDER BY bucket";
    let known = all(db, sql, values![name, bucket - buckets, bucket], |row| Ok((row.get(0)?, row.get::<i64>(1)?)));
    let mut spent: Vec<(i64, i64)> = known.await?;
    let count = count.min(most - spent.iter().map(|(_, spent)| spent).sum::<i64>()).max(0);
    if count > 0 {
        let sql = "INSERT INTO permit AS p VALUES ($1, $2, $3)
             ON CONFLICT (name, bucket) DO UPDATE SET spent = p.spent + excluded.spent";
        run(db, sql, values![name, bucket, count]).await?;
        match spent.last_mut().filter(|(last, _)| *last == bucket) {
            Some((_, spent)) => *spent += count,
            None => spent.push((bucket, count)),
        }
    }
    Ok(Reserved { bucket, count, spent, ahead })
}

pub async fn meta(db: &Db, name: &str) -> Result<Option<String>> {
    first(db, "SELECT value FROM meta WHERE name = $1", values![name], |row| row.get(0)).await
}

pub async fn set_meta(db: &Db, name: &str, value: &str) -> Result<()> {
    let sql = "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    run(db, sql, values![name, value]).await.map(drop)
}

/// Whoever comes second waits for the first, and finds what that wrote.
pub async fn swap_meta(db: &Db, name: &str, was: Option<&str>, value: &str) -> Result<bool> {
    let written = match was {
        Some(was) => run(db, "UPDATE meta SET value = $2 WHERE name = $1 AND value = $3", values![name, value, was]),
        None => run(db, "INSERT INTO meta VALUES ($1, $2) ON CONFLICT DO NOTHING", values![name, value]),
    };
    let swapped = written.await? == 1;
    if swapped {
        db.notice(Notice::Setting(name.into()));
    }
    Ok(swapped)
}

pub async fn journal(db: &Db, after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>> {
    let sql = "SELECT sequence, at, kind, body FROM journal WHERE sequence > $1 AND ($3::boolean OR kind <> 'outcomes')
         ORDER BY sequence LIMIT $2";
    all(db, sql, values![after, limit as i64, outcomes], |row| {
        Ok(JournalRow { sequence: row.get(0)?, at: Time(row.get(1)?), kind: row.get(2)?, body: parsed(row, 3)? })
    })
    .await
}
