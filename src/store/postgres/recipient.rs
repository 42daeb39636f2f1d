//! All that is kept of one person in one broadcast; asked within a snapshot, so that it is of one moment.

use super::connection::Db;
use super::rows::{all, first};
use super::value::values;
use super::{attempt, broadcast, manifest, query, subscriber};
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::{DeliveryFilter, Recipient, Result};

/// More places than anybody has.
const PLACES: usize = 1 << 16;

pub async fn read(db: &Db, id: BroadcastId, who: SubscriberId) -> Result<Option<Recipient>> {
    let Some(broadcast) = broadcast::one(db, id).await? else { return Ok(None) };
    let decided = manifest::decided(db, id, who).await?;
    let then = match &decided {
        Some((_, decided)) => subscriber::at_version(db, who, decided.version).await?,
        None => None,
    };
    let (incident, audience) = (broadcast.incident, &broadcast.audience);
    let told = manifest::told(db, &broadcast, who, who).await?;
    let member_since = first(
        db,
        "SELECT since FROM member WHERE audience = (SELECT id FROM audience WHERE name = $1) AND subscriber = $2",
        values![audience, who.0],
        |row| row.get(0).map(Time),
    )
    .await?;
    let filter = DeliveryFilter { broadcast: Some(id), subscriber: Some(who), ..DeliveryFilter::default() };
    let beside = all(
        db,
        "SELECT id, audience FROM broadcast WHERE incident = $1 AND number = $2 AND id <> $3 ORDER BY id",
        values![incident.0, broadcast.number, id.0],
        |row| Ok((BroadcastId(row.get(0)?), row.get(1)?)),
    )
    .await?;
    let newer = first(
        db,
        "SELECT id FROM broadcast WHERE incident = $1 AND audience = $2 AND version > $3 AND released IS NOT NULL
         ORDER BY released, id LIMIT 1",
        values![incident.0, audience, broadcast.version],
        |row| row.get(0).map(BroadcastId),
    )
    .await?;
    Ok(Some(Recipient {
        then,
        today: subscriber::one(db, who).await?,
        told: told.contains(&who.0),
        member_since,
        rows: query::deliveries(db, &filter, PLACES).await?,
        attempts: attempt::of(db, id, who).await?,
        beside,
        newer,
        decided,
        broadcast,
    }))
}
