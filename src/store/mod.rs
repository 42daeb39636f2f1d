//! Where everything is kept. `Store` speaks the pipeline's words; SQLite and PostgreSQL are its implementations, and what both
//! decide alike stands here. Whatever a method says is done is synced to disk when it returns.

pub mod access;
mod announced;
mod beside;
mod broadcast;
pub mod carried;
mod decisions;
mod delivery;
mod drawn;
mod ingest;
mod installation;
mod leases;
mod manifest;
mod node;
mod notice;
mod outcomes;
pub mod pack;
mod packed;
pub mod postgres;
mod recipient;
mod registry;
mod settled;
mod signal;
pub mod sqlite;
mod subscriber;
mod taken;
mod tally;
mod upkeep;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

pub use self::access::{Access, TokenRow};
pub use self::announced::{Announced, Payload};
pub use self::broadcast::{Broadcast, BroadcastFilter, BroadcastState, Counts, Cursor, Timer, TimerKind};
use self::carried::{Summed, Watch};
pub use self::delivery::{
    Again, AttemptRow, CONFIRMS, DeliveryFilter, DeliveryRow, DeliveryState, Earlier, Fact, Matching, OpenRow, PERHAPS,
    QUIET, ReceiptFact, Replayed, Reported, Try, UNCONFIRMED, UNDECIDED, Written,
};
pub use self::ingest::{Applied, Apply, Committed, Known, Tick, UpdateRow};
pub use self::leases::{Leases, SHARDS};
pub use self::manifest::{Decided, Decision, Manifest, ManifestKey, Member, Unfinished};
pub use self::node::{LEASE, Node};
pub use self::notice::{Heard, Notice, Notices};
pub use self::outcomes::{OUTCOMES, OutcomeRow};
pub use self::recipient::Recipient;
pub use self::registry::{Line, Registry};
pub use self::signal::Signal;
pub use self::subscriber::{Imported, SubscriberDraft, Upserted};
pub use self::upkeep::{BreakerRow, Frozen, JournalRow, Reserved, Wanted, Wording, WordingKey};
use crate::audience::Subscriber;
use crate::audience::import::{Row, Seen};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use crate::incident::Incident;
use crate::ingest::DeadRecord;
use crate::ingest::event::Event;
use crate::plan::{Priority, Thread};

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

#[async_trait]
pub trait Store: Send + Sync + 'static {
    // Ingest.
    async fn known(&self, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known>;
    /// The id of the latest event that this source sent about an incident.
    async fn latest_event(&self, source: &str, incident: IncidentId) -> Result<Option<String>>;
    /// One synced transaction: what is known is read, the event applied to it, and all that follows written: event, incident,
    /// update, broadcasts `held` or `running`, timers, supersession.
    async fn ingest(&self, event: Arc<Event>, apply: Apply) -> Result<Committed>;
    /// What the clock or a person calls for is written likewise. `None`: the incident has changed since it was read.
    async fn tick(&self, tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>>;
    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>>;
    /// Its updates, oldest first.
    async fn updates(&self, id: IncidentId) -> Result<Vec<UpdateRow>>;
    async fn open_incidents(&self) -> Result<Vec<Incident>>;
    /// Keeps what an origin says of a component; answers what all say of it since then, each once and the latest first.
    async fn signal(&self, signal: Signal, since: Time) -> Result<Vec<Signal>>;
    /// Forgets what an origin said of a component: it says so no more.
    async fn silence(&self, component: &str, origin: &str) -> Result<()>;
    /// What was said since then, the latest first.
    async fn signals(&self, since: Time, limit: usize) -> Result<Vec<Signal>>;
    async fn freeze(&self, frozen: Frozen) -> Result<()>;
    async fn frozen(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>>;
    async fn dead(&self, record: DeadRecord, now: Time) -> Result<()>;

    // Broadcasts.
    async fn broadcast(&self, id: BroadcastId) -> Result<Option<Broadcast>>;
    async fn live(&self) -> Result<Vec<Broadcast>>;
    /// Held to running, with supersession: as it is then. `None`: it was not held.
    async fn release(&self, id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>>;
    /// As it is then; `None` where the broadcast was not in `from`.
    async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        now: Time,
        by: &str,
    ) -> Result<Option<Broadcast>>;
    /// Running to done, if everyone has been decided and has come to an end, by any node; says whether it is so now.
    async fn complete(&self, id: BroadcastId, now: Time) -> Result<bool>;
    async fn due_timers(&self, now: Time) -> Result<(Vec<Timer>, Option<Time>)>;
    async fn end_timer(&self, kind: TimerKind, subject: i64, due: Time) -> Result<()>;

    // The engine.
    /// The next members in these shards, in order, and whether they end with them.
    async fn page(
        &self,
        broadcast: &Broadcast,
        shards: RangeInclusive<u8>,
        after: i64,
        limit: usize,
    ) -> Result<(Vec<Member>, bool)>;
    async fn decide(&self, manifests: Vec<Manifest>, rows: Vec<Fact>, wordings: Vec<Wording>) -> Result<()>;
    /// Merges facts and closes manifests.
    async fn record(&self, facts: Arc<Vec<Fact>>, closed: Vec<ManifestKey>) -> Result<Written>;
    /// Open rows due, most urgent first.
    async fn due(&self, lane: ChannelId, priority: Priority, now: Time, limit: usize) -> Result<Vec<OpenRow>>;
    /// When the first open row of a lane after `now` is due.
    async fn next_due(&self, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>>;
    async fn again(&self, broadcast: &Broadcast, rows: Vec<OpenRow>) -> Result<Vec<Again>>;
    /// What each of these addresses got by a channel in the released broadcasts of the thread that are older than this one, oldest
    /// first, and in this one.
    async fn earlier(&self, of: &Broadcast, by: ChannelId, who: Vec<(SubscriberId, u16)>) -> Result<Vec<Vec<Earlier>>>;
    /// Rows that wait for a way become due now: something that was down works again. So do those that wait in the lanes of
    /// `blocked` channels, whenever they were to be tried.
    async fn wake(&self, blocked: Vec<ChannelId>, now: Time) -> Result<()>;
    /// The next open manifest of these shards, a bit for each.
    async fn unfinished(&self, shards: u64, after: Option<ManifestKey>) -> Result<Option<Unfinished>>;
    async fn wording(&self, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>>;
    async fn word(&self, wordings: Vec<Wording>) -> Result<()>;
    /// The shards of this node; their epochs fence decisions of earlier owners.
    fn leases(&self) -> Arc<Leases>;
    /// What other nodes write, from now on; once. `None`: one node alone can own the store.
    fn notices(&self) -> Option<Notices> {
        None
    }
    /// Waits until every other node obeys what this one has written up to now, or owns nothing any more.
    async fn obeyed(&self) {}
    /// The numbers of channels, given at first need; without names, all that there ever were.
    async fn channels(&self, names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>>;
    async fn pause_channel(&self, channel: ChannelId, paused: bool) -> Result<()>;
    async fn breakers(&self) -> Result<Vec<BreakerRow>>;
    async fn set_breaker(&self, row: BreakerRow) -> Result<()>;
    /// Reserves up to `count` attempts of a window that may hold `most`, counted in so many buckets of `width` milliseconds before
    /// the one that it is now. `now` is the asker's steady time; where there are several nodes, the store's own clock counts.
    async fn reserve(&self, name: &str, width: i64, buckets: i64, most: i64, count: i64, now: Time)
    -> Result<Reserved>;
    /// Gives out send times, once for all nodes, at which each of the limits that are wanted together lets an attempt go. How long
    /// after this moment the first of each is; the others follow that far apart as the slowest's are.
    async fn grant(&self, _: &[Wanted]) -> Result<Vec<Duration>> {
        Err(StoreError::Failed("one node owns this store, and keeps its own times".into()))
    }

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

    /// All that is kept of one person in one broadcast, read at one moment. `None`: there is no such broadcast.
    async fn recipient(&self, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<Recipient>>;

    // Receipts: matched to a delivery, or kept until its outcome comes.
    async fn receipt(&self, receipt: ReceiptFact) -> Result<Option<Reported>>;
    /// Confirmations that have not come by now: their recipients are open again, to be told by the next route too. Answers
    /// for each broadcast how many recipients have ended by it.
    async fn lapse(&self, priority: Priority, now: Time, limit: usize) -> Result<BTreeMap<BroadcastId, i64>>;
    /// When the next confirmation is due.
    async fn next_lapse(&self, priority: Priority) -> Result<Option<Time>>;

    /// Tokens and sessions.
    fn access(&self) -> &dyn Access;

    // Keys, journal, upkeep.
    async fn meta(&self, name: &str) -> Result<Option<String>>;
    async fn set_meta(&self, name: &str, value: &str) -> Result<()>;
    /// Writes it where it is as it was read; answers whether it was.
    async fn swap_meta(&self, name: &str, was: Option<&str>, value: &str) -> Result<bool>;
    /// Its rows after that one; what deliveries came to among them where it is asked for.
    async fn journal(&self, after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>>;
    /// Writes all that is kept into a new file of SQLite's schema, whatever this store is, as it is at one moment, while others go on
    /// writing. Answers what is in the file, read again and found to be what was in the store.
    async fn backup(&self, to: &std::path::Path, watch: Watch) -> Result<Vec<Summed>>;
    /// Deletes what is older than the times given: incidents ended, events, journal, receipts, past subscribers.
    async fn retain(&self, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64>;
    async fn ready(&self) -> Result<()>;
    async fn close(&self) -> Result<()>;
}
