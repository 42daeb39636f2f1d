//! Receipts: matched to a delivery by our id or the platform's reference, or kept until the outcome comes.

use std::collections::BTreeSet;

use ring::hmac;
use serde_json::json;

use super::connection::Db;
use super::delivery::{count, delivery_id, ending};
use super::rows::{all, first, run, word};
use super::value::values;
use super::{broadcast, confirm, lock, subscriber};
use crate::audience::route::ChannelId;
use crate::channel::Fault;
use crate::clock::Time;
use crate::id::DeliveryId;
use crate::store::tally::{Ending, Tally, moved};
use crate::store::{BroadcastState, DeliveryState, Fact, Matching, Notice, ReceiptFact, Reported, Result, UNCONFIRMED};

/// Answers what it changed.
pub async fn take(db: &Db, key: &hmac::Key, receipt: &ReceiptFact) -> Result<Option<Reported>> {
    let mut delivery = find(db, receipt).await?;
    if delivery.is_none() {
        // Outcomes that are being written may name it: they are waited for, and others wait until this one is kept for them.
        lock::receipts(db).await?;
        delivery = find(db, receipt).await?;
    }
    if let Some(delivery) = delivery {
        if receipt.bounced() {
            lock::incident_of(db, delivery.broadcast).await?; // which may run again
        }
        lock::recipients(db, [(delivery.broadcast, delivery.subscriber.shard())]).await?;
        let first = unreported(db, delivery, receipt).await?;
        let mut tally = Tally::new();
        if let Some(Applied { opened, suppressed, late }) = apply(db, key, delivery, receipt, &mut tally).await? {
            let ended = count(db, &tally).await?.values().sum();
            return Ok(Some(Reported { delivery, ended, first, opened, suppressed, late }));
        }
    }
    run(
        db,
        "INSERT INTO receipt VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        values![
            receipt.channel.0,
            receipt.matching.name(),
            receipt.status.word(),
            receipt.fault.map(|fault| fault.word()),
            receipt.at.0,
            &receipt.detail
        ],
    )
    .await?;
    Ok(None)
}

async fn find(db: &Db, receipt: &ReceiptFact) -> Result<Option<DeliveryId>> {
    match &receipt.matching {
        Matching::Delivery(delivery) => Ok(Some(*delivery)),
        Matching::Reference(reference) => {
            let sql = "SELECT broadcast, subscriber, place FROM reference WHERE channel = $1 AND ref = $2";
            first(db, sql, values![receipt.channel.0, reference], delivery_id).await
        }
    }
}

/// When the attempt began that a receipt is about, if nothing has been reported about it.
async fn unreported(db: &Db, delivery: DeliveryId, receipt: &ReceiptFact) -> Result<Option<Time>> {
    first(
        db,
        "SELECT began FROM delivery WHERE broadcast = $1 AND subscriber = $2 AND place = $3 AND channel = $4
           AND coalesce(receipt, 'unconfirmed') = 'unconfirmed'",
        values![delivery.broadcast.0, delivery.subscriber.0, delivery.place, receipt.channel.0],
        |row| row.get(0).map(Time),
    )
    .await
}

/// Under which names receipts may wait for an outcome.
fn names(fact: &Fact) -> impl Iterator<Item = String> {
    std::iter::once(Matching::Delivery(fact.delivery).name()).chain(fact.reference.clone())
}

/// Of these, the facts that receipts wait for.
pub async fn awaited<'a>(db: &Db, facts: &[&'a Fact]) -> Result<Vec<&'a Fact>> {
    let (mut channels, mut refs) = (Vec::new(), Vec::new());
    for fact in facts {
        for name in names(fact) {
            channels.push(i64::from(fact.channel.0));
            refs.push(name);
        }
    }
    let sql = "SELECT r.channel, r.ref FROM receipt r JOIN unnest($1::bigint[], $2::text[]) AS of (channel, ref)
           ON r.channel = of.channel AND r.ref = of.ref";
    let waiting = all(db, sql, values![channels, refs], |row| Ok((ChannelId(row.get(0)?), row.get::<String>(1)?)));
    let waiting: BTreeSet<(ChannelId, String)> = waiting.await?.into_iter().collect();
    let is_awaited = |fact: &&Fact| names(fact).any(|name| waiting.contains(&(fact.channel, name)));
    Ok(facts.iter().copied().filter(is_awaited).collect())
}

/// Receipts that came before this outcome; answers whether one of them suppressed the address.
pub async fn catch_up(db: &Db, key: &hmac::Key, fact: &Fact, tally: &mut Tally) -> Result<bool> {
    let mut suppressed = false;
    for name in names(fact) {
        let sql = "SELECT status, fault, at, detail FROM receipt WHERE channel = $1 AND ref = $2 ORDER BY status";
        let waiting = all(db, sql, values![fact.channel.0, &name], |row| {
            Ok(ReceiptFact {
                channel: fact.channel,
                matching: Matching::Delivery(fact.delivery),
                status: word(row, 0)?,
                fault: row.get::<Option<String>>(1)?.and_then(|word| word.parse().ok()),
                at: Time(row.get(2)?),
                detail: row.get(3)?,
            })
        });
        for receipt in waiting.await? {
            if let Some(applied) = apply(db, key, fact.delivery, &receipt, tally).await? {
                suppressed |= applied.suppressed;
                let sql = "DELETE FROM receipt WHERE channel = $1 AND ref = $2 AND status = $3";
                run(db, sql, values![fact.channel.0, &name, receipt.status.word()]).await?;
            }
        }
    }
    Ok(suppressed)
}

/// What a receipt has led to.
#[derive(Debug, Clone, Copy, Default)]
struct Applied {
    opened: bool,
    suppressed: bool,
    late: bool,
}

/// `None` where the outcome that it is about is not known yet.
async fn apply(
    db: &Db,
    key: &hmac::Key,
    delivery: DeliveryId,
    receipt: &ReceiptFact,
    tally: &mut Tally,
) -> Result<Option<Applied>> {
    let DeliveryId { broadcast, subscriber: who, place } = delivery;
    let known = first(
        db,
        "SELECT state, channel, receipt FROM delivery WHERE broadcast = $1 AND subscriber = $2 AND place = $3",
        values![broadcast.0, who.0, place],
        |row| {
            let state = DeliveryState::from_number(row.get(0)?);
            Ok((state, ChannelId(row.get(1)?), row.get::<Option<String>>(2)?))
        },
    )
    .await?;
    let Some((state, channel, reported)) = known else { return Ok(None) };
    let arrived = receipt.arrived();
    // Two channels may have led here, one after the other: a report is about the attempt of its own.
    let earlier = channel != receipt.channel;
    let bounces = receipt.bounced();
    if bounces && state == DeliveryState::Open && !earlier {
        // It is about to be sent again, and the platform may drop it as known: this counts once that has an outcome.
        return Ok(None);
    }
    let before = ending(db, broadcast, who).await?;
    let mut applied = Applied::default();
    if bounces && earlier {
        earlier_bounced(db, delivery, receipt, reported.as_deref() == Some(UNCONFIRMED)).await?;
    } else {
        run(
            db,
            "UPDATE delivery SET receipt = $4::text, lane = CASE WHEN lane = 65535 THEN channel ELSE lane END
             WHERE broadcast = $1 AND subscriber = $2 AND place = $3
               AND NOT (coalesce(receipt, '') IN ('read', 'bounced') AND $4::text = 'delivered')",
            values![broadcast.0, who.0, place, receipt.status.word()],
        )
        .await?;
    }
    // It arrived: whatever was thought of this try before, whatever a later one was answered, and whatever became of its broadcast
    // since. Another try that is due is no longer needed.
    if arrived && state != DeliveryState::Told && reported.as_deref() != Some("bounced") {
        set(db, delivery, DeliveryState::Told, &receipt.detail).await?;
    }
    if bounces && !earlier && matches!(state, DeliveryState::Told | DeliveryState::Unknown) {
        set(db, delivery, DeliveryState::Rejected, &receipt.detail).await?;
        applied.opened = try_on(db, delivery, receipt).await?;
    }
    if let Some(reason) = receipt.suppresses() {
        subscriber::suppress_place(db, key, who, place, reason, receipt.at).await?;
        applied.suppressed = true;
    }
    if arrived {
        confirm::confirmed(db, broadcast, who).await?;
        applied.late = confirm::given_up(db, broadcast, who).await?;
        if applied.late {
            db.notice(Notice::Confirmed(broadcast.0, who.0));
        }
    }
    let after = ending(db, broadcast, who).await?;
    moved(tally, broadcast, who, before, after);
    db.journal(
        receipt.at,
        "receipt",
        &json!({ "broadcast": broadcast, "subscriber": who, "place": place, "status": receipt.status, "fault": receipt.fault,
            "channel": receipt.channel.0, "recipient": Ending::changed(before, after) }),
    )?;
    Ok(Some(applied))
}

async fn set(db: &Db, of: DeliveryId, state: DeliveryState, detail: &str) -> Result<()> {
    let sql = "UPDATE delivery SET state = $4, detail = $5 WHERE broadcast = $1 AND subscriber = $2 AND place = $3";
    run(db, sql, values![of.broadcast.0, of.subscriber.0, of.place, state as i64, detail]).await.map(drop)
}

/// What an earlier channel was thought to have done here, it has not. What a later one did stands; where nobody was sure of the
/// earlier one, that it told them is no longer said.
async fn earlier_bounced(db: &Db, of: DeliveryId, receipt: &ReceiptFact, unconfirmed: bool) -> Result<()> {
    run(
        db,
        "UPDATE attempt SET outcome = 'rejected', fault = $5, detail = $6
         WHERE broadcast = $1 AND subscriber = $2 AND place = $3 AND channel = $4 AND outcome IN ('unknown', 'unconfirmed')",
        values![
            of.broadcast.0,
            of.subscriber.0,
            of.place,
            receipt.channel.0,
            receipt.fault.unwrap_or(Fault::Message).word(),
            &receipt.detail
        ],
    )
    .await?;
    if unconfirmed {
        run(
            db,
            "UPDATE delivery SET receipt = NULL, state = CASE WHEN state = 7 AND EXISTS (
                 SELECT 1 FROM attempt a WHERE a.broadcast = $1 AND a.subscriber = $2 AND a.place = $3
                   AND a.channel = delivery.channel AND a.outcome = 'rejected') THEN 5 ELSE state END
             WHERE broadcast = $1 AND subscriber = $2 AND place = $3",
            values![of.broadcast.0, of.subscriber.0, of.place],
        )
        .await?;
    }
    Ok(())
}

/// A bounce makes the recipient try on by another way, while the broadcast is current. False where it is not.
async fn try_on(db: &Db, delivery: DeliveryId, receipt: &ReceiptFact) -> Result<bool> {
    let DeliveryId { broadcast, subscriber: who, place } = delivery;
    lock::incident_of(db, broadcast).await?;
    let current = first(
        db,
        "SELECT b.state, d.channel, d.began, b.deadline, d.priority FROM broadcast b
         JOIN thread t ON t.incident = b.incident AND t.audience = b.audience
         JOIN delivery d ON d.broadcast = b.id AND d.subscriber = $2 AND d.place = $3
         WHERE b.id = $1 AND b.state IN (1, 2, 3) AND b.version >= t.latest AND b.deadline > $4",
        values![broadcast.0, who.0, place, receipt.at.0],
        |row| {
            let (state, deadline): (i64, i64) = (row.get(0)?, row.get(3)?);
            Ok((state, row.get::<i64>(1)?, row.get::<i64>(2)?, Time(deadline), row.get::<i64>(4)?))
        },
    )
    .await?;
    let Some((state, channel, began, deadline, priority)) = current else { return Ok(false) };
    // The way that bounced is left out of the new decision: its attempt says that it was rejected.
    run(
        db,
        "INSERT INTO attempt (broadcast, subscriber, place, began, node, channel, outcome, fault, detail, ref)
         SELECT $1, $2, $3, $4, 0, $5, 'rejected', $6, $7, ref FROM delivery
         WHERE broadcast = $1 AND subscriber = $2 AND place = $3
         ON CONFLICT (broadcast, subscriber, place, began, node) DO UPDATE SET channel = excluded.channel,
           outcome = excluded.outcome, fault = excluded.fault, detail = excluded.detail, ref = excluded.ref",
        values![
            broadcast.0,
            who.0,
            place,
            began,
            channel,
            receipt.fault.unwrap_or(Fault::Message).word(),
            &receipt.detail
        ],
    )
    .await?;
    confirm::open(db, broadcast, who, receipt.at, priority).await?;
    if BroadcastState::from_number(state) == BroadcastState::Done {
        broadcast::run_again(db, broadcast, deadline, receipt.at, "a report").await?;
    }
    Ok(true)
}
