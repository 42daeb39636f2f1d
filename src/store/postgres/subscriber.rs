//! Subscribers, their addresses and memberships. Every change makes a new version; the one before stays readable while a
//! message may still be in flight for it.

use std::collections::HashMap;

use ring::hmac;

use super::connection::Db;
use super::lock;
use super::rows::{all, first, run};
use super::value::{Row, values};
use crate::audience::Subscriber;
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::store::packed::{Kept, blind, pack_addresses, past_of, unpack_addresses};
use crate::store::{Notice, Result};

pub const SUBSCRIBER: &str =
    "SELECT s.id, s.version, s.foreign_key, s.flags, s.name, s.locale, s.zone, s.quiet, s.severity,
  s.interests, s.addresses FROM subscriber s";

pub fn read(row: &Row) -> Result<Subscriber> {
    let kept = Kept {
        id: row.get(0)?,
        version: row.get(1)?,
        key: row.get(2)?,
        flags: row.get(3)?,
        name: row.get(4)?,
        locale: row.get(5)?,
        zone: row.get(6)?,
        quiet: row.get(7)?,
        severity: row.get(8)?,
    };
    Ok(kept.read(row.bytes(9)?, row.bytes(10)?)?)
}

pub async fn one(db: &Db, id: SubscriberId) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} WHERE s.id = $1"), values![id.0], read).await
}

/// Those of them who are there.
pub async fn many(db: &Db, ids: Vec<i64>) -> Result<HashMap<SubscriberId, Subscriber>> {
    let found = all(db, &format!("{SUBSCRIBER} WHERE s.id = ANY($1)"), values![ids], read).await?;
    Ok(found.into_iter().map(|subscriber| (subscriber.id, subscriber)).collect())
}

/// The next members, `$1` naming their audience, in order. Found by the index of members and then one by one: where a database has no
/// statistics yet, PostgreSQL would read and sort all members for each page (`OFFSET 0` keeps it from that).
pub fn members(bounds: &str, limit: &str) -> String {
    format!(
        "SELECT s.* FROM (
           SELECT m.subscriber FROM member m WHERE m.audience = (SELECT id FROM audience WHERE name = $1) AND {bounds}
           ORDER BY m.subscriber LIMIT {limit}
         ) m CROSS JOIN LATERAL ({SUBSCRIBER} WHERE s.id = m.subscriber OFFSET 0) s ORDER BY m.subscriber"
    )
}

pub async fn by_key(db: &Db, key: &str) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} WHERE s.foreign_key = $1"), values![key], read).await
}

pub async fn by_blind(db: &Db, blind: &[u8]) -> Result<Option<Subscriber>> {
    let sql = format!("{SUBSCRIBER} JOIN address a ON a.subscriber = s.id WHERE a.blind = $1");
    first(db, &sql, values![blind], read).await
}

pub async fn list(
    db: &Db,
    after: Option<SubscriberId>,
    audience: Option<&str>,
    limit: usize,
) -> Result<Vec<Subscriber>> {
    let after = after.map_or(-1, |id| id.0);
    match audience {
        Some(audience) => {
            all(db, &members("m.subscriber > $2", "$3"), values![audience, after, limit as i64], read).await
        }
        None => {
            let sql = format!("{SUBSCRIBER} WHERE s.id > $1 ORDER BY s.id LIMIT $2");
            all(db, &sql, values![after, limit as i64], read).await
        }
    }
}

/// The subscriber as they were when a decision was made for them; one who is gone and forgotten keeps only the id.
pub async fn as_of(db: &Db, id: SubscriberId, version: i64, current: Option<&Subscriber>) -> Result<Subscriber> {
    if let Some(current) = current.filter(|current| current.version == version) {
        return Ok(current.clone());
    }
    let sql = "SELECT name, locale, zone, addresses FROM subscriber_past WHERE id = $1 AND version = $2";
    let past = first(db, sql, values![id.0, version], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<Vec<u8>>(3)?))
    });
    past_of(id, version, current, past.await?)
}

/// The subscriber as they were at a version, whole. `None`: it is no longer kept.
pub async fn at_version(db: &Db, id: SubscriberId, version: i64) -> Result<Option<Subscriber>> {
    let current = one(db, id).await?;
    if current.as_ref().is_some_and(|current| current.version == version) {
        return Ok(current);
    }
    let sql = "SELECT id, version, NULL::text, flags, name, locale, zone, quiet, severity, interests, addresses
         FROM subscriber_past WHERE id = $1 AND version = $2 AND interests IS NOT NULL";
    first(db, sql, values![id.0, version], read).await
}

/// Keeps versions that are about to be past.
pub async fn keep_past(db: &Db, ids: Vec<i64>, now: Time) -> Result<()> {
    run(
        db,
        "INSERT INTO subscriber_past (id, version, name, locale, zone, addresses, at, flags, quiet, severity, interests)
         SELECT id, version, name, locale, zone, addresses, $2, flags, quiet, severity, interests FROM subscriber
         WHERE id = ANY($1)
         ON CONFLICT (id, version) DO UPDATE SET name = excluded.name, locale = excluded.locale, zone = excluded.zone,
           addresses = excluded.addresses, at = excluded.at, flags = excluded.flags, quiet = excluded.quiet,
           severity = excluded.severity, interests = excluded.interests",
        values![ids, now.0],
    )
    .await
    .map(drop)
}

pub async fn remove(db: &Db, key: &hmac::Key, id: SubscriberId, now: Time) -> Result<bool> {
    lock::subscribers(db).await?;
    let Some(subscriber) = one(db, id).await? else { return Ok(false) };
    db.notice(Notice::Subscribers(vec![id.0]));
    keep_past(db, vec![id.0], now).await?;
    let sql = "DELETE FROM member WHERE subscriber = $2 AND audience IN (SELECT id FROM audience WHERE name = ANY($1))";
    let audiences: Vec<String> = subscriber.audiences.iter().cloned().collect();
    run(db, sql, values![audiences, id.0]).await?;
    let blinds: Vec<Vec<u8>> = subscriber.addresses.iter().map(|a| blind(key, &a.kind, &a.value)).collect();
    run(db, "DELETE FROM address WHERE blind = ANY($1)", values![blinds]).await?;
    run(db, "DELETE FROM subscriber WHERE id = $1", values![id.0]).await?;
    Ok(true)
}

/// Suppression outlives the subscriber: the same address imported again stays silent.
pub async fn suppress(db: &Db, blind: &[u8], reason: &str, now: Time) -> Result<Option<SubscriberId>> {
    lock::subscribers(db).await?;
    let sql = "INSERT INTO suppression VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    run(db, sql, values![blind, reason, now.0]).await?;
    mark(db, blind, true, now).await
}

pub async fn unsuppress(db: &Db, blind: &[u8]) -> Result<Option<SubscriberId>> {
    lock::subscribers(db).await?;
    run(db, "DELETE FROM suppression WHERE blind = $1", values![blind]).await?;
    mark(db, blind, false, Time(0)).await
}

pub async fn suppress_place(
    db: &Db,
    key: &hmac::Key,
    id: SubscriberId,
    place: u16,
    reason: &str,
    now: Time,
) -> Result<()> {
    lock::subscribers(db).await?;
    let Some(subscriber) = one(db, id).await? else { return Ok(()) };
    match subscriber.addresses.iter().find(|address| address.place == place) {
        Some(address) => suppress(db, &blind(key, &address.kind, &address.value), reason, now).await.map(drop),
        None => Ok(()),
    }
}

async fn mark(db: &Db, blind: &[u8], suppressed: bool, now: Time) -> Result<Option<SubscriberId>> {
    let sql = "SELECT a.subscriber, a.place, s.addresses FROM address a JOIN subscriber s ON s.id = a.subscriber
         WHERE a.blind = $1";
    let found = first(db, sql, values![blind], |row| {
        Ok((row.get::<i64>(0)?, row.get::<u16>(1)?, unpack_addresses(row.bytes(2)?)?))
    });
    let Some((id, place, (next_place, mut addresses))) = found.await? else { return Ok(None) };
    let changed = addresses.iter_mut().find(|address| address.place == place && address.suppressed != suppressed);
    if let Some(address) = changed {
        address.suppressed = suppressed;
        db.notice(Notice::Subscribers(vec![id]));
        keep_past(db, vec![id], now).await?;
        let sql = "UPDATE subscriber SET version = version + 1, addresses = $2 WHERE id = $1";
        run(db, sql, values![id, pack_addresses(next_place, &addresses)]).await?;
    }
    Ok(Some(SubscriberId(id)))
}

pub async fn audiences(db: &Db) -> Result<Vec<(String, i64)>> {
    let sql = "SELECT a.name, (SELECT count(*) FROM member m WHERE m.audience = a.id) FROM audience a ORDER BY a.name";
    all(db, sql, values![], |row| Ok((row.get(0)?, row.get(1)?))).await
}
