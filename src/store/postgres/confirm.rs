//! Confirmations that are waited for: told rows in the lane `CONFIRMS`, until a receipt comes or they are due. Who is told stays
//! told, whatever comes of the next route.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Db;
use super::delivery::{OWN, count, delivery_id, ending};
use super::lock;
use super::rows::{all, exists, first, run};
use super::value::values;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::plan::Priority;
use crate::store::tally::{Tally, moved};
use crate::store::{Notice, Result};

pub async fn lapse(
    db: &Db,
    node: i64,
    priority: Priority,
    now: Time,
    limit: usize,
) -> Result<BTreeMap<BroadcastId, i64>> {
    let of = |delivery: &DeliveryId| (delivery.broadcast, delivery.subscriber.shard());
    let locked: BTreeSet<(BroadcastId, u8)> = due(db, node, priority, now, limit).await?.iter().map(of).collect();
    lock::recipients(db, locked.iter().copied()).await?;
    // Read again, now that no receipt comes in between.
    let mut tally = Tally::new();
    for delivery in due(db, node, priority, now, limit).await?.iter().filter(|delivery| locked.contains(&of(delivery)))
    {
        let DeliveryId { broadcast, subscriber: who, place } = *delivery;
        let before = ending(db, broadcast, who).await?;
        run(
            db,
            "INSERT INTO attempt (broadcast, subscriber, place, began, node, channel, outcome, ref)
             SELECT broadcast, subscriber, place, began, 0, channel, 'unconfirmed', ref FROM delivery
             WHERE broadcast = $1 AND subscriber = $2 AND place = $3
             ON CONFLICT (broadcast, subscriber, place, began, node) DO UPDATE SET channel = excluded.channel,
               outcome = excluded.outcome, fault = NULL, detail = NULL, ref = excluded.ref",
            values![broadcast.0, who.0, place],
        )
        .await?;
        run(
            db,
            "UPDATE delivery SET lane = channel, receipt = coalesce(receipt, 'unconfirmed')
             WHERE broadcast = $1 AND subscriber = $2 AND place = $3",
            values![broadcast.0, who.0, place],
        )
        .await?;
        if current(db, broadcast).await? && !settled(db, broadcast, who).await? {
            open(db, broadcast, who, now, priority.rank().into()).await?;
        }
        moved(&mut tally, broadcast, who, before, ending(db, broadcast, who).await?);
    }
    count(db, &tally).await
}

async fn due(db: &Db, node: i64, priority: Priority, now: Time, limit: usize) -> Result<Vec<DeliveryId>> {
    let sql = format!(
        "SELECT d.broadcast, d.subscriber, d.place FROM delivery d
         WHERE d.lane = 65535 AND d.priority = $2 AND d.due <= $3 AND {OWN} ORDER BY d.due, d.broadcast, d.subscriber LIMIT $4"
    );
    all(db, &sql, values![node, priority.rank(), now.0, limit as i64], delivery_id).await
}

/// The recipient as a whole waits for another way, from now on.
pub async fn open(db: &Db, broadcast: BroadcastId, who: SubscriberId, now: Time, rank: i64) -> Result<()> {
    db.notice(Notice::Rows);
    run(
        db,
        "INSERT INTO delivery (broadcast, subscriber, place, state, channel, began, ended, tries, priority, lane, due)
         VALUES ($1, $2, 0, 0, 0, $3, $3, 0, $4, 0, $3)
         ON CONFLICT (broadcast, subscriber, place) DO UPDATE SET state = 0, due = excluded.due, lane = 0",
        values![broadcast.0, who.0, now.0, rank],
    )
    .await
    .map(drop)
}

/// Whether a broadcast still tells anybody.
async fn current(db: &Db, id: BroadcastId) -> Result<bool> {
    exists(db, "SELECT 1 FROM broadcast WHERE id = $1 AND state IN (1, 2)", values![id.0]).await
}

/// Whether a recipient has been confirmed by another way, or another confirmation is still waited for.
async fn settled(db: &Db, id: BroadcastId, who: SubscriberId) -> Result<bool> {
    let sql = "SELECT 1 FROM delivery WHERE broadcast = $1 AND subscriber = $2
           AND (lane = 65535 OR receipt IN ('delivered', 'read')) LIMIT 1";
    exists(db, sql, values![id.0, who.0]).await
}

/// A receipt has come: nobody waits for another any more, and what was to be told by the next route is not.
pub async fn confirmed(db: &Db, id: BroadcastId, who: SubscriberId) -> Result<()> {
    let sql = "UPDATE delivery SET lane = channel WHERE broadcast = $1 AND subscriber = $2 AND lane = 65535";
    run(db, sql, values![id.0, who.0]).await?;
    run(
        db,
        "UPDATE delivery SET state = 1 WHERE broadcast = $1 AND subscriber = $2 AND place = 0 AND state = 0 AND EXISTS
           (SELECT 1 FROM attempt a WHERE a.broadcast = $1 AND a.subscriber = $2 AND a.outcome = 'unconfirmed')",
        values![id.0, who.0],
    )
    .await
    .map(drop)
}

/// Whether a confirmation of theirs did not come in time.
pub async fn given_up(db: &Db, id: BroadcastId, who: SubscriberId) -> Result<bool> {
    let sql = "SELECT 1 FROM attempt WHERE broadcast = $1 AND subscriber = $2 AND outcome = 'unconfirmed' LIMIT 1";
    exists(db, sql, values![id.0, who.0]).await
}

pub async fn next(db: &Db, node: i64, priority: Priority) -> Result<Option<Time>> {
    let sql = format!(
        "SELECT d.due FROM delivery d WHERE d.lane = 65535 AND d.priority = $2 AND {OWN} ORDER BY d.due LIMIT 1"
    );
    first(db, &sql, values![node, priority.rank()], |row| row.get(0).map(Time)).await
}
