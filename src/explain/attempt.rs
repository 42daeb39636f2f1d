//! The attempts at one address, and what follows from each answer by `retry::next`, against what followed.

use serde_json::{Value, json};

use super::{Channels, Compared, Recomputed};
use crate::audience::route::ChannelId;
use crate::channel::{Fault, Holds, Outcome, Repeat};
use crate::clock::Time;
use crate::dispatch::recorder::BEFORE_A_CRASH;
use crate::dispatch::retry::{self, Next};
use crate::store::PERHAPS;
use crate::store::{AttemptRow, DeliveryRow, DeliveryState, Recipient};

/// The word of a row among attempts that is none: a person wished it sent again.
const REPLAYED: &str = "replayed";
/// Accepted, and no receipt came in time.
const UNCONFIRMED: &str = "unconfirmed";

#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// 1 is the first; a wish to send it again has the number of the try before it.
    pub number: u32,
    pub began: Time,
    pub channel: String,
    pub outcome: String,
    pub fault: Option<String>,
    pub detail: Option<String>,
    pub reference: Option<String>,
    /// What follows from the answer.
    pub then: String,
    pub recomputed: Recomputed,
}

pub fn tries(recipient: &Recipient, row: &DeliveryRow, channels: &Channels) -> Vec<Try> {
    let mut attempts: Vec<AttemptRow> =
        recipient.attempts.iter().filter(|attempt| attempt.place == row.id.place).cloned().collect();
    attempts.extend(own(row, &attempts));
    let mut number = 0;
    let mut tries = Vec::with_capacity(attempts.len());
    for (at, attempt) in attempts.iter().enumerate() {
        if is_try(attempt) {
            number += 1;
        }
        let (then, recomputed) = judged(recipient, row, &attempts, at, number, channels);
        tries.push(Try {
            number,
            began: attempt.began,
            channel: channels.name(attempt.channel),
            outcome: attempt.outcome.clone(),
            fault: attempt.fault.clone(),
            detail: attempt.detail.clone(),
            reference: attempt.reference.clone(),
            then,
            recomputed,
        });
    }
    tries
}

/// A first try that ended it has no row of its own: the delivery's row says all.
fn own(row: &DeliveryRow, attempts: &[AttemptRow]) -> Option<AttemptRow> {
    let real = attempts.iter().filter(|attempt| is_try(attempt)).count() as u32;
    let told = row.state == DeliveryState::Told && !attempts.iter().any(|attempt| attempt.began >= row.began);
    if row.tries == 0 || (real >= row.tries && !told) {
        return None;
    }
    let outcome = match row.state {
        DeliveryState::Told => "accepted",
        DeliveryState::Unknown => "unknown",
        DeliveryState::Rejected => "rejected",
        DeliveryState::Superseded | DeliveryState::Cancelled | DeliveryState::Expired => "deferred",
        DeliveryState::Open | DeliveryState::Moved => return None,
    };
    Some(AttemptRow {
        place: row.id.place,
        channel: row.channel,
        began: row.began,
        outcome: outcome.into(),
        fault: None,
        detail: row.detail.clone(),
        reference: row.reference.clone(),
    })
}

/// The other rows say what happened between two tries.
fn is_try(attempt: &AttemptRow) -> bool {
    attempt.outcome != REPLAYED && attempt.outcome != PERHAPS
}

/// What an attempt's row says that the channel answered. How long it asked to be left alone is not kept.
fn answer(attempt: &AttemptRow) -> Option<Outcome> {
    let detail = attempt.detail.clone().unwrap_or_default();
    let deferred = |detail| Outcome::Deferred { after: None, holds: Holds::Channel, throttled: false, detail };
    Some(match attempt.outcome.as_str() {
        "accepted" | UNCONFIRMED => Outcome::Accepted { reference: attempt.reference.clone() },
        "deferred" => deferred(detail),
        "unknown" if detail.starts_with(BEFORE_A_CRASH) => deferred(detail),
        "unknown" => Outcome::Unknown { detail },
        "rejected" => {
            let fault = attempt.fault.as_deref().and_then(|fault| fault.parse().ok());
            Outcome::Rejected { fault: fault.unwrap_or(Fault::Message), detail }
        }
        _ => return None,
    })
}

fn judged(
    recipient: &Recipient,
    row: &DeliveryRow,
    attempts: &[AttemptRow],
    at: usize,
    number: u32,
    channels: &Channels,
) -> (String, Recomputed) {
    let attempt = &attempts[at];
    if attempt.outcome == PERHAPS {
        return ("it may have been under way when the process ended".into(), Recomputed::equal());
    }
    let Some(outcome) = answer(attempt) else {
        let by = attempt.detail.as_deref().unwrap_or("somebody");
        return (format!("{by} wanted it sent again"), Recomputed::equal());
    };
    if attempt.outcome == UNCONFIRMED {
        return ("the next route, too, since no receipt came in time".into(), Recomputed::equal());
    }
    let repeat = channels.repeat(attempt.channel);
    let next = retry::next(&outcome, number, recipient.broadcast.priority, repeat.unwrap_or(Repeat::Unsafe), 0.5);
    let then = says(next, &outcome);
    if repeat.is_none() && matches!(outcome, Outcome::Unknown { .. }) {
        let why = format!("{} is not set up any more", channels.name(attempt.channel));
        return (then, Recomputed::of(Compared::NotPossible, why));
    }
    let rejected_here = matches!(outcome, Outcome::Rejected { fault: Fault::Address | Fault::Message, .. });
    let leads = match attempts.get(at + 1) {
        Some(later) if later.outcome == REPLAYED => true,
        Some(later) => may_follow(next, attempt.channel, later.channel, rejected_here),
        None => may_stand(next, row, &attempts[..=at]),
    };
    match leads {
        true => (then, Recomputed::equal()),
        false => {
            let what = match attempts.get(at + 1) {
                Some(later) => format!("tried again by {}", channels.name(later.channel)),
                None => format!("{} now", row.state),
            };
            let why = format!("from try {number} follows: {then}; and it is {what}");
            (then, Recomputed::of(Compared::Differs, why))
        }
    }
}

/// Whether one try more at the same address may follow.
fn may_follow(next: Next, by: ChannelId, later: ChannelId, rejected_here: bool) -> bool {
    match next {
        // Accepted is accepted: nothing but a person's wish or a bounce, which changes the row, leads on.
        Next::End(DeliveryState::Told) => false,
        Next::Again(_) => true,
        // Another channel may reach the same address; a channel that was at fault itself may be back.
        Next::End(_) => by != later,
        Next::Elsewhere => by != later || !rejected_here,
    }
}

/// Whether the last try's answer may have led to the row as it stands. What is still open when its broadcast ends, or when the
/// person wants nothing any more, ends otherwise than its answer says; and a platform may report later.
fn may_stand(next: Next, row: &DeliveryRow, attempts: &[AttemptRow]) -> bool {
    use DeliveryState::{Rejected, Told, Unknown};
    let reported = row.receipt.is_some();
    let bounced = row.receipt.as_deref() == Some("bounced");
    let never_known = attempts.iter().any(|attempt| matches!(&*attempt.outcome, "unknown" | PERHAPS));
    match (next, row.state) {
        (Next::End(end), state) if end == state => true,
        (Next::End(Told | Unknown), Rejected) => bounced,
        (Next::End(Unknown), Told) => reported,
        (Next::End(_), _) => false,
        (_, Told) => reported,
        (Next::Again(_), Unknown) => never_known,
        (Next::Again(_) | Next::Elsewhere, _) => true,
    }
}

fn says(next: Next, outcome: &Outcome) -> String {
    match (next, outcome) {
        (Next::End(state), _) => format!("an end: {state}"),
        (Next::Again(_), Outcome::Rejected { fault: Fault::Gone, .. }) => {
            "a message of its own, since the one that it was to follow is gone".into()
        }
        (Next::Again(after), _) => format!("the same again, after {} s or as long as it asked", after.as_secs()),
        (Next::Elsewhere, Outcome::Unknown { .. }) => "another way, since nobody knows whether it arrived".into(),
        (Next::Elsewhere, Outcome::Rejected { fault: Fault::Channel, .. }) => {
            "another way, or this one when it works again".into()
        }
        (Next::Elsewhere, _) => "another way".into(),
    }
}

pub fn shown(one: &Try) -> Value {
    json!({
        "number": one.number, "began": one.began, "channel": one.channel, "outcome": one.outcome, "fault": one.fault,
        "detail": one.detail, "reference": one.reference, "then": one.then,
        "recomputed": one.recomputed.result, "recomputed_why": one.recomputed.why,
    })
}
