//! A broadcast as it is kept: its state, how far each shard has come, the counts of its recipients, and the timers that
//! end or release it.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::incident::{Facts, Occasion, words};
use crate::plan::{Held, Priority, Purpose, Selection, Step};

words!(
    BroadcastState {
        Held = "held", Running = "running", Paused = "paused", Done = "done", Cancelled = "cancelled",
        Superseded = "superseded", Expired = "expired",
    }
);

impl BroadcastState {
    pub fn live(self) -> bool {
        (self as u8) < BroadcastState::Done as u8
    }

    pub fn number(self) -> i64 {
        self as i64
    }

    pub fn from_number(n: i64) -> BroadcastState {
        usize::try_from(n).ok().and_then(|n| BroadcastState::ALL.get(n)).copied().unwrap_or(BroadcastState::Cancelled)
    }
}

#[derive(Debug, Clone)]
pub struct Broadcast {
    pub id: BroadcastId,
    pub incident: IncidentId,
    pub incident_key: String,
    pub audience: String,
    pub number: i64,
    /// The incident's version when it was drawn: what supersession compares.
    pub version: i64,
    pub plan: String,
    pub step: Step,
    pub purpose: Purpose,
    pub occasion: Occasion,
    pub priority: Priority,
    pub state: BroadcastState,
    pub selection: Selection,
    pub held: Held,
    pub created: Time,
    pub released: Option<Time>,
    pub ended: Option<Time>,
    pub deadline: Time,
    pub templates: [u8; 32],
    pub facts: Facts,
    pub code: String,
    /// A bit for each shard still to page.
    pub shards: u64,
    pub progress: BTreeMap<u8, Cursor>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The last subscriber decided.
    pub after: i64,
    pub selected: i64,
    /// Recipients that have ended.
    pub ended: i64,
    pub manifests: i64,
}

/// Counts of recipients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub selected: i64,
    pub told: i64,
    pub unknown: i64,
    pub unreachable: i64,
    pub skipped: i64,
    pub superseded: i64,
    pub cancelled: i64,
    pub expired: i64,
}

impl Counts {
    /// Recipients that have not ended.
    pub fn open(&self) -> i64 {
        let ended = self.told + self.unknown + self.unreachable + self.skipped;
        self.selected - ended - self.superseded - self.cancelled - self.expired
    }

    /// What is open when a broadcast ends ends as it does.
    pub fn in_broadcast(mut self, state: BroadcastState) -> Counts {
        let open = self.open();
        let into = match state {
            BroadcastState::Cancelled | BroadcastState::Done => &mut self.cancelled,
            BroadcastState::Superseded => &mut self.superseded,
            BroadcastState::Expired => &mut self.expired,
            BroadcastState::Held | BroadcastState::Running | BroadcastState::Paused => return self,
        };
        *into += open;
        self
    }
}

/// What the journal says of a broadcast that ends, with its counts as they are then: reports that come later may still move them.
/// Members whom no page had read are not among them.
pub(super) fn ending(
    id: BroadcastId,
    incident: IncidentId,
    audience: &str,
    state: BroadcastState,
    counts: Counts,
    by: &str,
) -> serde_json::Value {
    serde_json::json!({
        "broadcast": id, "incident": incident, "audience": audience, "state": state,
        "counts": counts.in_broadcast(state), "by": by,
    })
}

#[derive(Debug, Clone, Copy, Default)]
pub struct BroadcastFilter {
    pub incident: Option<IncidentId>,
    pub state: Option<BroadcastState>,
    pub before: Option<BroadcastId>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    pub kind: TimerKind,
    pub subject: i64,
    pub due: Time,
    pub body: String,
}

words!(TimerKind { Release = "release", Deadline = "deadline", Reminder = "reminder", Commitment = "commitment" });
