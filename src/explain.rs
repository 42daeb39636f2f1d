//! Why somebody was told, or not: by which way and why by this one, what was tried when, what each answer was, and what comes next.
//!
//! Enters what the store keeps of one person in one broadcast (`store::Recipient`), and the channels as they are set up. Leaves an
//! explanation, in words and as data. What it says was decided is decided once more by the same pure functions
//! (`dispatch::decide`, `retry::next`), and it says whether that is what was recorded.

mod attempt;
mod channels;
mod decision;
mod next;
mod says;

use ring::hmac;
use serde::Serialize;
use serde_json::{Value, json};

pub use self::attempt::Try;
pub use self::channels::Channels;
pub use self::next::Next;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId, UpdateId};
use crate::incident::words;
use crate::store::{DeliveryRow, DeliveryState, Recipient, Result, Store};
use crate::telemetry::masked;

words!(
    /// How a person ended in a broadcast.
    Ended {
        Open = "open", Told = "told", Unknown = "unknown", Unreachable = "unreachable", Skipped = "skipped",
        Superseded = "superseded", Cancelled = "cancelled", Expired = "expired", NotSelected = "not_selected",
    }
);

words!(
    /// What came of deciding once more.
    Compared {
        Equal = "equal", NothingRecorded = "nothing_recorded", NotPossible = "not_possible", Differs = "differs",
    }
);

/// What came of deciding once more, and, where it is not simply equal, why.
#[derive(Debug, Clone, PartialEq)]
pub struct Recomputed {
    pub result: Compared,
    pub why: Option<String>,
}

impl Recomputed {
    fn equal() -> Recomputed {
        Recomputed { result: Compared::Equal, why: None }
    }

    fn of(result: Compared, why: impl Into<String>) -> Recomputed {
        Recomputed { result, why: Some(why.into()) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    pub broadcast: BroadcastId,
    pub update: UpdateId,
    pub audience: String,
    /// `plan/step`.
    pub step: String,
    pub subscriber: SubscriberId,
    pub outcome: Ended,
    /// In one sentence.
    pub because: String,
    /// What the manifest says; null: nothing was decided for them.
    pub decision: Option<Value>,
    pub deliveries: Vec<Value>,
    /// What comes next for each delivery that is open, or for the recipient as a whole; empty: nothing does.
    pub next: Vec<Next>,
    pub recomputed: Compared,
    pub recomputed_why: Option<String>,
    /// All of it, as people read it.
    pub text: Vec<String>,
}

/// `None`: there is no such broadcast, or nobody by that number, today or when it was decided.
pub async fn explain(
    store: &dyn Store,
    channels: &Channels,
    key: &hmac::Key,
    broadcast: BroadcastId,
    who: SubscriberId,
) -> Result<Option<Explained>> {
    let Some(recipient) = store.recipient(broadcast, who).await? else { return Ok(None) };
    if recipient.today.is_none() && recipient.decided.is_none() {
        return Ok(None);
    }
    Ok(Some(explained(&recipient, channels, key, who)))
}

/// The explanation of what was read, purely.
pub fn explained(recipient: &Recipient, channels: &Channels, key: &hmac::Key, who: SubscriberId) -> Explained {
    let broadcast = &recipient.broadcast;
    let decided = decision::recomputed(recipient, channels);
    let mut text = vec![says::broadcast(recipient)];
    let because = says::because(recipient, channels, who);
    text.push(because.clone());
    text.extend(says::selection(recipient));
    text.extend(says::left_out(recipient, channels));
    text.push(says::recomputed(&decided));
    let mut worst = decided.clone();
    let mut deliveries = Vec::new();
    for row in recipient.rows.iter().filter(|row| row.id.place != 0) {
        let tries = attempt::tries(recipient, row, channels);
        text.push(says::delivery(recipient, row, channels));
        text.extend(tries.iter().map(|one| format!("  {}", says::attempt(one))));
        for one in &tries {
            if one.recomputed.result > worst.result {
                worst = one.recomputed.clone();
            }
        }
        deliveries.push(delivery(recipient, row, &tries, channels, key));
    }
    let next = next::next(recipient, channels);
    match next.is_empty() {
        true => text.push("Nothing comes next.".into()),
        false => text.extend(next.iter().map(|next| format!("Next: {}.", next.says))),
    }
    Explained {
        broadcast: broadcast.id,
        update: UpdateId { incident: broadcast.incident, number: broadcast.number },
        audience: broadcast.audience.clone(),
        step: format!("{}/{}", broadcast.plan, broadcast.step.name),
        subscriber: who,
        outcome: next::ended(recipient, who),
        because,
        decision: decision::shown(recipient, channels, &decided),
        deliveries,
        next,
        recomputed: worst.result,
        recomputed_why: worst.why,
        text,
    }
}

fn delivery(recipient: &Recipient, row: &DeliveryRow, tries: &[Try], channels: &Channels, key: &hmac::Key) -> Value {
    let DeliveryId { place, .. } = row.id;
    let address = channels::address(recipient, place);
    json!({
        "id": row.id.public(key), "place": place,
        "to": address.map(|address| json!({ "kind": address.kind, "address": masked(&address.value) })),
        "channel": channels.name(row.channel), "state": row.state, "began": row.began,
        "ended": (row.state != DeliveryState::Open).then_some(row.ended), "tries": row.tries, "detail": row.detail,
        "reference": row.reference, "receipt": row.receipt,
        "due": (row.state == DeliveryState::Open).then_some(row.due),
        "attempts": tries.iter().map(attempt::shown).collect::<Vec<Value>>(),
    })
}

/// Some time before which nothing of a broadcast was decided.
fn released(recipient: &Recipient) -> Time {
    recipient.broadcast.released.unwrap_or(recipient.broadcast.created)
}
