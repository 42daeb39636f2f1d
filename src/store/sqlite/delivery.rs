//! Deliveries: facts merged by upsert in any order, counters moved with them, open rows read back when due.

use std::collections::{BTreeMap, BTreeSet};

use ring::hmac;
use rusqlite::{Connection, OptionalExtension};

use super::manifest::For;
use super::rows::{all, first, journal_outcomes, run};
use super::shard::{OWN, PERHAPS};
use super::{manifest, receipt, shard, subscriber};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::plan::Priority;
use crate::store::outcomes::Outcomes;
use crate::store::tally::{Ending, Tally, ended_by, moved};
use crate::store::{
    Again, AttemptRow, DeliveryState, Fact, ManifestKey, OpenRow, Result, SHARDS, Try, UNDECIDED, Written,
};

const UPSERT: &str = "INSERT INTO delivery VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, ?11, ?12, ?13, ?15)
  ON CONFLICT DO UPDATE SET state = CASE WHEN receipt = 'unconfirmed' AND excluded.state BETWEEN 1 AND 6 THEN 7
      ELSE excluded.state END, channel = excluded.channel, began = excluded.began, ended = excluded.ended,
    tries = excluded.tries, detail = excluded.detail, ref = coalesce(excluded.ref, ref), priority = excluded.priority,
    lane = excluded.lane, due = excluded.due, entered = excluded.entered,
    receipt = CASE WHEN ?14 AND receipt = 'bounced' THEN NULL ELSE receipt END
  WHERE excluded.state >= delivery.state OR ?14 AND (delivery.state IN (1, 5, 6) OR delivery.receipt = 'unconfirmed')";

/// Facts of shards that are another's by now are taken, too: whether they are the first of a recipient is then no longer known.
pub fn record(
    db: &Connection,
    key: &hmac::Key,
    facts: &[Fact],
    closed: &[ManifestKey],
    mut outcomes: Outcomes,
) -> Result<Written> {
    let mut tally = Tally::new();
    let mut suppressed = BTreeSet::new();
    let early = !facts.is_empty() && first(db, "SELECT 1 FROM receipt LIMIT 1", [], |_| Ok(()))?.is_some();
    let sql = if outcomes.wanted() { &format!("{UPSERT} RETURNING state") } else { UPSERT };
    let mut upsert = db.prepare_cached(sql).map_err(super::failed)?;
    let mut epochs = [None; SHARDS as usize];
    for fact in facts {
        let DeliveryId { broadcast, subscriber, place } = fact.delivery;
        let sole = match (fact.sole, epochs.get_mut(usize::from(subscriber.shard()))) {
            (Some(sole), Some(known)) => {
                let current = match *known {
                    Some(current) => current,
                    None => *known.insert(shard::epoch(db, subscriber.shard())?),
                };
                current == Some(sole) || fault::on(Fault::FormerOwnersFactFirst)
            }
            _ => false,
        };
        let before = if sole { Ending::default() } else { ending(db, broadcast, subscriber)? };
        let values = rusqlite::params![
            broadcast.0,
            subscriber.0,
            place,
            fact.state as i64,
            fact.channel.0,
            fact.began.0,
            fact.ended.0,
            fact.tries,
            fact.detail,
            fact.reference,
            fact.priority.rank(),
            fact.lane.0,
            fact.due.0,
            fact.reopens,
            fact.entered.unwrap_or(0)
        ];
        // As it stands then, where this fact was merged.
        let state = match outcomes.wanted() {
            true => upsert.query_row(values, |row| row.get::<_, i64>(0)).optional(),
            false => upsert.execute(values).map(|_| None),
        };
        let state = state.map_err(super::failed)?;
        let after = match sole {
            true => Ending::sole(fact),
            false => ending(db, broadcast, subscriber)?,
        };
        moved(&mut tally, broadcast, subscriber, before, after);
        if let Some(state) = state {
            outcomes.came(fact, DeliveryState::from_number(state), before, after);
        }
        for made in Try::of(fact) {
            attempt(db, fact, &made)?;
        }
        if let Some(reference) = fact.reference.as_ref().filter(|_| fact.indexed) {
            run(
                db,
                "INSERT OR REPLACE INTO reference VALUES (?1, ?2, ?3, ?4, ?5)",
                (fact.channel.0, reference, broadcast.0, subscriber.0, place),
            )?;
        }
        if fact.suppress {
            subscriber::suppress_place(db, key, subscriber, place, "rejected", fact.ended)?;
            suppressed.insert(subscriber);
        }
        if early && receipt::catch_up(db, key, fact, &mut tally, &mut outcomes)? {
            suppressed.insert(subscriber);
        }
    }
    journal_outcomes(db, &mut outcomes)?;
    for ManifestKey { broadcast, shard, number } in closed {
        run(
            db,
            "UPDATE manifest SET open = 0 WHERE broadcast = ?1 AND shard = ?2 AND number = ?3",
            (broadcast.0, shard, number),
        )?;
    }
    Ok(Written { ended: count(db, &tally)?, suppressed })
}

fn attempt(db: &Connection, fact: &Fact, made: &Try<'_>) -> Result<()> {
    let DeliveryId { broadcast, subscriber, place } = fact.delivery;
    run(
        db,
        // Where the calendar stands still, two attempts would begin at one time: the later one is the later one.
        "INSERT OR IGNORE INTO attempt SELECT ?1, ?2, ?3,
           max(?4, coalesce((SELECT max(began) + 1 FROM attempt WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3), ?4)),
           0, ?5, ?6, ?7, ?8, ?9",
        (
            broadcast.0,
            subscriber.0,
            place,
            fact.began.0,
            made.channel.0,
            made.outcome,
            made.fault,
            made.detail,
            made.reference,
        ),
    )
    .map(drop)
}

pub fn ending(db: &Connection, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Ending> {
    let rows = all(
        db,
        "SELECT state, lane, receipt IS 'unconfirmed' FROM delivery WHERE broadcast = ?1 AND subscriber = ?2",
        (broadcast.0, subscriber.0),
        |row| Ok((DeliveryState::from_number(row.get(0)?), ChannelId(row.get(1)?), row.get::<_, bool>(2)?)),
    )?;
    Ok(Ending::of(&rows))
}

/// Adds the changes to the counters; answers how many recipients have ended in each broadcast.
pub fn count(db: &Connection, tally: &Tally) -> Result<BTreeMap<BroadcastId, i64>> {
    let mut ended = BTreeMap::new();
    for ((broadcast, shard), counters) in tally {
        let of = |name: &str| counters.get(name).copied().unwrap_or(0);
        run(
            db,
            "INSERT INTO progress (broadcast, shard, cursor, epoch, told, unknown, unreachable, superseded, cancelled, expired, told_open)
             VALUES (?1, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT DO UPDATE SET told = told + excluded.told, unknown = unknown + excluded.unknown,
               unreachable = unreachable + excluded.unreachable, superseded = superseded + excluded.superseded,
               cancelled = cancelled + excluded.cancelled, expired = expired + excluded.expired,
               told_open = told_open + excluded.told_open",
            (
                broadcast,
                shard,
                of("told"),
                of("unknown"),
                of("unreachable"),
                of("superseded"),
                of("cancelled"),
                of("expired"),
                of("told_open"),
            ),
        )?;
        *ended.entry(BroadcastId(*broadcast)).or_default() += ended_by(counters);
    }
    Ok(ended)
}

pub fn due(
    db: &Connection,
    node: i64,
    lane: ChannelId,
    priority: Priority,
    now: Time,
    limit: usize,
) -> Result<Vec<OpenRow>> {
    all(
        db,
        &format!(
            "SELECT broadcast, subscriber, place, channel, tries, due, {PERHAPS} FROM delivery
             WHERE state = 0 AND lane = ?2 AND priority = ?3 AND due <= ?4 AND {OWN}
             ORDER BY due, broadcast, subscriber, place LIMIT ?5"
        ),
        (node, lane.0, priority.rank(), now.0, limit as i64),
        |row| {
            Ok(OpenRow {
                delivery: DeliveryId {
                    broadcast: BroadcastId(row.get(0)?),
                    subscriber: SubscriberId(row.get(1)?),
                    place: row.get(2)?,
                },
                channel: ChannelId(row.get(3)?),
                lane,
                tries: row.get(4)?,
                priority,
                due: Time(row.get(5)?),
                perhaps: row.get(6)?,
            })
        },
    )
}

pub fn next_due(db: &Connection, node: i64, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>> {
    let sql = format!(
        "SELECT due FROM delivery WHERE state = 0 AND lane = ?2 AND priority = ?3 AND due > ?4 AND {OWN} ORDER BY due LIMIT 1"
    );
    first(db, &sql, (node, lane.0, priority.rank(), now.0), |row| row.get(0).map(Time))
}

/// All that a new decision about open rows needs.
pub fn again(db: &Connection, of: &For, rows: Vec<OpenRow>) -> Result<Vec<Again>> {
    let mut found = Vec::with_capacity(rows.len());
    // One transaction: each statement on its own would lock and unlock the file.
    let _reading = db.unchecked_transaction().map_err(super::failed)?;
    for row in rows {
        let who = row.delivery.subscriber;
        let told = !manifest::told(db, of, who, who)?.is_empty();
        let rows = all(
            db,
            "SELECT place, state, channel, coalesce(receipt, '') IN ('delivered', 'read') FROM delivery
             WHERE broadcast = ?1 AND subscriber = ?2",
            (of.id.0, who.0),
            |row| Ok((row.get(0)?, DeliveryState::from_number(row.get(1)?), ChannelId(row.get(2)?), row.get(3)?)),
        )?;
        let attempts = attempts(db, of.id, who)?;
        found.push(Again { subscriber: subscriber::one(db, who)?, told, rows, attempts, row });
    }
    Ok(found)
}

pub fn attempts(db: &Connection, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Vec<AttemptRow>> {
    all(
        db,
        "SELECT place, channel, began, outcome, fault, detail, ref FROM attempt
         WHERE broadcast = ?1 AND subscriber = ?2 ORDER BY place, began",
        (broadcast.0, subscriber.0),
        |row| {
            Ok(AttemptRow {
                place: row.get(0)?,
                channel: ChannelId(row.get(1)?),
                began: Time(row.get(2)?),
                outcome: row.get(3)?,
                fault: row.get(4)?,
                detail: row.get(5)?,
                reference: row.get(6)?,
            })
        },
    )
}

pub fn wake(db: &Connection, node: i64, blocked: &[ChannelId], now: Time) -> Result<()> {
    let sql = format!("UPDATE delivery SET due = ?3 WHERE state = 0 AND lane = ?2 AND due > ?3 AND {OWN}");
    for lane in [&[UNDECIDED], blocked].into_iter().flatten() {
        run(db, &sql, (node, lane.0, now.0))?;
    }
    Ok(())
}
