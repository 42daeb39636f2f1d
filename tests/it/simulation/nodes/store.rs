//! A node's store: the shared one, reached over the node's link. What a call writes is told to the other nodes with the commit, as
//! PostgreSQL's store tells it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::audience::Subscriber;
use loudhailer::audience::import::{Row, Seen};
use loudhailer::audience::route::ChannelId;
use loudhailer::clock::{Clock, Time};
use loudhailer::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use loudhailer::incident::Incident;
use loudhailer::ingest::DeadRecord;
use loudhailer::ingest::event::Event;
use loudhailer::plan::{Priority, Thread};
use loudhailer::store::carried::{Summed, Watch};
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{
    Access, Again, Apply, AttemptRow, BreakerRow, Broadcast, BroadcastFilter, BroadcastState, Committed, Counts,
    DeliveryFilter, DeliveryRow, DeliveryState, Earlier, Fact, Frozen, Imported, JournalRow, Known, Leases, Manifest,
    ManifestKey, Member, Node, Notice, Notices, OpenRow, Payload, ReceiptFact, Recipient, Replayed, Reported, Reserved,
    Result, Signal, Store, SubscriberDraft, Tick, Timer, TimerKind, Unfinished, UpdateRow, Upserted, Wanted, Wording,
    WordingKey, Written,
};

use super::cluster::{Cluster, Reach};
use super::link::Link;

pub struct Shared {
    cluster: Arc<Cluster>,
    link: Arc<Link>,
    node: Arc<Node>,
    inner: Arc<Sqlite>,
}

impl Shared {
    /// A node of the cluster, that has its share of what nobody owns when this returns.
    pub async fn join(cluster: &Arc<Cluster>, link: &Arc<Link>, clock: &Arc<Clock>) -> Result<Shared> {
        let reach = Reach { cluster: cluster.clone(), link: link.clone() };
        let node = Arc::new(Node::join(Box::new(reach), clock.clone()).await?);
        let inner = Arc::new(cluster.disk.beside(node.number(), node.leases.clone()));
        Ok(Shared { cluster: cluster.clone(), link: link.clone(), node, inner })
    }

    /// Reads something, or writes what nobody is told.
    async fn quietly<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.link.passes().await;
        let answer = work.await;
        self.link.passes().await;
        answer
    }

    /// Writes something of which the other nodes hear with the commit, whoever still waits for the answer.
    async fn telling<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
        says: impl FnOnce(&T) -> Vec<Notice> + Send + 'static,
    ) -> Result<T> {
        self.link.passes().await;
        let (cluster, node) = (self.cluster.clone(), self.node.clone());
        let told = tokio::spawn(async move {
            let written = work.await?;
            let notices = says(&written);
            if !notices.is_empty() {
                let (from, sequence) = (node.id(), node.announced.number());
                node.announced.said(sequence, cluster.others(from).into_iter().collect());
                cluster.say(&Payload::Says { from, sequence, notices });
            }
            Ok(written)
        });
        let answer = told.await.expect("no panic");
        self.link.passes().await;
        answer
    }

    /// The broadcasts that may have changed their states with others of their threads.
    async fn live_ids(&self) -> Result<Vec<i64>> {
        Ok(self.inner.live().await?.iter().map(|broadcast| broadcast.id.0).collect())
    }
}

fn with(mut ids: Vec<i64>, more: impl IntoIterator<Item = BroadcastId>) -> Notice {
    more.into_iter().filter(|id| !ids.contains(&id.0)).collect::<Vec<_>>().iter().for_each(|id| ids.push(id.0));
    Notice::Broadcasts(ids)
}

macro_rules! quietly {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Shared {
            fn leases(&self) -> Arc<Leases> {
                self.node.leases.clone()
            }

            fn notices(&self) -> Option<Notices> {
                self.node.notices()
            }

            async fn obeyed(&self) {
                self.node.announced.obeyed().await;
            }

            async fn ingest(&self, event: Arc<Event>, apply: Apply) -> Result<Committed> {
                let (inner, live) = (self.inner.clone(), self.live_ids().await?);
                self.telling(async move { inner.ingest(event, apply).await }, |committed| match committed {
                    Committed::Done { ingested, drawn, .. } => {
                        let drawn = drawn.iter().map(|broadcast| broadcast.id);
                        vec![with(live, drawn), Notice::Incident(ingested.incident.0)]
                    }
                    _ => Vec::new(),
                })
                .await
            }

            async fn tick(&self, tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>> {
                let (inner, live) = (self.inner.clone(), self.live_ids().await?);
                self.telling(async move { inner.tick(tick, templates, now).await }, move |drawn| {
                    drawn.iter().map(|drawn| with(live.clone(), drawn.iter().map(|broadcast| broadcast.id))).collect()
                })
                .await
            }

            async fn release(&self, id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>> {
                let (inner, live, by) = (self.inner.clone(), self.live_ids().await?, by.to_string());
                self.telling(async move { inner.release(id, now, &by).await }, move |released| {
                    released.iter().map(|_| with(live.clone(), [id])).collect()
                })
                .await
            }

            async fn change_state(
                &self,
                id: BroadcastId,
                from: Vec<BroadcastState>,
                to: BroadcastState,
                now: Time,
                by: &str,
            ) -> Result<Option<Broadcast>> {
                let (inner, by) = (self.inner.clone(), by.to_string());
                self.telling(async move { inner.change_state(id, from, to, now, &by).await }, move |changed| {
                    changed.iter().map(|_| Notice::Broadcasts(vec![id.0])).collect()
                })
                .await
            }

            async fn complete(&self, id: BroadcastId, now: Time) -> Result<bool> {
                let inner = self.inner.clone();
                self.telling(async move { inner.complete(id, now).await }, move |done| {
                    done.then(|| Notice::Broadcasts(vec![id.0])).into_iter().collect()
                })
                .await
            }

            async fn record(&self, facts: Arc<Vec<Fact>>, closed: Vec<ManifestKey>) -> Result<Written> {
                let (inner, leases) = (self.inner.clone(), self.node.leases.clone());
                let of = facts.clone();
                self.telling(async move { inner.record(facts, closed).await }, move |written| {
                    let lost = |fact: &Fact| leases.epoch(fact.delivery.subscriber.shard()).is_none();
                    let rows = of.iter().any(|fact| fact.state == DeliveryState::Open && lost(fact));
                    let rows = rows.then_some(Notice::Inherited);
                    let silent: Vec<i64> = written.suppressed.iter().map(|id| id.0).collect();
                    rows.into_iter().chain((!silent.is_empty()).then_some(Notice::Subscribers(silent))).collect()
                })
                .await
            }

            /// At times its node is cut off just then: what it has decided comes when the shard may be another's.
            async fn decide(
                &self,
                manifests: Vec<Manifest>,
                rows: Vec<Fact>,
                wordings: Vec<Wording>,
            ) -> Result<()> {
                self.link.at_a_bad_moment();
                self.quietly(self.inner.decide(manifests, rows, wordings)).await
            }

            async fn pause_channel(&self, channel: ChannelId, paused: bool) -> Result<()> {
                let inner = self.inner.clone();
                self.telling(async move { inner.pause_channel(channel, paused).await }, move |()| {
                    vec![Notice::Channel(channel.0)]
                })
                .await
            }

            async fn set_breaker(&self, row: BreakerRow) -> Result<()> {
                let (inner, channel) = (self.inner.clone(), row.channel);
                self.telling(async move { inner.set_breaker(row).await }, move |()| vec![Notice::Channel(channel.0)]).await
            }

            async fn upsert(&self, drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>> {
                let inner = self.inner.clone();
                self.telling(async move { inner.upsert(drafts, now).await }, |written| {
                    let changed = written.iter().filter_map(|written| match written {
                        Upserted::Created(id) | Upserted::Updated(id) => Some(id.0),
                        _ => None,
                    });
                    vec![Notice::Subscribers(changed.collect())]
                })
                .await
            }

            async fn suppress(&self, kind: &str, value: &str, reason: &str, now: Time) -> Result<Option<SubscriberId>> {
                let (inner, kind, value, reason) =
                    (self.inner.clone(), kind.to_string(), value.to_string(), reason.to_string());
                self.telling(async move { inner.suppress(&kind, &value, &reason, now).await }, |whose| {
                    whose.iter().map(|id| Notice::Subscribers(vec![id.0])).collect()
                })
                .await
            }

            async fn replay(&self, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed> {
                let (inner, by) = (self.inner.clone(), by.to_string());
                self.telling(async move { inner.replay(id, due, now, &by).await }, move |replayed| match replayed {
                    Replayed::Open { .. } => vec![Notice::Rows, Notice::Broadcasts(vec![id.broadcast.0])],
                    _ => Vec::new(),
                })
                .await
            }

            async fn receipt(&self, receipt: ReceiptFact) -> Result<Option<Reported>> {
                let inner = self.inner.clone();
                self.telling(async move { inner.receipt(receipt).await }, |reported| {
                    let Some(Reported { delivery: of, ended, opened, suppressed, late, .. }) = *reported else {
                        return Vec::new();
                    };
                    let all = [
                        (ended < 0).then_some(Notice::Broadcasts(vec![of.broadcast.0])),
                        opened.then_some(Notice::Rows),
                        suppressed.then_some(Notice::Subscribers(vec![of.subscriber.0])),
                        late.then_some(Notice::Confirmed(of.broadcast.0, of.subscriber.0)),
                    ];
                    all.into_iter().flatten().collect()
                })
                .await
            }

            async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
                let (inner, name, value) = (self.inner.clone(), name.to_string(), value.to_string());
                let notice = (!name.starts_with("learned/")).then(|| Notice::Setting(name.clone()));
                self.telling(async move { inner.set_meta(&name, &value).await }, move |()| notice.into_iter().collect())
                    .await
            }

            /// By the store's own clock, whatever the node's shows.
            async fn reserve(
                &self,
                name: &str,
                width: i64,
                buckets: i64,
                most: i64,
                count: i64,
                now: Time,
            ) -> Result<Reserved> {
                self.link.passes().await;
                let own = self.cluster.clock();
                let reserved = self.inner.reserve(name, width, buckets, most, count, own).await;
                self.link.passes().await;
                Ok(Reserved { ahead: own.0 - now.0, ..reserved? })
            }

            async fn grant(&self, wanted: &[Wanted]) -> Result<Vec<Duration>> {
                self.link.passes().await;
                let after = wanted.iter().map(|Wanted { limits, count }| self.cluster.grant(limits, *count)).collect();
                self.link.passes().await;
                Ok(after)
            }

            async fn close(&self) -> Result<()> {
                self.node.leave().await;
                Ok(())
            }

            fn access(&self) -> &dyn Access {
                self.inner.access()
            }

            $(async fn $name(&self, $($argument: $kind),*) -> $answer {
                self.quietly(self.inner.$name($($argument),*)).await
            })*
        }
    };
}

quietly! {
    known(source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known>;
    latest_event(source: &str, incident: IncidentId) -> Result<Option<String>>;
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
    due_timers(now: Time) -> Result<(Vec<Timer>, Option<Time>)>;
    end_timer(kind: TimerKind, subject: i64, due: Time) -> Result<()>;
    page(broadcast: &Broadcast, shards: RangeInclusive<u8>, after: i64, limit: usize) -> Result<(Vec<Member>, bool)>;
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
    channels(names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>>;
    breakers() -> Result<Vec<BreakerRow>>;
    import(rows: Arc<Vec<Row>>, seen: Arc<Mutex<Seen>>, now: Time) -> Result<Vec<Imported>>;
    subscriber(id: SubscriberId) -> Result<Option<Subscriber>>;
    subscriber_by_key(key: &str) -> Result<Option<Subscriber>>;
    subscriber_by_address(kind: &str, value: &str) -> Result<Option<Subscriber>>;
    subscribers(after: Option<SubscriberId>, audience: Option<&str>, limit: usize) -> Result<Vec<Subscriber>>;
    remove_subscriber(id: SubscriberId, now: Time) -> Result<bool>;
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
    recipient(broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<Recipient>>;
    meta(name: &str) -> Result<Option<String>>;
    swap_meta(name: &str, was: Option<&str>, value: &str) -> Result<bool>;
    journal(after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>>;
    backup(to: &Path, watch: Watch) -> Result<Vec<Summed>>;
    retain(incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64>;
    ready() -> Result<()>;
}
