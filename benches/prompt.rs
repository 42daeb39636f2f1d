//! The application itself over a store whose commits answer at once: what the route of events costs without them. Incidents are
//! kept in memory, so that each event finds what the one before left; everything else is the real store's.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::app::{self, App};
use loudhailer::audience::Subscriber;
use loudhailer::audience::import::{Row, Seen};
use loudhailer::audience::route::ChannelId;
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId, UpdateId};
use loudhailer::incident::Incident;
use loudhailer::ingest::event::Event;
use loudhailer::ingest::{DeadRecord, Ingested};
use loudhailer::plan::{Priority, Thread};
use loudhailer::store::carried::{Summed, Watch};
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{
    Access, Again, Applied, Apply, AttemptRow, BreakerRow, Broadcast, BroadcastFilter, BroadcastState, Committed,
    Counts, DeliveryFilter, DeliveryRow, Earlier, Fact, Frozen, Imported, JournalRow, Known, Leases, Manifest,
    ManifestKey, Member, Notices, OpenRow, ReceiptFact, Recipient, Replayed, Reported, Reserved, Result, Signal, Store,
    SubscriberDraft, Tick, Timer, TimerKind, Unfinished, UpdateRow, Upserted, Wanted, Wording, WordingKey, Written,
};
use serde_json::json;

/// Serves over the configuration at `path`, and says where.
pub async fn serve(path: PathBuf) -> anyhow::Result<()> {
    let config = Config::load(Some(&path), std::iter::empty())?;
    let clock = Arc::new(Clock::system());
    let store: Arc<dyn Store> = Arc::new(Prompt {
        incidents: Mutex::default(),
        next: AtomicI64::new(1),
        inner: Sqlite::own(&App::store_path(&config)?, config.server.queue)?,
    });
    let (plans, templates) = (app::load_plans(&config)?, Arc::new(app::load_templates(&config)?));
    let (app, _outcomes) = App::assemble(config, clock, store, plans, templates, Vec::new(), 1).await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", json!(listener.local_addr()?.to_string()));
    tokio::spawn(loudhailer::api::serve(Arc::new(app), listener)?).await??;
    Ok(())
}

struct Prompt {
    incidents: Mutex<HashMap<String, Incident>>,
    next: AtomicI64,
    inner: Sqlite,
}

impl Prompt {
    fn number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// What is not about events goes to the real store.
macro_rules! forwarded {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Prompt {
            async fn known(&self, _: &str, _: &str, key: &str, _: Option<i64>) -> Result<Known> {
                let incidents = self.incidents.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(Known { incident: incidents.get(key).cloned(), ..Known::default() })
            }

            async fn ingest(&self, event: Arc<Event>, apply: Apply) -> Result<Committed> {
                let incident = {
                    let incidents = self.incidents.lock().unwrap_or_else(PoisonError::into_inner);
                    incidents.get(&event.incident).cloned()
                };
                let Applied { change, draws, .. } = match apply(Known { incident, ..Known::default() }) {
                    Ok(applied) => applied,
                    Err(refused) => return Ok(Committed::Refused(refused)),
                };
                let mut incident = change.incident.clone();
                if incident.id.0 == 0 {
                    incident.id = IncidentId(self.number());
                }
                incident.version += 1;
                let ingested = Ingested {
                    incident: incident.id,
                    key: incident.key.clone(),
                    update: Some(UpdateId { incident: incident.id, number: change.update.number }),
                    broadcasts: draws.iter().map(|_| BroadcastId(self.number())).collect(),
                    duplicate: false,
                    late: change.update.late,
                };
                let mut incidents = self.incidents.lock().unwrap_or_else(PoisonError::into_inner);
                incidents.insert(incident.key.clone(), incident);
                // What they draw is for nobody: the engine need not hear of it.
                Ok(Committed::Done { ingested, drawn: Vec::new(), change: Box::new(change) })
            }

            fn leases(&self) -> Arc<Leases> {
                self.inner.leases()
            }

            fn notices(&self) -> Option<Notices> {
                self.inner.notices()
            }

            fn access(&self) -> &dyn Access {
                self.inner.access()
            }

            $(async fn $name(&self, $($argument: $kind),*) -> $answer {
                self.inner.$name($($argument),*).await
            })*
        }
    };
}

forwarded! {
    latest_event(source: &str, incident: IncidentId) -> Result<Option<String>>;
    tick(tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>>;
    incident(id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>>;
    updates(id: IncidentId) -> Result<Vec<UpdateRow>>;
    open_incidents() -> Result<Vec<Incident>>;
    signal(signal: Signal, since: Time) -> Result<Vec<Signal>>;
    silence(component: &str, origin: &str) -> Result<()>;
    signals(since: Time, limit: usize) -> Result<Vec<Signal>>;
    freeze(frozen: Frozen) -> Result<()>;
    frozen(digest: [u8; 32]) -> Result<Option<Vec<u8>>>;
    dead(record: DeadRecord, now: Time) -> Result<()>;
    broadcast(id: BroadcastId) -> Result<Option<Broadcast>>;
    live() -> Result<Vec<Broadcast>>;
    release(id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>>;
    change_state(id: BroadcastId, from: Vec<BroadcastState>, to: BroadcastState, now: Time, by: &str) -> Result<Option<Broadcast>>;
    due_timers(now: Time) -> Result<(Vec<Timer>, Option<Time>)>;
    end_timer(kind: TimerKind, subject: i64, due: Time) -> Result<()>;
    page(broadcast: &Broadcast, shards: RangeInclusive<u8>, after: i64, limit: usize) -> Result<(Vec<Member>, bool)>;
    decide(manifests: Vec<Manifest>, rows: Vec<Fact>, wordings: Vec<Wording>) -> Result<()>;
    record(facts: Arc<Vec<Fact>>, closed: Vec<ManifestKey>) -> Result<Written>;
    due(lane: ChannelId, priority: Priority, now: Time, limit: usize) -> Result<Vec<OpenRow>>;
    next_due(lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>>;
    again(broadcast: &Broadcast, rows: Vec<OpenRow>) -> Result<Vec<Again>>;
    earlier(of: &Broadcast, by: ChannelId, who: Vec<(SubscriberId, u16)>) -> Result<Vec<Vec<Earlier>>>;
    wake(blocked: Vec<ChannelId>, now: Time) -> Result<()>;
    lapse(priority: Priority, now: Time, limit: usize) -> Result<BTreeMap<BroadcastId, i64>>;
    next_lapse(priority: Priority) -> Result<Option<Time>>;
    unfinished(shards: u64, after: Option<ManifestKey>) -> Result<Option<Unfinished>>;
    wording(broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>>;
    word(wordings: Vec<Wording>) -> Result<()>;
    complete(id: BroadcastId, now: Time) -> Result<bool>;
    obeyed() -> ();
    channels(names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>>;
    pause_channel(channel: ChannelId, paused: bool) -> Result<()>;
    breakers() -> Result<Vec<BreakerRow>>;
    set_breaker(row: BreakerRow) -> Result<()>;
    reserve(name: &str, width: i64, buckets: i64, most: i64, count: i64, now: Time) -> Result<Reserved>;
    grant(wanted: &[Wanted]) -> Result<Vec<Duration>>;
    upsert(drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>>;
    import(rows: Arc<Vec<Row>>, seen: Arc<Mutex<Seen>>, now: Time) -> Result<Vec<Imported>>;
    subscriber(id: SubscriberId) -> Result<Option<Subscriber>>;
    subscriber_by_key(key: &str) -> Result<Option<Subscriber>>;
    subscriber_by_address(kind: &str, value: &str) -> Result<Option<Subscriber>>;
    subscribers(after: Option<SubscriberId>, audience: Option<&str>, limit: usize) -> Result<Vec<Subscriber>>;
    remove_subscriber(id: SubscriberId, now: Time) -> Result<bool>;
    suppress(kind: &str, value: &str, reason: &str, now: Time) -> Result<Option<SubscriberId>>;
    unsuppress(kind: &str, value: &str) -> Result<Option<SubscriberId>>;
    audiences() -> Result<Vec<(String, i64)>>;
    incidents(before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>>;
    incident_by_key(key: &str) -> Result<Option<IncidentId>>;
    broadcasts(filter: BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>>;
    counts(broadcast: &Broadcast) -> Result<(Counts, i64)>;
    deliveries(filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>>;
    delivery(id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>>;
    wordings(broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>>;
    oldest_due(priority: Priority) -> Result<Option<Time>>;
    journal_end() -> Result<i64>;
    replay(id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed>;
    recipient(broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<Recipient>>;
    receipt(receipt: ReceiptFact) -> Result<Option<Reported>>;
    meta(name: &str) -> Result<Option<String>>;
    set_meta(name: &str, value: &str) -> Result<()>;
    swap_meta(name: &str, was: Option<&str>, value: &str) -> Result<bool>;
    journal(after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>>;
    backup(to: &Path, watch: Watch) -> Result<Vec<Summed>>;
    retain(incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64>;
    ready() -> Result<()>;
    close() -> Result<()>;
}
