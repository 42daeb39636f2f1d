//! `Store`, method by method: each copies what it was given, and runs one function of its topic as a read or as a job of the
//! writer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::writing::Writing;
use super::{
    Sqlite, backup, broadcast, confirm, delivery, earlier, import, ingest, manifest, put, query, receipt, recipient,
    replay, retention, shard, signal, subscriber, upkeep,
};
use crate::audience::Subscriber;
use crate::audience::import::{Row, Seen};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use crate::incident::Incident;
use crate::ingest::DeadRecord;
use crate::ingest::event::Event;
use crate::plan::{Priority, Thread};
use crate::store::carried::{Summed, Watch};
use crate::store::outcomes::Outcomes;
use crate::store::packed::blind;
use crate::store::settled::{Noted, lock};
use crate::store::{
    Access, Again, Apply, AttemptRow, BreakerRow, Broadcast, BroadcastFilter, BroadcastState, Committed, Counts,
    DeliveryFilter, DeliveryRow, Earlier, Fact, Frozen, Imported, JournalRow, Known, Leases, Manifest, ManifestKey,
    Member, OpenRow, ReceiptFact, Recipient, Replayed, Reported, Reserved, Result, Signal, Store, StoreError,
    SubscriberDraft, Tick, Timer, TimerKind, Unfinished, UpdateRow, Upserted, Wording, WordingKey, Written,
};

#[async_trait]
impl Store for Sqlite {
    async fn known(&self, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known> {
        let (source, id, key) = (source.to_string(), id.to_string(), key.to_string());
        self.read(move |db| ingest::known(db, &source, &id, &key, corrects)).await
    }

    async fn latest_event(&self, source: &str, incident: IncidentId) -> Result<Option<String>> {
        let source = source.to_string();
        self.read(move |db| ingest::latest_event(db, &source, incident)).await
    }

    async fn ingest(&self, event: Arc<Event>, apply: Apply) -> Result<Committed> {
        self.take(move |db| ingest::ingest(db, &event, &apply)).await
    }

    async fn tick(&self, tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>> {
        self.write(move |db| ingest::tick(db, &tick, templates, now)).await
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>> {
        self.read(move |db| ingest::incident(db, id)).await
    }

    async fn updates(&self, id: IncidentId) -> Result<Vec<UpdateRow>> {
        self.read(move |db| ingest::updates(db, id)).await
    }

    async fn open_incidents(&self) -> Result<Vec<Incident>> {
        self.read(ingest::open_incidents).await
    }

    async fn signal(&self, signal: Signal, since: Time) -> Result<Vec<Signal>> {
        self.take(move |db| signal::hear(db, &signal, since)).await
    }

    async fn silence(&self, component: &str, origin: &str) -> Result<()> {
        let (component, origin) = (component.to_string(), origin.to_string());
        self.write(move |db| signal::silence(db, &component, &origin)).await
    }

    async fn signals(&self, since: Time, limit: usize) -> Result<Vec<Signal>> {
        self.read(move |db| signal::list(db, since, limit)).await
    }

    async fn freeze(&self, frozen: Frozen) -> Result<()> {
        self.write(move |db| upkeep::freeze(db, &frozen)).await
    }

    async fn frozen(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>> {
        self.read(move |db| upkeep::frozen(db, &digest)).await
    }

    async fn dead(&self, record: DeadRecord, now: Time) -> Result<()> {
        self.write(move |db| upkeep::dead(db, &record, now)).await
    }

    async fn broadcast(&self, id: BroadcastId) -> Result<Option<Broadcast>> {
        self.read(move |db| broadcast::one(db, id)).await
    }

    async fn live(&self) -> Result<Vec<Broadcast>> {
        self.read(broadcast::live).await
    }

    async fn release(&self, id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>> {
        let by = by.to_string();
        self.write(move |db| broadcast::release_held(db, id, now, &by)).await
    }

    async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        now: Time,
        by: &str,
    ) -> Result<Option<Broadcast>> {
        let by = by.to_string();
        self.write(move |db| broadcast::change_state(db, id, &from, to, now, &by)).await
    }

    async fn complete(&self, id: BroadcastId, now: Time) -> Result<bool> {
        self.write(move |db| broadcast::complete(db, id, now)).await
    }

    async fn due_timers(&self, now: Time) -> Result<(Vec<Timer>, Option<Time>)> {
        self.read(move |db| broadcast::due_timers(db, now)).await
    }

    async fn end_timer(&self, kind: TimerKind, subject: i64, due: Time) -> Result<()> {
        self.write(move |db| broadcast::end_timer(db, kind, subject, due)).await
    }

    async fn page(
        &self,
        broadcast: &Broadcast,
        shards: RangeInclusive<u8>,
        after: i64,
        limit: usize,
    ) -> Result<(Vec<Member>, bool)> {
        self.read_of(broadcast, move |db, of| manifest::page(db, of, shards, after, limit)).await
    }

    async fn decide(&self, manifests: Vec<Manifest>, rows: Vec<Fact>, wordings: Vec<Wording>) -> Result<()> {
        let key = self.key.clone();
        if fault::on(Fault::CursorBeforeManifest) {
            let before = manifests.clone();
            self.write(move |db| manifest::move_cursors(db, &before)).await?;
        }
        let noted = self.outcomes;
        self.write(move |db| manifest::decide(db, &key, &manifests, &rows, &wordings, Outcomes::new(noted))).await
    }

    async fn record(&self, facts: Arc<Vec<Fact>>, closed: Vec<ManifestKey>) -> Result<Written> {
        let (key, noted, leases) = (self.key.clone(), self.outcomes, self.leases.clone());
        self.write(move |db| {
            if fault::on(Fault::StaleOwnersOutcomeDropped) && shard::any_lost(db, &leases, &facts)? {
                return Ok(Written::default());
            }
            delivery::record(db, &key, &facts, &closed, Outcomes::new(noted))
        })
        .await
    }

    async fn lapse(&self, priority: Priority, now: Time, limit: usize) -> Result<BTreeMap<BroadcastId, i64>> {
        let node = self.node();
        self.write(move |db| confirm::lapse(db, node, priority, now, limit)).await
    }

    async fn next_lapse(&self, priority: Priority) -> Result<Option<Time>> {
        let node = self.node();
        self.read(move |db| confirm::next(db, node, priority)).await
    }

    async fn due(&self, lane: ChannelId, priority: Priority, now: Time, limit: usize) -> Result<Vec<OpenRow>> {
        let node = self.node();
        self.read(move |db| delivery::due(db, node, lane, priority, now, limit)).await
    }

    async fn next_due(&self, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>> {
        let node = self.node();
        self.read(move |db| delivery::next_due(db, node, lane, priority, now)).await
    }

    async fn again(&self, broadcast: &Broadcast, rows: Vec<OpenRow>) -> Result<Vec<Again>> {
        self.read_of(broadcast, move |db, of| delivery::again(db, of, rows)).await
    }

    async fn earlier(&self, of: &Broadcast, by: ChannelId, who: Vec<(SubscriberId, u16)>) -> Result<Vec<Vec<Earlier>>> {
        self.read_of(of, move |db, of| earlier::earlier(db, of, by, &who)).await
    }

    async fn wake(&self, blocked: Vec<ChannelId>, now: Time) -> Result<()> {
        let node = self.node();
        self.write(move |db| delivery::wake(db, node, &blocked, now)).await
    }

    async fn unfinished(&self, shards: u64, after: Option<ManifestKey>) -> Result<Option<Unfinished>> {
        self.read(move |db| manifest::unfinished(db, shards, after)).await
    }

    async fn wording(&self, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>> {
        let key = key.clone();
        self.read(move |db| upkeep::wording(db, broadcast, &key)).await
    }

    async fn word(&self, wordings: Vec<Wording>) -> Result<()> {
        self.write(move |db| upkeep::word(db, &wordings)).await
    }

    fn leases(&self) -> Arc<Leases> {
        self.leases.clone()
    }

    async fn channels(&self, names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>> {
        self.write(move |db| upkeep::channels(db, &names)).await
    }

    async fn pause_channel(&self, channel: ChannelId, paused: bool) -> Result<()> {
        self.write(move |db| upkeep::pause_channel(db, channel, paused)).await
    }

    async fn breakers(&self) -> Result<Vec<BreakerRow>> {
        self.read(upkeep::breakers).await
    }

    async fn set_breaker(&self, row: BreakerRow) -> Result<()> {
        self.write(move |db| upkeep::set_breaker(db, &row)).await
    }

    async fn reserve(
        &self,
        name: &str,
        width: i64,
        buckets: i64,
        most: i64,
        count: i64,
        now: Time,
    ) -> Result<Reserved> {
        let name = name.to_string();
        self.write(move |db| upkeep::reserve(db, &name, now.0 / width, buckets, most, count)).await
    }

    async fn upsert(&self, drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>> {
        let key = self.key.clone();
        self.take(move |db| put::upsert(db, &key, &drafts, now)).await
    }

    async fn import(&self, rows: Arc<Vec<Row>>, seen: Arc<Mutex<Seen>>, now: Time) -> Result<Vec<Imported>> {
        let key = self.key.clone();
        let noted = Arc::new(Mutex::new(Noted::new(seen)));
        let undone = noted.clone();
        let work = move |db: &Writing| import::import(db, &key, &rows, &mut lock(&noted), now);
        self.writer.run_or_undo(work, move || lock(&undone).undo()).await
    }

    async fn subscriber(&self, id: SubscriberId) -> Result<Option<Subscriber>> {
        self.read(move |db| subscriber::one(db, id)).await
    }

    async fn subscriber_by_key(&self, key: &str) -> Result<Option<Subscriber>> {
        let key = key.to_string();
        self.read(move |db| subscriber::by_key(db, &key)).await
    }

    async fn subscriber_by_address(&self, kind: &str, value: &str) -> Result<Option<Subscriber>> {
        let blind = blind(&self.key, kind, value);
        self.read(move |db| subscriber::by_blind(db, &blind)).await
    }

    async fn subscribers(
        &self,
        after: Option<SubscriberId>,
        audience: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Subscriber>> {
        let audience = audience.map(str::to_string);
        self.read(move |db| subscriber::list(db, after, audience.as_deref(), limit)).await
    }

    async fn remove_subscriber(&self, id: SubscriberId, now: Time) -> Result<bool> {
        let key = self.key.clone();
        self.write(move |db| subscriber::remove(db, &key, id, now)).await
    }

    async fn suppress(&self, kind: &str, value: &str, reason: &str, now: Time) -> Result<Option<SubscriberId>> {
        let blind = blind(&self.key, kind, value);
        let reason = reason.to_string();
        self.write(move |db| subscriber::suppress(db, &blind, &reason, now)).await
    }

    async fn unsuppress(&self, kind: &str, value: &str) -> Result<Option<SubscriberId>> {
        let blind = blind(&self.key, kind, value);
        self.write(move |db| subscriber::unsuppress(db, &blind)).await
    }

    async fn audiences(&self) -> Result<Vec<(String, i64)>> {
        self.read(subscriber::audiences).await
    }

    async fn incidents(&self, before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>> {
        self.read(move |db| query::incidents(db, before, open, limit)).await
    }

    async fn incident_by_key(&self, key: &str) -> Result<Option<IncidentId>> {
        let key = key.to_string();
        self.read(move |db| Ok(ingest::by_key(db, &key)?.map(|incident| incident.id))).await
    }

    async fn broadcasts(&self, filter: BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>> {
        self.read(move |db| query::broadcasts(db, &filter, limit)).await
    }

    async fn counts(&self, broadcast: &Broadcast) -> Result<(Counts, i64)> {
        let broadcast = broadcast.clone();
        self.read(move |db| Ok((query::counts(db, broadcast.id)?, query::unread(db, &broadcast)?))).await
    }

    async fn deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>> {
        self.read(move |db| query::deliveries(db, &filter, limit)).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>> {
        self.read(move |db| query::delivery(db, id)).await
    }

    async fn wordings(&self, broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>> {
        self.read(move |db| query::wordings(db, broadcast)).await
    }

    async fn oldest_due(&self, priority: Priority) -> Result<Option<Time>> {
        self.read(move |db| query::oldest_due(db, priority.rank())).await
    }

    async fn journal_end(&self) -> Result<i64> {
        self.read(query::journal_end).await
    }

    async fn replay(&self, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed> {
        let by = by.to_string();
        self.write(move |db| replay::replay(db, id, due, now, &by)).await
    }

    async fn recipient(&self, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<Recipient>> {
        self.read(move |db| recipient::read(db, broadcast, subscriber)).await
    }

    async fn receipt(&self, receipt: ReceiptFact) -> Result<Option<Reported>> {
        let key = self.key.clone();
        self.take(move |db| receipt::take(db, &key, &receipt)).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_string();
        self.read(move |db| upkeep::meta(db, &name)).await
    }

    async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_string(), value.to_string());
        self.write(move |db| upkeep::set_meta(db, &name, &value)).await
    }

    async fn swap_meta(&self, name: &str, was: Option<&str>, value: &str) -> Result<bool> {
        let (name, was, value) = (name.to_string(), was.map(str::to_string), value.to_string());
        self.write(move |db| upkeep::swap_meta(db, &name, was.as_deref(), &value)).await
    }

    fn access(&self) -> &dyn Access {
        self
    }

    async fn journal(&self, after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>> {
        self.read(move |db| upkeep::journal(db, after, limit, outcomes)).await
    }

    async fn backup(&self, to: &Path, watch: Watch) -> Result<Vec<Summed>> {
        let (from, to) = (self.path.clone(), to.to_path_buf());
        tokio::task::spawn_blocking(move || backup::backup(&from, &to, &watch))
            .await
            .map_err(|_| StoreError::Failed("the backup panicked".into()))?
    }

    async fn retain(&self, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64> {
        self.write(move |db| retention::retain(db, incidents, events, journal, receipts)).await
    }

    async fn ready(&self) -> Result<()> {
        // Where the last commit failed, only a write can say whether the next one would: as long as this answers no, nobody may
        // send anything that would be written.
        match self.writer.failed() {
            true => self.write(|db| upkeep::set_meta(db, "tried", "")).await,
            false => self.write(|_| Ok(())).await,
        }
    }

    async fn close(&self) -> Result<()> {
        self.write(|_| Ok(())).await
    }
}
