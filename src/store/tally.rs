//! How recipients come to an end, and what that changes in the counters of their broadcast.

use std::collections::BTreeMap;

use super::{CONFIRMS, DeliveryState, Fact};
use crate::audience::route::ChannelId;
use crate::id::{BroadcastId, SubscriberId};

/// Recipients that have come to an end, or to another one: (broadcast, shard) → change of each counter.
pub type Tally = BTreeMap<(i64, u8), Counters>;

pub type Counters = BTreeMap<&'static str, i64>;

/// Where a recipient stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// How they ended: the best of all their rows. `None` while one is open; but who is told, stays told.
    counter: Option<&'static str>,
    /// They are told, and something more is under way.
    open: bool,
}

impl Ending {
    /// By all their rows: state, lane, and whether a confirmation was waited for in vain.
    pub fn of(rows: &[(DeliveryState, ChannelId, bool)]) -> Ending {
        let told = rows.iter().any(|(state, _, unconfirmed)| *state == DeliveryState::Told || *unconfirmed);
        let open = rows.iter().any(|(state, lane, _)| *state == DeliveryState::Open || *lane == CONFIRMS);
        match (told, open) {
            (true, open) => Ending { counter: Some("told"), open },
            (false, true) => Ending::default(),
            (false, false) => {
                let best = rows.iter().map(|(state, ..)| *state).max();
                Ending { counter: best.and_then(counter), open: false }
            }
        }
    }

    /// How somebody stands from now on who stood otherwise before: `open` is who is to be told yet, or again.
    pub fn changed(before: Ending, after: Ending) -> Option<&'static str> {
        (before.counter != after.counter).then(|| after.counter.unwrap_or("open"))
    }

    /// By the first row of somebody who has no other.
    pub fn sole(fact: &Fact) -> Ending {
        Ending { counter: counter(fact.state), open: fact.lane == CONFIRMS }
    }
}

fn counter(state: DeliveryState) -> Option<&'static str> {
    match state {
        DeliveryState::Open | DeliveryState::Moved => None,
        DeliveryState::Expired => Some("expired"),
        DeliveryState::Cancelled => Some("cancelled"),
        DeliveryState::Superseded => Some("superseded"),
        DeliveryState::Rejected => Some("unreachable"),
        DeliveryState::Unknown => Some("unknown"),
        DeliveryState::Told => Some("told"),
    }
}

pub fn moved(tally: &mut Tally, broadcast: BroadcastId, subscriber: SubscriberId, before: Ending, after: Ending) {
    if before == after {
        return;
    }
    let counters = tally.entry((broadcast.0, subscriber.shard())).or_default();
    for (ending, change) in [(before, -1), (after, 1)] {
        if let Some(counter) = ending.counter {
            *counters.entry(counter).or_default() += change;
        }
        if ending.open {
            *counters.entry("told_open").or_default() += change;
        }
    }
}

/// How many recipients these changes have ended: who is told and has something more under way has not ended yet.
pub fn ended_by(counters: &Counters) -> i64 {
    counters.values().sum::<i64>() - 2 * counters.get("told_open").copied().unwrap_or(0)
}
