//! Subscribers, their addresses and memberships. Every change makes a new version; the one before stays readable while a
//! message may still be in flight for it.

use std::collections::BTreeSet;

use ring::hmac;
use rusqlite::{Connection, Row};

use super::put::{Batch, memberships};
use super::rows::{all, first, run};
use super::writer::failed;
use crate::audience::Subscriber;
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::store::Result;
use crate::store::pack::Damaged;
use crate::store::packed::{Kept, blind, pack_addresses, past_of, unpack_addresses};

pub const SUBSCRIBER: &str =
    "SELECT s.id, s.version, s.foreign_key, s.flags, s.name, s.locale, s.zone, s.quiet, s.severity,
  s.interests, s.addresses FROM subscriber s";

pub fn read(row: &Row<'_>) -> rusqlite::Result<Subscriber> {
    let blob = |column: usize| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
    let damaged =
        |error: Damaged| rusqlite::Error::FromSqlConversionFailure(9, rusqlite::types::Type::Blob, Box::new(error));
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
    kept.read(blob(9)?, blob(10)?).map_err(damaged)
}

pub fn one(db: &Connection, id: SubscriberId) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} WHERE s.id = ?1"), [id.0], read)
}

pub fn by_key(db: &Connection, key: &str) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} WHERE s.foreign_key = ?1"), [key], read)
}

pub fn by_blind(db: &Connection, blind: &[u8]) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} JOIN address a ON a.subscriber = s.id WHERE a.blind = ?1"), [blind], read)
}

pub fn list(
    db: &Connection,
    after: Option<SubscriberId>,
    audience: Option<&str>,
    limit: usize,
) -> Result<Vec<Subscriber>> {
    let after = after.map_or(-1, |id| id.0);
    match audience {
        Some(audience) => all(
            db,
            &format!(
                "{SUBSCRIBER} JOIN member m ON m.subscriber = s.id
                 WHERE m.audience = (SELECT id FROM audience WHERE name = ?1) AND m.subscriber > ?2 ORDER BY m.subscriber LIMIT ?3"
            ),
            (audience, after, limit as i64),
            read,
        ),
        None => all(db, &format!("{SUBSCRIBER} WHERE s.id > ?1 ORDER BY s.id LIMIT ?2"), (after, limit as i64), read),
    }
}

/// The subscriber as they were when a decision was made for them; one who is gone and forgotten keeps only the id.
pub fn as_of(db: &Connection, id: SubscriberId, version: i64) -> Result<Subscriber> {
    let current = one(db, id)?;
    if let Some(current) = current.as_ref().filter(|current| current.version == version) {
        return Ok(current.clone());
    }
    let past = first(
        db,
        "SELECT name, locale, zone, addresses FROM subscriber_past WHERE id = ?1 AND version = ?2",
        (id.0, version),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Vec<u8>>(3)?)),
    )?;
    past_of(id, version, current.as_ref(), past)
}

/// The subscriber as they were at a version, whole. `None`: it is no longer kept, or was kept by a program that kept less.
pub fn at_version(db: &Connection, id: SubscriberId, version: i64) -> Result<Option<Subscriber>> {
    let current = one(db, id)?;
    if current.as_ref().is_some_and(|current| current.version == version) {
        return Ok(current);
    }
    first(
        db,
        "SELECT id, version, NULL, flags, name, locale, zone, quiet, severity, interests, addresses FROM subscriber_past
         WHERE id = ?1 AND version = ?2 AND interests IS NOT NULL",
        (id.0, version),
        read,
    )
}

pub fn keep_past(db: &Connection, id: SubscriberId, now: Time) -> Result<()> {
    run(
        db,
        "INSERT OR REPLACE INTO subscriber_past
           SELECT id, version, name, locale, zone, addresses, ?2, flags, quiet, severity, interests FROM subscriber WHERE id = ?1",
        (id.0, now.0),
    )
    .map(drop)
}

pub fn remove(db: &Connection, key: &hmac::Key, id: SubscriberId, now: Time) -> Result<bool> {
    let Some(subscriber) = one(db, id)? else { return Ok(false) };
    keep_past(db, id, now)?;
    memberships(db, &mut Batch::new(1), id, &subscriber.audiences, &BTreeSet::new(), now)?;
    for address in &subscriber.addresses {
        run(db, "DELETE FROM address WHERE blind = ?1", [blind(key, &address.kind, &address.value)])?;
    }
    run(db, "DELETE FROM subscriber WHERE id = ?1", [id.0])?;
    Ok(true)
}

/// Suppression outlives the subscriber: the same address imported again stays silent.
pub fn suppress(db: &Connection, blind: &[u8], reason: &str, now: Time) -> Result<Option<SubscriberId>> {
    run(db, "INSERT INTO suppression VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", (blind, reason, now.0))?;
    mark(db, blind, true, now)
}

pub fn unsuppress(db: &Connection, blind: &[u8]) -> Result<Option<SubscriberId>> {
    run(db, "DELETE FROM suppression WHERE blind = ?1", [blind])?;
    mark(db, blind, false, Time(0))
}

pub fn suppress_place(
    db: &Connection,
    key: &hmac::Key,
    id: SubscriberId,
    place: u16,
    reason: &str,
    now: Time,
) -> Result<()> {
    let Some(subscriber) = one(db, id)? else { return Ok(()) };
    match subscriber.addresses.iter().find(|address| address.place == place) {
        Some(address) => suppress(db, &blind(key, &address.kind, &address.value), reason, now).map(drop),
        None => Ok(()),
    }
}

fn mark(db: &Connection, blind: &[u8], suppressed: bool, now: Time) -> Result<Option<SubscriberId>> {
    let found = first(db, "SELECT subscriber, place FROM address WHERE blind = ?1", [blind], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u16>(1)?))
    })?;
    let Some((id, place)) = found else { return Ok(None) };
    let bytes = first(db, "SELECT addresses FROM subscriber WHERE id = ?1", [id], |row| row.get::<_, Vec<u8>>(0))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let (next_place, mut addresses) = unpack_addresses(&bytes)?;
    let changed = addresses.iter_mut().find(|address| address.place == place && address.suppressed != suppressed);
    if let Some(address) = changed {
        address.suppressed = suppressed;
        keep_past(db, SubscriberId(id), now)?;
        run(
            db,
            "UPDATE subscriber SET version = version + 1, addresses = ?2 WHERE id = ?1",
            (id, pack_addresses(next_place, &addresses)),
        )?;
    }
    Ok(Some(SubscriberId(id)))
}

pub fn audiences(db: &Connection) -> Result<Vec<(String, i64)>> {
    db.prepare_cached(
        "SELECT a.name, (SELECT count(*) FROM member m WHERE m.audience = a.id) FROM audience a ORDER BY a.name",
    )
    .and_then(|mut statement| {
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<Vec<_>>>()
    })
    .map_err(failed)
}
