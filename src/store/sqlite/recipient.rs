//! All that is kept of one person in one broadcast, as it is at one moment.

use rusqlite::Connection;

use super::manifest::For;
use super::rows::{all, first};
use super::{broadcast, delivery, manifest, query, subscriber};
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::{DeliveryFilter, Recipient, Result};

/// More places than anybody has.
const PLACES: usize = 1 << 16;

pub fn read(db: &Connection, id: BroadcastId, who: SubscriberId) -> Result<Option<Recipient>> {
    // One transaction: what is read later must not be of a later moment.
    let _reading = db.unchecked_transaction().map_err(super::failed)?;
    let Some(broadcast) = broadcast::one(db, id)? else { return Ok(None) };
    let decided = manifest::decided(db, id, who)?;
    let then = match &decided {
        Some((_, decided)) => subscriber::at_version(db, who, decided.version)?,
        None => None,
    };
    let (incident, audience) = (broadcast.incident, &broadcast.audience);
    let told = manifest::told(db, &For::from(&broadcast), who, who)?;
    let member_since = first(
        db,
        "SELECT since FROM member WHERE audience = (SELECT id FROM audience WHERE name = ?1) AND subscriber = ?2",
        (audience, who.0),
        |row| row.get(0).map(Time),
    )?;
    let filter = DeliveryFilter { broadcast: Some(id), subscriber: Some(who), ..DeliveryFilter::default() };
    let beside = all(
        db,
        "SELECT id, audience FROM broadcast WHERE incident = ?1 AND number = ?2 AND id <> ?3 ORDER BY id",
        (incident.0, broadcast.number, id.0),
        |row| Ok((BroadcastId(row.get(0)?), row.get(1)?)),
    )?;
    let newer = first(
        db,
        "SELECT id FROM broadcast WHERE incident = ?1 AND audience = ?2 AND version > ?3 AND released IS NOT NULL
         ORDER BY released, id LIMIT 1",
        (incident.0, audience, broadcast.version),
        |row| row.get(0).map(BroadcastId),
    )?;
    Ok(Some(Recipient {
        then,
        today: subscriber::one(db, who)?,
        told: told.contains(&who.0),
        member_since,
        rows: query::deliveries(db, &filter, PLACES)?,
        attempts: delivery::attempts(db, id, who)?,
        beside,
        newer,
        decided,
        broadcast,
    }))
}
