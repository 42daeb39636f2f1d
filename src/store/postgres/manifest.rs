//! Pages and manifests: who is next, what was decided for them, and after a crash, what of it is unaccounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use ring::hmac;

use super::connection::Db;
use super::rows::{all, first, run};
use super::value::values;
use super::{delivery, lock, subscriber, upkeep};
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::decisions::{is_open, omitted, pack, still_allowed, unpack};
use crate::store::outcomes::Outcomes;
use crate::store::{
    Broadcast, Decided, Decision, Fact, Manifest, ManifestKey, Member, Result, StoreError, Unfinished, Wording,
};

/// The next members of an audience in some shards, and whether they end with them. Who joined after the release gets the next
/// broadcast.
pub async fn page(
    db: &Db,
    broadcast: &Broadcast,
    shards: RangeInclusive<u8>,
    after: i64,
    limit: usize,
) -> Result<(Vec<Member>, bool)> {
    let first = i64::from(*shards.start()) << 48;
    let last = i64::from(*shards.end()) << 48 | ((1 << 48) - 1);
    let released = broadcast.released.unwrap_or(broadcast.created);
    let sql = subscriber::members("m.subscriber > $2 AND m.subscriber <= $3 AND m.since <= $5", "$4");
    let values = values![&broadcast.audience, after.max(first - 1), last, limit as i64 + 1, released.0];
    let read = |row: &_| Ok(Member { subscriber: subscriber::read(row)?, told: false });
    let mut members = all(db, &sql, values, read).await?;
    let end = members.len() <= limit;
    members.truncate(limit);
    if let (Some(from), Some(to)) = (members.first(), members.last()) {
        let told = told(db, broadcast, from.subscriber.id, to.subscriber.id).await?;
        if !told.is_empty() {
            members.iter_mut().for_each(|member| member.told = told.contains(&member.subscriber.id.0));
        }
    }
    Ok((members, end))
}

/// Whom the broadcasts that the selection asks about told, or may have, within a range of subscribers. An attempt that nobody
/// knows the end of may have told them, whatever was decided for the delivery afterwards.
pub async fn told(db: &Db, broadcast: &Broadcast, from: SubscriberId, to: SubscriberId) -> Result<BTreeSet<i64>> {
    let selection = &broadcast.selection;
    let named = if selection.told_by.is_empty() { &selection.untold_by } else { &selection.told_by };
    let earlier = match (&named[..], selection.only_if_told) {
        ([], false) => Vec::new(),
        ([], true) => {
            let sql =
                "SELECT id FROM broadcast WHERE incident = $1 AND audience = $2 AND id < $3 AND released IS NOT NULL";
            let values = values![broadcast.incident.0, &broadcast.audience, broadcast.id.0];
            all(db, sql, values, |row| row.get::<i64>(0)).await?
        }
        (named, _) => named.to_vec(),
    };
    let mut told = BTreeSet::new();
    for broadcast in earlier {
        let sql = "SELECT subscriber FROM delivery WHERE broadcast = $1 AND subscriber BETWEEN $2 AND $3
               AND (state IN (6, 7) OR receipt = 'unconfirmed'
                 OR state = 0 AND entered > 0 AND entered <> (SELECT epoch FROM shard WHERE id = (subscriber >> 48)::int))
             UNION SELECT subscriber FROM attempt
             WHERE broadcast = $1 AND subscriber BETWEEN $2 AND $3 AND outcome IN ('unknown', 'perhaps')";
        told.extend(all(db, sql, values![broadcast, from.0, to.0], |row| row.get::<i64>(0)).await?);
    }
    Ok(told)
}

/// Writes manifests of one broadcast, the rows of whoever waits, and the moved cursors: fenced by the epochs of their shards. Whoever
/// takes a shard over raises it, and waits for this until it is committed: what is written under the old one is seen by the new
/// owner.
pub async fn decide(
    db: &Db,
    key: &hmac::Key,
    node: i64,
    manifests: &[Manifest],
    rows: &[Fact],
    wordings: &[Wording],
    mut outcomes: Outcomes,
) -> Result<()> {
    let shards: Vec<i64> = manifests.iter().map(|manifest| manifest.key.shard.into()).collect();
    let sql = "SELECT id, epoch FROM shard WHERE id = ANY($1::bigint[]) ORDER BY id FOR SHARE";
    let epochs = all(db, sql, values![shards], |row| Ok((row.get::<u8>(0)?, row.get::<i64>(1)?))).await?;
    let epochs: BTreeMap<u8, i64> = epochs.into_iter().collect();
    if manifests.iter().any(|manifest| epochs.get(&manifest.key.shard) != Some(&manifest.epoch)) {
        return Err(StoreError::Fenced);
    }
    upkeep::word(db, wordings).await?;
    let decided = manifests.iter().map(|manifest| (manifest.key.broadcast, manifest.key.shard));
    let waiting = rows.iter().map(|row| (row.delivery.broadcast, row.delivery.subscriber.shard()));
    lock::recipients(db, decided.chain(waiting)).await?;
    let written: Vec<&Manifest> = manifests.iter().filter(|manifest| !manifest.decided.is_empty()).collect();
    let each = |of: &dyn Fn(&Manifest) -> i64| -> Vec<i64> { written.iter().map(|manifest| of(manifest)).collect() };
    let end = |decided: Option<&Decided>| decided.map_or(0, |decided| decided.subscriber.0);
    run(
        db,
        "INSERT INTO manifest (broadcast, shard, number, first, last, epoch, at, open, decisions)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
           $8::boolean[], $9::bytea[])",
        values![
            each(&|manifest| manifest.key.broadcast.0),
            each(&|manifest| manifest.key.shard.into()),
            each(&|manifest| manifest.key.number),
            each(&|manifest| end(manifest.decided.first())),
            each(&|manifest| end(manifest.decided.last())),
            each(&|manifest| manifest.epoch),
            each(&|manifest| manifest.at.0),
            written.iter().map(|manifest| is_open(&manifest.decided, rows)).collect::<Vec<bool>>(),
            written.iter().map(|manifest| pack(&manifest.decided)).collect::<Vec<Vec<u8>>>()
        ],
    )
    .await?;
    move_cursors(db, manifests).await?;
    manifests.iter().for_each(|manifest| outcomes.left_out(manifest));
    delivery::record(db, key, node, rows, &[], outcomes, false).await.map(drop)
}

/// What is decided moves in a shard.
#[derive(Default)]
struct Moved {
    cursor: i64,
    epoch: i64,
    selected: i64,
    skipped: i64,
    unreachable: i64,
}

/// Each shard is decided up to the last of its manifest, and read where that is its end.
async fn move_cursors(db: &Db, manifests: &[Manifest]) -> Result<()> {
    let Some(broadcast) = manifests.first().map(|manifest| manifest.key.broadcast) else { return Ok(()) };
    // A shard may have several manifests in one commit.
    let mut moved: BTreeMap<u8, Moved> = BTreeMap::new();
    for Manifest { key, decided, epoch, .. } in manifests {
        let Some(last) = decided.last() else { continue };
        let (skipped, unreachable) = omitted(decided);
        let shard = moved.entry(key.shard).or_default();
        (shard.cursor, shard.epoch) = (last.subscriber.0, *epoch);
        shard.selected += decided.len() as i64;
        shard.skipped += skipped;
        shard.unreachable += unreachable;
    }
    let each = |of: &dyn Fn(&Moved) -> i64| -> Vec<i64> { moved.values().map(of).collect() };
    run(
        db,
        "INSERT INTO progress AS p (broadcast, shard, cursor, epoch, selected, skipped, unreachable)
         SELECT $1, shard, cursor, epoch, selected, skipped, unreachable
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
           AS row (shard, cursor, epoch, selected, skipped, unreachable)
         ON CONFLICT (broadcast, shard) DO UPDATE SET cursor = excluded.cursor, epoch = excluded.epoch,
           selected = p.selected + excluded.selected, skipped = p.skipped + excluded.skipped,
           unreachable = p.unreachable + excluded.unreachable",
        values![
            broadcast.0,
            moved.keys().map(|shard| i64::from(*shard)).collect::<Vec<i64>>(),
            each(&|shard| shard.cursor),
            each(&|shard| shard.epoch),
            each(&|shard| shard.selected),
            each(&|shard| shard.skipped),
            each(&|shard| shard.unreachable)
        ],
    )
    .await?;
    let ended = manifests.iter().filter(|manifest| manifest.end).fold(0u64, |mask, m| mask | 1 << m.key.shard);
    if ended != 0 {
        let sql = "UPDATE broadcast SET shards = shards & ~$2::bigint WHERE id = $1";
        run(db, sql, values![broadcast.0, ended as i64]).await?;
    }
    Ok(())
}

/// Those in which everyone has a row now.
pub async fn close(db: &Db, closed: &[ManifestKey]) -> Result<()> {
    if closed.is_empty() {
        return Ok(());
    }
    let each = |of: &dyn Fn(&ManifestKey) -> i64| -> Vec<i64> { closed.iter().map(of).collect() };
    run(
        db,
        "UPDATE manifest m SET open = false FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS row (broadcast, shard, number)
         WHERE m.broadcast = row.broadcast AND m.shard = row.shard AND m.number = row.number",
        values![each(&|key| key.broadcast.0), each(&|key| key.shard.into()), each(&|key| key.number)],
    )
    .await
    .map(drop)
}

/// What a manifest says of one subscriber.
pub async fn decided(db: &Db, id: BroadcastId, who: SubscriberId) -> Result<Option<(Time, Decided)>> {
    let found = first(
        db,
        "SELECT at, decisions FROM manifest WHERE broadcast = $1 AND shard = $2 AND first <= $3 AND last >= $3 LIMIT 1",
        values![id.0, who.shard(), who.0],
        |row| Ok((Time(row.get(0)?), unpack(row.bytes(1)?)?)),
    )
    .await?;
    let Some((at, decided)) = found else { return Ok(None) };
    Ok(decided.into_iter().find(|decided| decided.subscriber == who).map(|decided| (at, decided)))
}

/// The next manifest that was open when the process ended, with the recipients that have no row.
pub async fn unfinished(db: &Db, shards: u64, after: Option<ManifestKey>) -> Result<Option<Unfinished>> {
    let (broadcast, shard, number) = after.map_or((-1, 0, 0), |key| (key.broadcast.0, key.shard, key.number));
    let found = first(
        db,
        "SELECT broadcast, shard, number, at, decisions FROM manifest
         WHERE open AND (broadcast, shard, number) > ($1, $2, $3) AND $4::bigint >> shard & 1 = 1
         ORDER BY broadcast, shard, number LIMIT 1",
        values![broadcast, shard, number, shards as i64],
        |row| {
            let key = ManifestKey { broadcast: BroadcastId(row.get(0)?), shard: row.get(1)?, number: row.get(2)? };
            Ok((key, Time(row.get(3)?), unpack(row.bytes(4)?)?))
        },
    )
    .await?;
    let Some((key, at, decided)) = found else { return Ok(None) };
    let sql = "SELECT audience FROM broadcast WHERE id = $1";
    let audience = first(db, sql, values![key.broadcast.0], |row| row.get::<String>(0)).await?.unwrap_or_default();
    let who: Vec<i64> = decided.iter().map(|decided| decided.subscriber.0).collect();
    let sql = "SELECT DISTINCT subscriber FROM delivery WHERE broadcast = $1 AND subscriber = ANY($2)";
    let with_rows = all(db, sql, values![key.broadcast.0, who.clone()], |row| row.get::<i64>(0)).await?;
    let with_rows: BTreeSet<i64> = with_rows.into_iter().collect();
    let today = subscriber::many(db, who).await?;
    let mut missing = Vec::new();
    for Decided { subscriber, version, decision } in decided {
        let Decision::Ways(ways, _) = decision else { continue };
        let [way] = ways[..] else { continue };
        if !with_rows.contains(&subscriber.0) {
            let today = today.get(&subscriber);
            let as_decided = subscriber::as_of(db, subscriber, version, today).await?;
            let allowed = still_allowed(&as_decided, way, today, &audience);
            missing.push((as_decided, way, allowed));
        }
    }
    Ok(Some(Unfinished { key, at, missing }))
}
