//! A delivery as it is kept: the facts that the engine and a platform's receipts write of it, the open row that waits, and what
//! is read back for a new decision, a page or a replay.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broadcast, BroadcastState};
use crate::audience::Subscriber;
use crate::audience::route::ChannelId;
use crate::channel::{Fault, ReceiptStatus};
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::incident::words;
use crate::plan::Priority;

words!(
    /// Declared in the order in which facts about one delivery win over one another.
    DeliveryState {
        Open = "open", Moved = "moved", Expired = "expired", Cancelled = "cancelled", Superseded = "superseded",
        Rejected = "rejected", Unknown = "unknown", Told = "told",
    }
);

impl DeliveryState {
    pub fn from_number(n: i64) -> DeliveryState {
        usize::try_from(n).ok().and_then(|n| DeliveryState::ALL.get(n)).copied().unwrap_or(DeliveryState::Open)
    }

    /// As it is seen: what is open when its broadcast ends has its state from there.
    pub fn in_broadcast(self, broadcast: BroadcastState, receipt: Option<&str>) -> DeliveryState {
        match (self, broadcast) {
            // Told before, by a way that nobody confirmed.
            (DeliveryState::Open, ended) if !ended.live() && receipt == Some(UNCONFIRMED) => DeliveryState::Told,
            (DeliveryState::Open, BroadcastState::Cancelled | BroadcastState::Done) => DeliveryState::Cancelled,
            (DeliveryState::Open, BroadcastState::Superseded) => DeliveryState::Superseded,
            (DeliveryState::Open, BroadcastState::Expired) => DeliveryState::Expired,
            (own, _) => own,
        }
    }
}

/// What happened to a delivery: always accepted, in any order.
#[derive(Debug, Clone)]
pub struct Fact {
    pub delivery: DeliveryId,
    pub state: DeliveryState,
    pub channel: ChannelId,
    pub began: Time,
    pub ended: Time,
    pub tries: u32,
    pub detail: Option<String>,
    pub reference: Option<String>,
    /// Kept in the index that receipts are matched by.
    pub indexed: bool,
    pub priority: Priority,
    /// Where an open row waits: a channel's lane, or 0 while no way is chosen.
    pub lane: ChannelId,
    pub due: Time,
    /// The outcome's word and fault, where this try gets a row of its own.
    pub attempt: Option<(&'static str, Option<&'static str>)>,
    /// What a channel that rejects it finds fault with.
    pub fault: Option<&'static str>,
    /// The recipient has no other delivery in this broadcast, and this is its first row: the epoch of its shard under which that is
    /// so. Under a later one another owner may have written one.
    pub sole: Option<i64>,
    /// The platform says that the address is gone.
    pub suppress: bool,
    /// A new decision: it opens what a bounce or a missing confirmation had ended.
    pub reopens: bool,
    /// The number of the start in whose lane the open row is. After the next start, what is in no lane any more may have been on
    /// the wire.
    pub entered: Option<i64>,
    /// By this channel an attempt may have been under way when the process ended: it is kept beside what is said here.
    pub perhaps: Option<ChannelId>,
}

/// The outcome of an attempt that may have been under way when the process ended, and that stands in no other way's way: most of what
/// was in a lane had not begun.
pub const PERHAPS: &str = "perhaps";

/// A try that gets a row of its own.
#[derive(Debug, PartialEq)]
pub struct Try<'a> {
    pub channel: ChannelId,
    pub outcome: &'static str,
    pub fault: Option<&'static str>,
    pub detail: Option<&'a str>,
    pub reference: Option<&'a str>,
}

impl<'a> Try<'a> {
    /// Those of a fact, in their order: one that perhaps was has no answer.
    pub fn of(fact: &'a Fact) -> impl Iterator<Item = Try<'a>> {
        let perhaps =
            fact.perhaps.map(|channel| Try { channel, outcome: PERHAPS, fault: None, detail: None, reference: None });
        let made = fact.attempt.map(|(outcome, fault)| Try {
            channel: fact.channel,
            outcome,
            fault,
            detail: fact.detail.as_deref(),
            reference: fact.reference.as_deref(),
        });
        perhaps.into_iter().chain(made)
    }
}

/// What facts led to when they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// For each broadcast, how many recipients have ended.
    pub ended: BTreeMap<BroadcastId, i64>,
    /// Who has an address that is gone, by an answer or by a report that was faster than it.
    pub suppressed: BTreeSet<SubscriberId>,
}

/// The lane of what is to be decided again, as soon as a way may have opened. It is no channel's, as are the two below.
pub const UNDECIDED: ChannelId = ChannelId(0);
/// The lane of those who want quiet until due. That a way opens is nothing to them.
pub const QUIET: ChannelId = ChannelId(u16::MAX - 1);
/// The lane of what is told and waits for its confirmation until due.
pub const CONFIRMS: ChannelId = ChannelId(u16::MAX);

/// What a row is marked by, where the receipt that was waited for did not come in time.
pub const UNCONFIRMED: &str = "unconfirmed";

/// An open row, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRow {
    pub delivery: DeliveryId,
    pub channel: ChannelId,
    pub lane: ChannelId,
    pub tries: u32,
    pub priority: Priority,
    pub due: Time,
    /// It was in the lane of its channel when the process ended, and perhaps on the wire.
    pub perhaps: bool,
}

/// A recipient with open rows, with all that a new decision needs.
#[derive(Debug, Clone)]
pub struct Again {
    pub row: OpenRow,
    /// `None`: gone from the store.
    pub subscriber: Option<Subscriber>,
    pub told: bool,
    /// All rows of the recipient in this broadcast, and whether each has been confirmed.
    pub rows: Vec<(u16, DeliveryState, ChannelId, bool)>,
    pub attempts: Vec<AttemptRow>,
}

impl Again {
    /// What the last channel that rejected an address found fault with.
    pub fn fault(&self, place: u16) -> Option<&'static str> {
        let mut latest = self.attempts.iter().rev();
        let rejected =
            latest.find(|attempt| attempt.place == place && attempt.outcome == "rejected" && !attempt.gone())?;
        rejected.fault.as_deref()?.parse::<Fault>().ok().map(Fault::word)
    }
}

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct AttemptRow {
    pub place: u16,
    #[serde(skip)]
    pub channel: ChannelId,
    pub began: Time,
    pub outcome: String,
    pub fault: Option<String>,
    pub detail: Option<String>,
    pub reference: Option<String>,
}

impl AttemptRow {
    /// What it was to follow was there no more, and nothing else was wrong.
    pub fn gone(&self) -> bool {
        self.fault.as_deref() == Some(Fault::Gone.word())
    }
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub state: DeliveryState,
    pub channel: ChannelId,
    /// Where an open one waits; 0 while no way is chosen.
    pub lane: ChannelId,
    pub began: Time,
    pub ended: Time,
    pub tries: u32,
    pub detail: Option<String>,
    pub reference: Option<String>,
    pub receipt: Option<String>,
    /// When an open one is tried next.
    pub due: Time,
}

/// What an address got by a channel in a broadcast.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    pub broadcast: BroadcastId,
    /// The platform's, where it took a message and gave one.
    pub reference: Option<String>,
    /// The platform said that what it was to follow is there no more.
    pub gone: bool,
}

/// One of `broadcast` and `subscriber` is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    pub broadcast: Option<BroadcastId>,
    pub subscriber: Option<SubscriberId>,
    pub state: Option<DeliveryState>,
    pub after: Option<DeliveryId>,
}

/// What became of a wish to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Open again; whether its recipient had ended.
    Open {
        channel: ChannelId,
        priority: Priority,
        reopened: bool,
    },
    NotThere,
    /// Why not.
    Refused(&'static str),
}

impl Replayed {
    /// Why a delivery is not sent again. `latest`: the version of the last that its thread has released.
    pub fn refused(state: DeliveryState, of: &Broadcast, latest: Option<i64>, now: Time) -> Option<&'static str> {
        if !matches!(state, DeliveryState::Rejected | DeliveryState::Unknown | DeliveryState::Expired) {
            return Some("only what ended rejected, unknown or expired is sent again");
        }
        if !matches!(of.state, BroadcastState::Running | BroadcastState::Paused | BroadcastState::Done) {
            return Some("its broadcast was stopped, superseded, or has expired");
        }
        if latest.is_some_and(|latest| latest > of.version) {
            return Some("something newer has been said since");
        }
        (of.deadline <= now).then_some("its broadcast's deadline has passed")
    }
}

/// The delivery that a receipt changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reported {
    pub delivery: DeliveryId,
    /// Recipients that ended by it; −1 where one is to be told anew.
    pub ended: i64,
    /// When the attempt began, where nothing had been reported about it before.
    pub first: Option<Time>,
    /// The recipient is to be told by another way.
    pub opened: bool,
    /// The address is suppressed from now on.
    pub suppressed: bool,
    /// It arrived, and somebody was given up for want of that: the next route may be under way.
    pub late: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptFact {
    pub channel: ChannelId,
    /// Ours, or the platform's reference.
    pub matching: Matching,
    pub status: ReceiptStatus,
    pub fault: Option<Fault>,
    pub at: Time,
    pub detail: String,
}

impl ReceiptFact {
    /// Why its address is suppressed, where it says that nothing more may go there.
    pub fn suppresses(&self) -> Option<&'static str> {
        match self.status {
            ReceiptStatus::Bounced if self.fault == Some(Fault::Address) => Some("bounced"),
            ReceiptStatus::Complained => Some("complained"),
            _ => None,
        }
    }

    pub fn arrived(&self) -> bool {
        matches!(self.status, ReceiptStatus::Delivered | ReceiptStatus::Read)
    }

    pub fn bounced(&self) -> bool {
        self.status == ReceiptStatus::Bounced
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    Delivery(DeliveryId),
    Reference(String),
}

impl Matching {
    /// Under which it waits for its outcome; ours begins with a character that no platform's has.
    pub fn name(&self) -> String {
        match self {
            Matching::Reference(reference) => reference.clone(),
            Matching::Delivery(DeliveryId { broadcast, subscriber, place }) => {
                format!("\u{1}{}:{}:{place}", broadcast.0, subscriber.0)
            }
        }
    }
}
