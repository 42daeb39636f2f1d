//! Pages and manifests: who is next, what was decided for them, and after a crash, what of it is unaccounted for.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ring::hmac;
use rusqlite::Connection;

use super::rows::{about, all, first, run};
use super::shard::PERHAPS;
use super::{delivery, shard, subscriber, upkeep};
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{BroadcastId, IncidentId, SubscriberId};
use crate::plan::Selection;
use crate::store::decisions::{is_open, omitted, pack, still_allowed, unpack};
use crate::store::outcomes::Outcomes;
use crate::store::{
    Broadcast, Decided, Decision, Fact, Manifest, ManifestKey, Member, Result, StoreError, Unfinished, Wording,
};

/// What of a broadcast says whom it is for. The rest of it, its facts among them, need not be copied for a read.
pub struct For {
    pub id: BroadcastId,
    pub incident: IncidentId,
    pub audience: String,
    selection: Selection,
    released: Time,
}

impl From<&Broadcast> for For {
    fn from(broadcast: &Broadcast) -> For {
        For {
            id: broadcast.id,
            incident: broadcast.incident,
            audience: broadcast.audience.clone(),
            selection: broadcast.selection.clone(),
            released: broadcast.released.unwrap_or(broadcast.created),
        }
    }
}

/// The next members of an audience in some shards, and whether they end with them. Who joined after the release gets the next
/// broadcast.
pub fn page(
    db: &Connection,
    of: &For,
    shards: RangeInclusive<u8>,
    after: i64,
    limit: usize,
) -> Result<(Vec<Member>, bool)> {
    let first = i64::from(*shards.start()) << 48;
    let last = i64::from(*shards.end()) << 48 | ((1 << 48) - 1);
    let mut members = about(
        db,
        limit + 1,
        &format!(
            "{} JOIN member m ON m.subscriber = s.id
             WHERE m.audience = (SELECT id FROM audience WHERE name = ?1) AND m.subscriber > ?2 AND m.subscriber <= ?3
               AND m.since <= ?5
             ORDER BY m.subscriber LIMIT ?4",
            subscriber::SUBSCRIBER
        ),
        (&of.audience, after.max(first - 1), last, limit as i64 + 1, of.released.0),
        |row| Ok(Member { subscriber: subscriber::read(row)?, told: false }),
    )?;
    let end = members.len() <= limit;
    members.truncate(limit);
    if let (Some(from), Some(to)) = (members.first(), members.last()) {
        let told = told(db, of, from.subscriber.id, to.subscriber.id)?;
        if !told.is_empty() {
            members.iter_mut().for_each(|member| member.told = told.contains(&member.subscriber.id.0));
        }
    }
    Ok((members, end))
}

/// Whom the broadcasts that the selection asks about told, or may have, within a range of subscribers. An attempt that nobody
/// knows the end of may have told them, whatever was decided for the delivery afterwards; so may one that was in a lane when the
/// process ended.
pub fn told(db: &Connection, of: &For, from: SubscriberId, to: SubscriberId) -> Result<BTreeSet<i64>> {
    let For { id, incident, audience, selection, .. } = of;
    let named = if selection.told_by.is_empty() { &selection.untold_by } else { &selection.told_by };
    let earlier = match (&named[..], selection.only_if_told) {
        ([], false) => Vec::new(),
        ([], true) => all(
            db,
            "SELECT id FROM broadcast WHERE incident = ?1 AND audience = ?2 AND id < ?3 AND released IS NOT NULL",
            (incident.0, audience, id.0),
            |row| row.get::<_, i64>(0),
        )?,
        (named, _) => named.to_vec(),
    };
    let mut told = BTreeSet::new();
    for broadcast in earlier {
        let found = all(
            db,
            &format!(
                "SELECT subscriber FROM delivery WHERE broadcast = ?1 AND subscriber BETWEEN ?2 AND ?3
               AND (state IN (6, 7) OR receipt = 'unconfirmed'
                 OR state = 0 AND {PERHAPS})
             UNION SELECT subscriber FROM attempt
             WHERE broadcast = ?1 AND subscriber BETWEEN ?2 AND ?3 AND outcome IN ('unknown', 'perhaps')"
            ),
            (broadcast, from.0, to.0),
            |row| row.get::<_, i64>(0),
        )?;
        told.extend(found);
    }
    Ok(told)
}

/// Writes manifests of one broadcast, the rows of whoever waits, and the moved cursors: fenced by the epochs of their shards.
pub fn decide(
    db: &Connection,
    key: &hmac::Key,
    manifests: &[Manifest],
    rows: &[Fact],
    wordings: &[Wording],
    mut outcomes: Outcomes,
) -> Result<()> {
    let mut stale = false;
    for manifest in manifests {
        stale |= shard::epoch(db, manifest.key.shard)? != Some(manifest.epoch);
    }
    if stale && !fault::on(Fault::EpochNotCompared) {
        return Err(StoreError::Fenced);
    }
    upkeep::word(db, wordings)?;
    for manifest in manifests {
        let (Some(from), Some(to)) = (manifest.decided.first(), manifest.decided.last()) else { continue };
        let ManifestKey { broadcast, shard, number } = manifest.key;
        let open = is_open(&manifest.decided, rows);
        run(
            db,
            "INSERT INTO manifest VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                broadcast.0,
                shard,
                number,
                from.subscriber.0,
                to.subscriber.0,
                manifest.epoch,
                manifest.at.0,
                open,
                pack(&manifest.decided),
            ),
        )?;
    }
    move_cursors(db, manifests)?;
    manifests.iter().for_each(|manifest| outcomes.left_out(manifest));
    delivery::record(db, key, rows, &[], outcomes).map(drop)
}

/// Each shard is decided up to the last of its manifest, and read where that is its end.
pub fn move_cursors(db: &Connection, manifests: &[Manifest]) -> Result<()> {
    let Some(broadcast) = manifests.first().map(|manifest| manifest.key.broadcast) else { return Ok(()) };
    for Manifest { key, decided, epoch, .. } in manifests {
        let Some(last) = decided.last() else { continue };
        let (skipped, unreachable) = omitted(decided);
        run(
            db,
            "INSERT INTO progress (broadcast, shard, cursor, epoch, selected, skipped, unreachable) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET cursor = excluded.cursor, epoch = excluded.epoch, selected = selected + excluded.selected,
               skipped = skipped + excluded.skipped, unreachable = unreachable + excluded.unreachable",
            (broadcast.0, key.shard, last.subscriber.0, epoch, decided.len() as i64, skipped, unreachable),
        )?;
    }
    let ended = manifests.iter().filter(|manifest| manifest.end).fold(0u64, |mask, m| mask | 1 << m.key.shard);
    if ended != 0 {
        run(db, "UPDATE broadcast SET shards = shards & ~?2 WHERE id = ?1", (broadcast.0, ended as i64))?;
    }
    Ok(())
}

/// What a manifest says of one subscriber.
pub fn decided(db: &Connection, id: BroadcastId, who: SubscriberId) -> Result<Option<(Time, Decided)>> {
    let found = first(
        db,
        "SELECT at, decisions FROM manifest WHERE broadcast = ?1 AND shard = ?2 AND first <= ?3 AND last >= ?3 LIMIT 1",
        (id.0, who.shard(), who.0),
        |row| Ok((Time(row.get(0)?), row.get::<_, Vec<u8>>(1)?)),
    )?;
    let Some((at, bytes)) = found else { return Ok(None) };
    let decided = unpack(&bytes)?;
    Ok(decided.into_iter().find(|decided| decided.subscriber == who).map(|decided| (at, decided)))
}

/// The next manifest that was open when the process ended, with the recipients that have no row.
pub fn unfinished(db: &Connection, shards: u64, after: Option<ManifestKey>) -> Result<Option<Unfinished>> {
    let (broadcast, shard, number) = after.map_or((-1, 0, 0), |key| (key.broadcast.0, key.shard, key.number));
    let found = first(
        db,
        "SELECT broadcast, shard, number, at, decisions FROM manifest
         WHERE open = 1 AND (broadcast, shard, number) > (?1, ?2, ?3) AND ?4 >> shard & 1
         ORDER BY broadcast, shard, number LIMIT 1",
        (broadcast, shard, number, shards as i64),
        |row| {
            let key = ManifestKey { broadcast: BroadcastId(row.get(0)?), shard: row.get(1)?, number: row.get(2)? };
            Ok((key, Time(row.get(3)?), row.get::<_, Vec<u8>>(4)?))
        },
    )?;
    let Some((key, at, bytes)) = found else { return Ok(None) };
    let decided = unpack(&bytes)?;
    let audience =
        first(db, "SELECT audience FROM broadcast WHERE id = ?1", [key.broadcast.0], |row| row.get::<_, String>(0))?;
    let audience = audience.unwrap_or_default();
    let mut missing = Vec::new();
    for Decided { subscriber, version, decision } in decided {
        let Decision::Ways(ways, _) = decision else { continue };
        let row = first(
            db,
            "SELECT 1 FROM delivery WHERE broadcast = ?1 AND subscriber = ?2 LIMIT 1",
            (key.broadcast.0, subscriber.0),
            |_| Ok(()),
        )?;
        let [way] = ways[..] else { continue };
        if row.is_none() {
            let as_decided = subscriber::as_of(db, subscriber, version)?;
            let today = subscriber::one(db, subscriber)?;
            let allowed = still_allowed(&as_decided, way, today.as_ref(), &audience);
            missing.push((as_decided, way, allowed));
        }
    }
    Ok(Some(Unfinished { key, at, missing }))
}
