//! Deliveries: facts merged by upsert in any order, many in one statement, counters moved with them, open rows read back when due.

use std::collections::{BTreeMap, BTreeSet};

use ring::hmac;

use super::connection::Db;
use super::rows::{all, exists, first, run};
use super::value::{Row, values};
use super::{attempt, fresh, lock, manifest, receipt, subscriber};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::plan::Priority;
use crate::store::outcomes::Outcomes;
use crate::store::tally::{Ending, Tally, ended_by, moved};
use crate::store::{Again, Broadcast, DeliveryState, Fact, ManifestKey, Notice, OpenRow, Result, UNDECIDED, Written};

/// $15: a new decision, which opens what a bounce or a missing confirmation had ended.
const UPSERT: &str = "INSERT INTO delivery AS d
    (broadcast, subscriber, place, state, channel, began, ended, tries, detail, ref, priority, lane, due, entered)
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[],
    $14::bigint[])
  ON CONFLICT (broadcast, subscriber, place) DO UPDATE SET
    state = CASE WHEN d.receipt = 'unconfirmed' AND excluded.state BETWEEN 1 AND 6 THEN 7 ELSE excluded.state END,
    channel = excluded.channel, began = excluded.began, ended = excluded.ended, tries = excluded.tries,
    detail = excluded.detail, ref = coalesce(excluded.ref, d.ref), priority = excluded.priority, lane = excluded.lane,
    due = excluded.due, entered = excluded.entered,
    receipt = CASE WHEN $15::boolean AND d.receipt = 'bounced' THEN NULL ELSE d.receipt END
  WHERE excluded.state >= d.state OR $15::boolean AND (d.state IN (1, 5, 6) OR d.receipt = 'unconfirmed')";

pub type Recipient = (BroadcastId, SubscriberId);

fn recipient(fact: &Fact) -> Recipient {
    (fact.delivery.broadcast, fact.delivery.subscriber)
}

/// Rows of shards that a node owns, of a table `d`.
pub const OWN: &str = "EXISTS (SELECT 1 FROM shard s WHERE s.id = (d.subscriber >> 48)::int AND s.node = $1)";

/// What `node` has to say. Facts of shards that are another's by now are taken, too: whether they are the first of a recipient is
/// then no longer known, and their owner hears of what is to be tried again. `again`: a row that should have been new may be there.
pub async fn record(
    db: &Db,
    key: &hmac::Key,
    node: i64,
    facts: &[Fact],
    closed: &[ManifestKey],
    mut outcomes: Outcomes,
    again: bool,
) -> Result<Written> {
    if facts.iter().any(|fact| fact.indexed && fact.reference.is_some()) {
        lock::no_receipts(db).await?;
    }
    lock::recipients(db, facts.iter().map(|fact| (fact.delivery.broadcast, fact.delivery.subscriber.shard()))).await?;
    let mut tally = Tally::new();
    let mut suppressed = BTreeSet::new();
    let early = !facts.is_empty() && exists(db, "SELECT 1 FROM receipt LIMIT 1", values![]).await?;
    // One statement writes a row once, and how somebody stood is asked once: in a round everybody comes once.
    let owners = owners(db, facts).await?;
    let owner = |fact: &Fact| owners.get(&fact.delivery.subscriber.shard()).copied().unwrap_or_default();
    if facts.iter().any(|fact| fact.state == DeliveryState::Open && owner(fact).0 != node) {
        db.notice(Notice::Inherited);
    }
    let (unsure, sure): (Vec<&Fact>, Vec<&Fact>) =
        facts.iter().partition(|fact| fact.sole.is_some_and(|epoch| owner(fact).1 != epoch));
    let unsure: Vec<Fact> = unsure.into_iter().map(|fact| Fact { sole: None, ..fact.clone() }).collect();
    let mut left: Vec<&Fact> = sure.into_iter().chain(&unsure).collect();
    while !left.is_empty() {
        let mut seen = BTreeSet::new();
        let (round, later): (Vec<&Fact>, Vec<&Fact>) = left.into_iter().partition(|fact| seen.insert(recipient(fact)));
        write(db, &round, &mut tally, &mut outcomes, again).await?;
        for fact in round.iter().filter(|fact| fact.suppress) {
            let DeliveryId { subscriber, place, .. } = fact.delivery;
            subscriber::suppress_place(db, key, subscriber, place, "rejected", fact.ended).await?;
            suppressed.insert(subscriber);
        }
        if early {
            for fact in receipt::awaited(db, &round).await? {
                db.journal_outcomes(&mut outcomes)?;
                if receipt::catch_up(db, key, fact, &mut tally).await? {
                    suppressed.insert(fact.delivery.subscriber);
                }
            }
        }
        left = later;
    }
    db.journal_outcomes(&mut outcomes)?;
    manifest::close(db, closed).await?;
    Ok(Written { ended: count(db, &tally).await?, suppressed })
}

/// Whose the facts' shards are, and under which epochs. Asked with the recipients locked: who takes one over later sees the facts.
async fn owners(db: &Db, facts: &[Fact]) -> Result<BTreeMap<u8, (i64, i64)>> {
    let of: BTreeSet<u8> = facts.iter().map(|fact| fact.delivery.subscriber.shard()).collect();
    if of.is_empty() {
        return Ok(BTreeMap::new());
    }
    let shards: Vec<i64> = of.into_iter().map(i64::from).collect();
    let sql = "SELECT id, node, epoch FROM shard WHERE id = ANY($1::bigint[])";
    let owners = all(db, sql, values![shards], |row| Ok((row.get::<u8>(0)?, (row.get(1)?, row.get(2)?)))).await?;
    Ok(owners.into_iter().collect())
}

/// Facts about as many recipients: rows, counters, attempts, references.
async fn write(db: &Db, facts: &[&Fact], tally: &mut Tally, outcomes: &mut Outcomes, again: bool) -> Result<()> {
    let known: Vec<Recipient> = facts.iter().filter(|fact| fact.sole.is_none()).map(|fact| recipient(fact)).collect();
    let before = endings(db, &known).await?;
    let mut states = BTreeMap::new();
    let is_new = |fact: &&Fact| fact.sole.is_some() && !fact.reopens;
    let (fresh, others): (Vec<&Fact>, Vec<&Fact>) = match again {
        false if facts.len() >= fresh::FEW => facts.iter().copied().partition(is_new),
        _ => (Vec::new(), facts.to_vec()),
    };
    if !fresh.is_empty() {
        fresh::write(db, &fresh).await?;
        states.extend(fresh.iter().map(|fact| (fact.delivery, fact.state)));
    }
    for reopens in [false, true] {
        let facts: Vec<&Fact> = others.iter().copied().filter(|fact| fact.reopens == reopens).collect();
        states.extend(upsert(db, &facts, reopens, outcomes.wanted()).await?);
    }
    let after = endings(db, &known).await?;
    for fact in facts {
        let (broadcast, subscriber) = recipient(fact);
        let of = |endings: &BTreeMap<Recipient, Ending>| endings.get(&recipient(fact)).copied().unwrap_or_default();
        let (before, after) =
            if fact.sole.is_some() { (Ending::default(), Ending::sole(fact)) } else { (of(&before), of(&after)) };
        moved(tally, broadcast, subscriber, before, after);
        if let Some(state) = states.get(&fact.delivery) {
            outcomes.came(fact, *state, before, after);
        }
    }
    attempt::written(db, facts).await?;
    refer(db, facts).await
}

fn each(facts: &[&Fact], of: impl Fn(&Fact) -> i64) -> Vec<i64> {
    facts.iter().map(|fact| of(fact)).collect()
}

fn texts(facts: &[&Fact], of: impl Fn(&Fact) -> Option<&str>) -> Vec<Option<String>> {
    facts.iter().map(|fact| of(fact).map(str::to_string)).collect()
}

/// Answers, where it is `asked`, how each stands then that was merged.
async fn upsert(db: &Db, facts: &[&Fact], reopens: bool, asked: bool) -> Result<Vec<(DeliveryId, DeliveryState)>> {
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    let values = values![
        each(facts, |fact| fact.delivery.broadcast.0),
        each(facts, |fact| fact.delivery.subscriber.0),
        each(facts, |fact| fact.delivery.place.into()),
        each(facts, |fact| fact.state as i64),
        each(facts, |fact| fact.channel.0.into()),
        each(facts, |fact| fact.began.0),
        each(facts, |fact| fact.ended.0),
        each(facts, |fact| fact.tries.into()),
        texts(facts, |fact| fact.detail.as_deref()),
        texts(facts, |fact| fact.reference.as_deref()),
        each(facts, |fact| fact.priority.rank().into()),
        each(facts, |fact| fact.lane.0.into()),
        each(facts, |fact| fact.due.0),
        each(facts, |fact| fact.entered.unwrap_or(0)),
        reopens
    ];
    if !asked {
        run(db, UPSERT, values).await?;
        return Ok(Vec::new());
    }
    let sql = format!("{UPSERT} RETURNING d.broadcast, d.subscriber, d.place, d.state");
    all(db, &sql, values, |row| Ok((delivery_id(row)?, DeliveryState::from_number(row.get(3)?)))).await
}

/// What receipts are matched by. A platform that gives a reference again means the newer one: the last of a batch stands.
async fn refer(db: &Db, facts: &[&Fact]) -> Result<()> {
    let indexed = facts.iter().copied().filter(|fact| fact.indexed);
    let named: BTreeMap<(u16, &str), &Fact> =
        indexed.filter_map(|fact| Some(((fact.channel.0, fact.reference.as_deref()?), fact))).collect();
    if named.is_empty() {
        return Ok(());
    }
    let facts: Vec<&Fact> = named.into_values().collect();
    run(
        db,
        "INSERT INTO reference (channel, ref, broadcast, subscriber, place)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
         ON CONFLICT (channel, ref) DO UPDATE SET broadcast = excluded.broadcast, subscriber = excluded.subscriber,
           place = excluded.place",
        values![
            each(&facts, |fact| fact.channel.0.into()),
            texts(&facts, |fact| fact.reference.as_deref()),
            each(&facts, |fact| fact.delivery.broadcast.0),
            each(&facts, |fact| fact.delivery.subscriber.0),
            each(&facts, |fact| fact.delivery.place.into())
        ],
    )
    .await
    .map(drop)
}

/// Where recipients stand. Asked broadcast by broadcast, so that each is looked for in its own partition alone.
pub async fn endings(db: &Db, of: &[Recipient]) -> Result<BTreeMap<Recipient, Ending>> {
    let mut wanted: BTreeMap<BroadcastId, Vec<i64>> = BTreeMap::new();
    for (broadcast, subscriber) in of {
        wanted.entry(*broadcast).or_default().push(subscriber.0);
    }
    let mut endings = BTreeMap::new();
    for (broadcast, subscribers) in wanted {
        let sql = "SELECT subscriber, state, lane, receipt IS NOT DISTINCT FROM 'unconfirmed' FROM delivery
             WHERE broadcast = $1 AND subscriber = ANY($2)";
        let rows = all(db, sql, values![broadcast.0, subscribers], |row| {
            let state = DeliveryState::from_number(row.get(1)?);
            Ok((SubscriberId(row.get(0)?), (state, ChannelId(row.get(2)?), row.get::<bool>(3)?)))
        });
        let mut by: BTreeMap<SubscriberId, Vec<_>> = BTreeMap::new();
        for (subscriber, row) in rows.await? {
            by.entry(subscriber).or_default().push(row);
        }
        endings.extend(by.into_iter().map(|(subscriber, rows)| ((broadcast, subscriber), Ending::of(&rows))));
    }
    Ok(endings)
}

pub async fn ending(db: &Db, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Ending> {
    Ok(endings(db, &[(broadcast, subscriber)]).await?.into_values().next().unwrap_or_default())
}

/// Adds the changes to the counters; answers how many recipients have ended in each broadcast.
pub async fn count(db: &Db, tally: &Tally) -> Result<BTreeMap<BroadcastId, i64>> {
    let mut ended = BTreeMap::new();
    if tally.is_empty() {
        return Ok(ended);
    }
    let of =
        |name: &str| -> Vec<i64> { tally.values().map(|counters| counters.get(name).copied().unwrap_or(0)).collect() };
    run(
        db,
        "INSERT INTO progress AS p (broadcast, shard, cursor, epoch, told, unknown, unreachable, superseded, cancelled, expired,
           told_open)
         SELECT broadcast, shard, 0, 0, told, unknown, unreachable, superseded, cancelled, expired, told_open
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
           $8::bigint[], $9::bigint[]) AS row (broadcast, shard, told, unknown, unreachable, superseded, cancelled, expired, told_open)
         ON CONFLICT (broadcast, shard) DO UPDATE SET told = p.told + excluded.told, unknown = p.unknown + excluded.unknown,
           unreachable = p.unreachable + excluded.unreachable, superseded = p.superseded + excluded.superseded,
           cancelled = p.cancelled + excluded.cancelled, expired = p.expired + excluded.expired,
           told_open = p.told_open + excluded.told_open",
        values![
            tally.keys().map(|(broadcast, _)| *broadcast).collect::<Vec<i64>>(),
            tally.keys().map(|(_, shard)| i64::from(*shard)).collect::<Vec<i64>>(),
            of("told"),
            of("unknown"),
            of("unreachable"),
            of("superseded"),
            of("cancelled"),
            of("expired"),
            of("told_open")
        ],
    )
    .await?;
    for ((broadcast, _), counters) in tally {
        *ended.entry(BroadcastId(*broadcast)).or_default() += ended_by(counters);
    }
    Ok(ended)
}

pub async fn due(
    db: &Db,
    node: i64,
    lane: ChannelId,
    priority: Priority,
    now: Time,
    limit: usize,
) -> Result<Vec<OpenRow>> {
    all(
        db,
        "SELECT d.broadcast, d.subscriber, d.place, d.channel, d.tries, d.due, d.entered > 0 AND d.entered <> s.epoch
         FROM delivery d JOIN shard s ON s.id = (d.subscriber >> 48)::int AND s.node = $1
         WHERE d.state = 0 AND d.lane = $2 AND d.priority = $3 AND d.due <= $4
         ORDER BY d.due, d.broadcast, d.subscriber, d.place LIMIT $5",
        values![node, lane.0, priority.rank(), now.0, limit as i64],
        |row| {
            Ok(OpenRow {
                delivery: delivery_id(row)?,
                channel: ChannelId(row.get(3)?),
                lane,
                tries: row.get(4)?,
                priority,
                due: Time(row.get(5)?),
                perhaps: row.get(6)?,
            })
        },
    )
    .await
}

/// Of a row that begins with it.
pub fn delivery_id(row: &Row) -> Result<DeliveryId> {
    Ok(DeliveryId { broadcast: BroadcastId(row.get(0)?), subscriber: SubscriberId(row.get(1)?), place: row.get(2)? })
}

pub async fn next_due(db: &Db, node: i64, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>> {
    let sql = format!(
        "SELECT d.due FROM delivery d WHERE d.state = 0 AND d.lane = $2 AND d.priority = $3 AND d.due > $4 AND {OWN}
         ORDER BY d.due LIMIT 1"
    );
    first(db, &sql, values![node, lane.0, priority.rank(), now.0], |row| row.get(0).map(Time)).await
}

/// All that a new decision about open rows needs.
pub async fn again(db: &Db, broadcast: &Broadcast, rows: &[OpenRow]) -> Result<Vec<Again>> {
    let who: Vec<i64> = rows.iter().map(|row| row.delivery.subscriber.0).collect();
    let people = subscriber::many(db, who.clone()).await?;
    let sql = "SELECT subscriber, place, state, channel, coalesce(receipt, '') IN ('delivered', 'read') FROM delivery
         WHERE broadcast = $1 AND subscriber = ANY($2) ORDER BY subscriber, place";
    let known = all(db, sql, values![broadcast.id.0, who.clone()], |row| {
        let state = DeliveryState::from_number(row.get(2)?);
        Ok((row.get::<i64>(0)?, (row.get(1)?, state, ChannelId(row.get(3)?), row.get(4)?)))
    });
    let mut known_rows: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for (subscriber, row) in known.await? {
        known_rows.entry(subscriber).or_default().push(row);
    }
    let attempts = attempt::of_many(db, broadcast.id, who).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let who = row.delivery.subscriber;
        found.push(Again {
            subscriber: people.get(&who).cloned(),
            told: !manifest::told(db, broadcast, who, who).await?.is_empty(),
            rows: known_rows.get(&who.0).cloned().unwrap_or_default(),
            attempts: attempts.get(&who.0).cloned().unwrap_or_default(),
            row: row.clone(),
        });
    }
    Ok(found)
}

pub async fn wake(db: &Db, node: i64, blocked: &[ChannelId], now: Time) -> Result<()> {
    let lanes: Vec<i64> = [&[UNDECIDED], blocked].into_iter().flatten().map(|lane| lane.0.into()).collect();
    let sql = format!(
        "UPDATE delivery d SET due = $3 WHERE d.state = 0 AND d.lane = ANY($2::bigint[]) AND d.due > $3 AND {OWN}"
    );
    run(db, &sql, values![node, lanes, now.0]).await.map(drop)
}
