//! Where everything is kept. `Store` speaks the pipeline's words; SQLite is one implementation of it. Whatever a method
//! says is done is synced to disk when it returns.

pub mod pack;
pub mod sqlite;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::audience::import::{Row, Seen};
use crate::audience::route::{ChannelId, LeftOut, Way};
use crate::audience::{Omission, Subscriber};
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use crate::incident::{Change, Facts, Incident, Occasion, words};
use crate::ingest::{DeadRecord, Ingested};
use crate::plan::{Draw, Held, Priority, Purpose, Selection, Step, Thread, Wrong};
use crate::render::message::{Format, Markup};

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store's queue is full")]
    Full,
    /// Another node owns the shard now, or did meanwhile.
    #[error("the shard has another owner")]
    Fenced,
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// What is known before an event is applied.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The event itself, if it came before: its digest and what was answered.
    pub seen: Option<([u8; 32], Ingested)>,
    pub incident: Option<Incident>,
    pub threads: Vec<Thread>,
    /// Where the event corrects an update: what was said of it, by audience.
    pub wrong: Vec<Wrong>,
}

#[derive(Debug)]
pub enum Committed {
    Done(Ingested),
    /// Someone was faster: decide again.
    Stale,
}

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
}

#[derive(Debug, Clone)]
pub struct Member {
    pub subscriber: Subscriber,
    /// Whether a broadcast that the selection asks about told them, or may have.
    pub told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestKey {
    pub broadcast: BroadcastId,
    pub shard: u8,
    pub number: i64,
}

/// One page of one broadcast in one shard, decided.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub key: ManifestKey,
    pub at: Time,
    pub epoch: i64,
    pub decided: Vec<Decided>,
    /// The shard has no more members.
    pub end: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub subscriber: SubscriberId,
    pub version: i64,
    pub decision: Decision,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Omitted(Omission),
    /// The ways taken, and those left out with the reason.
    Ways(Vec<Way>, Vec<LeftOut>),
    /// No way for now; a row at place 0 waits.
    Waits,
}

impl Decision {
    pub fn ways(&self) -> &[Way] {
        match self {
            Decision::Ways(ways, _) => ways,
            Decision::Omitted(_) | Decision::Waits => &[],
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
    /// The recipient has no other delivery in this broadcast, and this is its first row.
    pub sole: bool,
    /// The platform says that the address is gone.
    pub suppress: bool,
}

/// An open row, read back.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRow {
    pub delivery: DeliveryId,
    pub channel: ChannelId,
    pub lane: ChannelId,
    pub tries: u32,
    pub priority: Priority,
    pub due: Time,
}

/// A recipient with open rows, with all that a new decision needs.
#[derive(Debug, Clone)]
pub struct Again {
    pub row: OpenRow,
    /// `None`: gone from the store.
    pub subscriber: Option<Subscriber>,
    pub told: bool,
    /// All rows of the recipient in this broadcast.
    pub rows: Vec<(u16, DeliveryState, ChannelId)>,
    pub attempts: Vec<AttemptRow>,
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

/// A manifest that was open when the process ended: the recipients whose deliveries have no row.
#[derive(Debug, Clone)]
pub struct Unfinished {
    pub key: ManifestKey,
    pub at: Time,
    /// The subscriber as decided for, the way, and whether the address may still be written to today.
    pub missing: Vec<(Subscriber, Way, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WordingKey {
    pub locale: String,
    pub zone: String,
    pub format: Format,
    pub markup: Markup,
}

#[derive(Debug, Clone)]
pub struct Wording {
    pub broadcast: BroadcastId,
    pub key: WordingKey,
    pub digest: [u8; 32],
    pub bytes: Vec<u8>,
}

/// A frozen thing: a set of templates, kept for as long as a broadcast may still render from it.
#[derive(Debug, Clone)]
pub struct Frozen {
    pub digest: [u8; 32],
    pub kind: &'static str,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    pub kind: TimerKind,
    pub subject: i64,
    pub due: Time,
    pub body: String,
}

words!(TimerKind { Release = "release", Deadline = "deadline", Reminder = "reminder", Commitment = "commitment" });

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRow {
    pub channel: ChannelId,
    pub host: String,
    pub state: String,
    pub since: Time,
    pub until: Time,
}

/// An update as it was taken.
#[derive(Debug, Clone, serde::Serialize)]
pub struct UpdateRow {
    pub number: i64,
    pub source: String,
    pub at: Time,
    pub taken: Time,
    pub late: bool,
    pub occasion: Occasion,
    pub said_by: String,
    pub corrects: Option<i64>,
    /// What was true after it.
    pub facts: Facts,
}

/// What is to be drawn or released by the clock or by a person rather than by an event.
#[derive(Debug, Clone)]
pub struct Tick {
    pub incident: IncidentId,
    /// The incident's version read; another is stale.
    pub version: i64,
    pub draws: Vec<Draw>,
}

/// One line of the journal: what happened, for pages, streams and the record.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JournalRow {
    pub sequence: i64,
    pub at: Time,
    pub kind: String,
    pub body: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upserted {
    Created(SubscriberId),
    Updated(SubscriberId),
    Unchanged(SubscriberId),
    /// It was changed since the version that the draft was made from.
    Stale,
    /// An address belongs to somebody else.
    Taken {
        kind: String,
        place: usize,
    },
}

/// A subscriber as it is written: without ids, versions and places, which the store keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberDraft {
    /// An existing one, at the version that the draft has (0: any), else by `subscriber.key`, else by its first address.
    pub id: Option<SubscriberId>,
    /// Addresses with place 0 are new or are found again by kind and value. `verified` and `suppressed` of an address that
    /// is there already stay as they are unless `verified` is now true.
    pub subscriber: Subscriber,
}

/// What came of a row of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    Created(SubscriberId),
    /// With the new version.
    Updated(SubscriberId, i64),
    Unchanged(SubscriberId),
    /// An address belongs to somebody else.
    Taken {
        kind: String,
    },
    /// The subscriber has been seen in the same import.
    Twice,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRow {
    pub name: String,
    /// A person may confirm a cause; a machine may not.
    pub person: bool,
    pub scopes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptFact {
    pub channel: ChannelId,
    /// Ours, or the platform's reference.
    pub matching: Matching,
    pub status: crate::channel::ReceiptStatus,
    pub fault: Option<crate::channel::Fault>,
    pub at: Time,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    Delivery(DeliveryId),
    Reference(String),
}

#[derive(Debug, Clone, Copy, Default)]
pub struct BroadcastFilter {
    pub incident: Option<IncidentId>,
    pub state: Option<BroadcastState>,
    pub before: Option<BroadcastId>,
}

/// One of `broadcast` and `subscriber` is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    pub broadcast: Option<BroadcastId>,
    pub subscriber: Option<SubscriberId>,
    pub state: Option<DeliveryState>,
    pub after: Option<DeliveryId>,
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    pub id: DeliveryId,
    pub state: DeliveryState,
    pub channel: ChannelId,
    pub began: Time,
    pub ended: Time,
    pub tries: u32,
    pub detail: Option<String>,
    pub reference: Option<String>,
    pub receipt: Option<String>,
    /// When an open one is tried next.
    pub due: Time,
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

#[async_trait]
pub trait Store: Send + Sync + 'static {
    // Ingest.
    async fn known(&self, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known>;
    /// One synced transaction: event, incident, update, broadcasts `held` or `running`, timers, supersession.
    async fn commit(&self, change: Change, draws: Vec<Draw>, templates: [u8; 32]) -> Result<Committed>;
    /// What the clock or a person calls for, likewise. `None`: stale.
    async fn tick(&self, tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<BroadcastId>>>;
    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>>;
    /// Its updates, oldest first.
    async fn updates(&self, id: IncidentId) -> Result<Vec<UpdateRow>>;
    async fn open_incidents(&self) -> Result<Vec<Incident>>;
    async fn freeze(&self, frozen: Frozen) -> Result<()>;
    async fn frozen(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>>;
    async fn dead(&self, record: DeadRecord, now: Time) -> Result<()>;

    // Broadcasts.
    async fn broadcast(&self, id: BroadcastId) -> Result<Option<Broadcast>>;
    async fn live(&self) -> Result<Vec<Broadcast>>;
    /// Held to running, with supersession. False where it was not held.
    async fn release(&self, id: BroadcastId, now: Time, by: &str) -> Result<bool>;
    /// False where the broadcast was not in `from`.
    async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        now: Time,
        by: &str,
    ) -> Result<bool>;
    async fn due_timers(&self, now: Time) -> Result<(Vec<Timer>, Option<Time>)>;
    async fn end_timer(&self, kind: TimerKind, subject: i64, due: Time) -> Result<()>;

    // The engine.
    async fn page(&self, broadcast: &Broadcast, shard: u8, after: i64, limit: usize) -> Result<(Vec<Member>, bool)>;
    async fn decide(&self, manifest: Manifest, rows: Vec<Fact>, wordings: Vec<Wording>) -> Result<()>;
    /// Merges facts and closes manifests. Returns for each broadcast how many recipients have ended by it.
    async fn record(&self, facts: Vec<Fact>, closed: Vec<ManifestKey>) -> Result<BTreeMap<BroadcastId, i64>>;
    /// Open rows due, most urgent first.
    async fn due(&self, lane: ChannelId, priority: Priority, now: Time, limit: usize) -> Result<Vec<OpenRow>>;
    /// When the first open row of a lane after `now` is due.
    async fn next_due(&self, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>>;
    async fn again(&self, broadcast: &Broadcast, rows: Vec<OpenRow>) -> Result<Vec<Again>>;
    /// Rows that wait for a way become due now: something that was down works again.
    async fn wake(&self, now: Time) -> Result<()>;
    async fn unfinished(&self, after: Option<ManifestKey>) -> Result<Option<Unfinished>>;
    async fn wording(&self, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>>;
    async fn word(&self, wordings: Vec<Wording>) -> Result<()>;
    /// The number of this start, which fences decisions of earlier ones.
    async fn epoch(&self) -> Result<i64>;
    /// The numbers of channels, given at first need; without names, all that there ever were.
    async fn channels(&self, names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>>;
    async fn pause_channel(&self, channel: ChannelId, paused: bool) -> Result<()>;
    async fn breakers(&self) -> Result<Vec<BreakerRow>>;
    async fn set_breaker(&self, row: BreakerRow) -> Result<()>;
    async fn spent(&self, name: &str, from: i64) -> Result<Vec<(i64, i64)>>;
    async fn spend(&self, name: &str, bucket: i64, count: i64) -> Result<()>;

    // Subscribers.
    async fn upsert(&self, drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>>;
    /// Rows of a file, in its order. What a row says nothing of stays as it is; nobody is written twice in one import.
    async fn import(&self, rows: Arc<Vec<Row>>, seen: Arc<Mutex<Seen>>, now: Time) -> Result<Vec<Imported>>;
    async fn subscriber(&self, id: SubscriberId) -> Result<Option<Subscriber>>;
    async fn subscriber_by_key(&self, key: &str) -> Result<Option<Subscriber>>;
    async fn subscriber_by_address(&self, kind: &str, value: &str) -> Result<Option<Subscriber>>;
    async fn subscribers(
        &self,
        after: Option<SubscriberId>,
        audience: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Subscriber>>;
    async fn remove_subscriber(&self, id: SubscriberId, now: Time) -> Result<bool>;
    /// Suppresses an address and answers whose it was.
    async fn suppress(&self, kind: &str, value: &str, reason: &str, now: Time) -> Result<Option<SubscriberId>>;
    async fn unsuppress(&self, kind: &str, value: &str) -> Result<Option<SubscriberId>>;
    async fn audiences(&self) -> Result<Vec<(String, i64)>>;

    // What is looked at: newest first, a page at a time.
    async fn incidents(&self, before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>>;
    async fn incident_by_key(&self, key: &str) -> Result<Option<IncidentId>>;
    async fn broadcasts(&self, filter: BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>>;
    /// Its counts, and the members whom no page has read yet.
    async fn counts(&self, broadcast: &Broadcast) -> Result<(Counts, i64)>;
    async fn deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>>;
    async fn delivery(&self, id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>>;
    async fn wordings(&self, broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>>;
    async fn oldest_due(&self, priority: Priority) -> Result<Option<Time>>;
    async fn journal_end(&self) -> Result<i64>;
    /// Opens a delivery again that ended rejected, unknown or expired: due now, on the way it had. The broadcast runs again if it
    /// is still the thread's last word and its deadline lies ahead.
    async fn replay(&self, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed>;

    /// What was decided for a subscriber in a broadcast, and when. `None`: no page with them has been decided.
    async fn decided(&self, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<(Time, Decided)>>;

    // Receipts: matched to a delivery, or kept until its outcome comes. Answers the delivery that it changed
    // and how many recipients ended by it, −1 where one is to be told anew.
    async fn receipt(&self, receipt: ReceiptFact) -> Result<Option<(DeliveryId, i64)>>;

    // Keys, tokens, journal, upkeep.
    async fn meta(&self, name: &str) -> Result<Option<String>>;
    async fn set_meta(&self, name: &str, value: &str) -> Result<()>;
    async fn add_token(&self, hash: [u8; 32], row: TokenRow, now: Time) -> Result<bool>;
    async fn tokens(&self) -> Result<Vec<([u8; 32], TokenRow)>>;
    async fn remove_token(&self, name: &str) -> Result<bool>;
    async fn journal(&self, after: i64, limit: usize) -> Result<Vec<JournalRow>>;
    async fn backup(&self, to: &std::path::Path) -> Result<()>;
    /// Deletes what is older than the times given: incidents ended, events, journal, receipts, past subscribers.
    async fn retain(&self, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64>;
    async fn ready(&self) -> Result<()>;
    async fn close(&self) -> Result<()>;
}
