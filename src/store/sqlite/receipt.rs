//! Receipts: matched to a delivery by our id or the platform's reference, or kept until the outcome comes.

use ring::hmac;
use rusqlite::Connection;
use serde_json::json;

use super::broadcast::run_again;
use super::delivery::{count, ending};
use super::rows::{all, first, journal, journal_outcomes, run};
use super::{confirm, subscriber};
use crate::audience::route::ChannelId;
use crate::channel::Fault;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::store::outcomes::Outcomes;
use crate::store::tally::{Ending, Tally, moved};
use crate::store::{BroadcastState, DeliveryState, Fact, Matching, ReceiptFact, Reported, Result, UNCONFIRMED};

/// Answers what it changed.
pub fn take(db: &Connection, key: &hmac::Key, receipt: &ReceiptFact) -> Result<Option<Reported>> {
    let delivery = match &receipt.matching {
        Matching::Delivery(delivery) => Some(*delivery),
        Matching::Reference(reference) => first(
            db,
            "SELECT broadcast, subscriber, place FROM reference WHERE channel = ?1 AND ref = ?2",
            (receipt.channel.0, reference),
            |row| {
                Ok(DeliveryId {
                    broadcast: BroadcastId(row.get(0)?),
                    subscriber: SubscriberId(row.get(1)?),
                    place: row.get(2)?,
                })
            },
        )?,
    };
    let mut tally = Tally::new();
    let began = match delivery {
        Some(delivery) => unreported(db, delivery, receipt)?,
        None => None,
    };
    if let Some(delivery) = delivery
        && let Some(Applied { opened, suppressed, late }) = apply(db, key, delivery, receipt, &mut tally)?
    {
        let ended = count(db, &tally)?.values().sum();
        return Ok(Some(Reported { delivery, ended, first: began, opened, suppressed, late }));
    }
    run(
        db,
        "INSERT OR IGNORE INTO receipt VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            receipt.channel.0,
            receipt.matching.name(),
            receipt.status.word(),
            receipt.fault.map(|fault| fault.word()),
            receipt.at.0,
            &receipt.detail,
        ),
    )?;
    Ok(None)
}

/// When the attempt began that a receipt is about, if nothing has been reported about it.
fn unreported(db: &Connection, delivery: DeliveryId, receipt: &ReceiptFact) -> Result<Option<Time>> {
    first(
        db,
        "SELECT began FROM delivery WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3 AND channel = ?4
           AND coalesce(receipt, 'unconfirmed') = 'unconfirmed'",
        (delivery.broadcast.0, delivery.subscriber.0, delivery.place, receipt.channel.0),
        |row| Ok(Time(row.get(0)?)),
    )
}

/// Receipts that came before this outcome; answers whether one of them suppressed the address.
pub fn catch_up(
    db: &Connection,
    key: &hmac::Key,
    fact: &Fact,
    tally: &mut Tally,
    outcomes: &mut Outcomes,
) -> Result<bool> {
    let mut suppressed = false;
    let mut names = vec![Matching::Delivery(fact.delivery).name()];
    names.extend(fact.reference.clone());
    for name in names {
        let waiting = all(
            db,
            "SELECT status, fault, at, detail FROM receipt WHERE channel = ?1 AND ref = ?2",
            (fact.channel.0, &name),
            |row| {
                Ok(ReceiptFact {
                    channel: fact.channel,
                    matching: Matching::Delivery(fact.delivery),
                    status: super::rows::word(row, 0)?,
                    fault: row.get::<_, Option<String>>(1)?.and_then(|word| word.parse().ok()),
                    at: Time(row.get(2)?),
                    detail: row.get(3)?,
                })
            },
        )?;
        if !waiting.is_empty() {
            journal_outcomes(db, outcomes)?;
        }
        for receipt in waiting {
            if let Some(applied) = apply(db, key, fact.delivery, &receipt, tally)? {
                suppressed |= applied.suppressed;
                run(
                    db,
                    "DELETE FROM receipt WHERE channel = ?1 AND ref = ?2 AND status = ?3",
                    (fact.channel.0, &name, receipt.status.word()),
                )?;
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
fn apply(
    db: &Connection,
    key: &hmac::Key,
    delivery: DeliveryId,
    receipt: &ReceiptFact,
    tally: &mut Tally,
) -> Result<Option<Applied>> {
    let DeliveryId { broadcast, subscriber: who, place } = delivery;
    let at = (broadcast.0, who.0, place);
    let known = first(
        db,
        "SELECT state, channel, receipt FROM delivery WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
        at,
        |row| {
            let state = DeliveryState::from_number(row.get(0)?);
            Ok((state, ChannelId(row.get(1)?), row.get::<_, Option<String>>(2)?))
        },
    )?;
    let Some((state, channel, reported)) = known else { return Ok(None) };
    let arrived = receipt.arrived();
    // Two channels may have led here, one after the other: a report is about the attempt of its own.
    let earlier = channel != receipt.channel;
    let bounces = receipt.bounced();
    if bounces && state == DeliveryState::Open && !earlier {
        // It is about to be sent again, and the platform may drop it as known: this counts once that has an outcome.
        return Ok(None);
    }
    let before = ending(db, broadcast, who)?;
    let mut applied = Applied::default();
    if bounces && earlier {
        earlier_bounced(db, at, receipt, reported.as_deref() == Some(UNCONFIRMED))?;
    } else {
        run(
            db,
            "UPDATE delivery SET receipt = ?4, lane = iif(lane = 65535, channel, lane)
             WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3
               AND NOT (coalesce(receipt, '') IN ('read', 'bounced') AND ?4 = 'delivered')",
            (at.0, at.1, at.2, receipt.status.word()),
        )?;
    }
    let set = |state: DeliveryState| {
        run(
            db,
            "UPDATE delivery SET state = ?4, detail = ?5 WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
            (at.0, at.1, at.2, state as i64, &receipt.detail),
        )
    };
    // It arrived: whatever was thought of this try before, whatever a later one was answered, and whatever became of its broadcast
    // since. Another try that is due is no longer needed.
    if arrived && state != DeliveryState::Told && reported.as_deref() != Some("bounced") {
        set(DeliveryState::Told)?;
    }
    if bounces && !earlier && matches!(state, DeliveryState::Told | DeliveryState::Unknown) {
        set(DeliveryState::Rejected)?;
        applied.opened = try_on(db, delivery, receipt)?;
    }
    if let Some(reason) = receipt.suppresses() {
        subscriber::suppress_place(db, key, who, place, reason, receipt.at)?;
        applied.suppressed = true;
    }
    if arrived {
        confirm::confirmed(db, broadcast, who)?;
        applied.late = confirm::given_up(db, broadcast, who)?;
    }
    let after = ending(db, broadcast, who)?;
    moved(tally, broadcast, who, before, after);
    journal(
        db,
        receipt.at,
        "receipt",
        &json!({ "broadcast": broadcast, "subscriber": who, "place": place, "status": receipt.status, "fault": receipt.fault,
            "channel": receipt.channel.0, "recipient": Ending::changed(before, after) }),
    )?;
    Ok(Some(applied))
}

/// What an earlier channel was thought to have done here, it has not. What a later one did stands; where nobody was sure of the
/// earlier one, that it told them is no longer said.
fn earlier_bounced(db: &Connection, at: (i64, i64, u16), receipt: &ReceiptFact, unconfirmed: bool) -> Result<()> {
    run(
        db,
        "UPDATE attempt SET outcome = 'rejected', fault = ?5, detail = ?6
         WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3 AND channel = ?4 AND outcome IN ('unknown', 'unconfirmed')",
        (at.0, at.1, at.2, receipt.channel.0, receipt.fault.unwrap_or(Fault::Message).word(), &receipt.detail),
    )?;
    if unconfirmed {
        run(
            db,
            "UPDATE delivery SET receipt = NULL, state = iif(state = 7 AND EXISTS (
                 SELECT 1 FROM attempt a WHERE a.broadcast = ?1 AND a.subscriber = ?2 AND a.place = ?3
                   AND a.channel = delivery.channel AND a.outcome = 'rejected'), 5, state)
             WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
            at,
        )?;
    }
    Ok(())
}

/// A bounce makes the recipient try on by another way, while the broadcast is current. False where it is not.
fn try_on(db: &Connection, delivery: DeliveryId, receipt: &ReceiptFact) -> Result<bool> {
    let DeliveryId { broadcast, subscriber: who, place } = delivery;
    let current = first(
        db,
        "SELECT b.state, d.channel, d.began, b.deadline, d.priority FROM broadcast b
         JOIN thread t ON t.incident = b.incident AND t.audience = b.audience
         JOIN delivery d ON d.broadcast = b.id AND d.subscriber = ?2 AND d.place = ?3
         WHERE b.id = ?1 AND b.state IN (1, 2, 3) AND b.version >= t.latest AND b.deadline > ?4",
        (broadcast.0, who.0, place, receipt.at.0),
        |row| {
            let (state, deadline): (i64, i64) = (row.get(0)?, row.get(3)?);
            Ok((state, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, Time(deadline), row.get::<_, i64>(4)?))
        },
    )?;
    let Some((state, channel, began, deadline, priority)) = current else { return Ok(false) };
    // The way that bounced is left out of the new decision: its attempt says that it was rejected.
    run(
        db,
        "INSERT OR REPLACE INTO attempt SELECT ?1, ?2, ?3, ?4, 0, ?5, 'rejected', ?6, ?7, ref FROM delivery
         WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
        (broadcast.0, who.0, place, began, channel, receipt.fault.unwrap_or(Fault::Message).word(), &receipt.detail),
    )?;
    run(
        db,
        "INSERT INTO delivery VALUES (?1, ?2, 0, 0, 0, ?3, ?3, 0, NULL, NULL, NULL, ?4, 0, ?3, 0)
         ON CONFLICT DO UPDATE SET state = 0, due = excluded.due, lane = 0",
        (broadcast.0, who.0, receipt.at.0, priority),
    )?;
    if BroadcastState::from_number(state) == BroadcastState::Done {
        run_again(db, broadcast, deadline, receipt.at, "a report")?;
    }
    Ok(true)
}
