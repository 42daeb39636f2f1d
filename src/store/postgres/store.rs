//! `Store`, method by method: each runs one function of its topic as a read or as a transaction.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::transaction::{read, snapshot, write};
use super::{
    Postgres, backup, block, broadcast, confirm, delivery, earlier, grant, import, ingest, manifest, put, query,
    receipt, recipient, replay, retention, signal, subscriber, upkeep,
};
use crate::audience::Subscriber;
use crate::audience::import::{Row, Seen};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId};
use crate::incident::Incident;
use crate::ingest::DeadRecord;
use crate::ingest::event::Event;
use crate::plan::{Priority, Thread};
use crate::store::carried::{Summed, Watch};
use crate::store::node::Node;
use crate::store::outcomes::Outcomes;
use crate::store::packed::blind;
use crate::store::settled::{Noted, lock};
use crate::store::{
    Access, Again, Apply, AttemptRow, BreakerRow, Broadcast, BroadcastFilter, BroadcastState, Committed, Counts,
    DeliveryFilter, DeliveryRow, Earlier, Fact, Frozen, Imported, JournalRow, Known, Leases, Manifest, ManifestKey,
    Member, Notice, Notices, OpenRow, ReceiptFact, Recipient, Replayed, Reported, Reserved, Result, Signal, Store,
    SubscriberDraft, Tick, Timer, TimerKind, Unfinished, UpdateRow, Upserted, Wanted, Wording, WordingKey, Written,
};

#[async_trait]
impl Store for Postgres {
    async fn known(&self, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known> {
        read!(self, db => ingest::known(db, source, id, key, corrects))
    }

    async fn latest_event(&self, source: &str, incident: IncidentId) -> Result<Option<String>> {
        read!(self, db => ingest::latest_event(db, source, incident))
    }

    async fn ingest(&self, event: Arc<Event>, apply: Apply) -> Result<Committed> {
        let _place = self.place()?;
        write!(self, db => ingest::ingest(db, &event, &apply))
    }

    async fn tick(&self, tick: Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>> {
        write!(self, db => ingest::tick(db, &tick, templates, now))
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>> {
        read!(self, db => ingest::incident(db, id))
    }

    async fn updates(&self, id: IncidentId) -> Result<Vec<UpdateRow>> {
        read!(self, db => ingest::updates(db, id))
    }

    async fn open_incidents(&self) -> Result<Vec<Incident>> {
        read!(self, db => ingest::open_incidents(db))
    }

    async fn signal(&self, signal: Signal, since: Time) -> Result<Vec<Signal>> {
        let _place = self.place()?;
        write!(self, db => signal::hear(db, &signal, since))
    }

    async fn silence(&self, component: &str, origin: &str) -> Result<()> {
        write!(self, db => signal::silence(db, component, origin))
    }

    async fn signals(&self, since: Time, limit: usize) -> Result<Vec<Signal>> {
        read!(self, db => signal::list(db, since, limit))
    }

    async fn freeze(&self, frozen: Frozen) -> Result<()> {
        write!(self, db => upkeep::freeze(db, &frozen))
    }

    async fn frozen(&self, digest: [u8; 32]) -> Result<Option<Vec<u8>>> {
        read!(self, db => upkeep::frozen(db, &digest))
    }

    async fn dead(&self, record: DeadRecord, now: Time) -> Result<()> {
        write!(self, db => upkeep::dead(db, &record, now))
    }

    async fn broadcast(&self, id: BroadcastId) -> Result<Option<Broadcast>> {
        read!(self, db => broadcast::one(db, id))
    }

    async fn live(&self) -> Result<Vec<Broadcast>> {
        read!(self, db => broadcast::live(db))
    }

    async fn release(&self, id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>> {
        write!(self, db => broadcast::release_held(db, id, now, by))
    }

    async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        now: Time,
        by: &str,
    ) -> Result<Option<Broadcast>> {
        write!(self, db => broadcast::change_state(db, id, &from, to, now, by))
    }

    async fn complete(&self, id: BroadcastId, now: Time) -> Result<bool> {
        write!(self, db => broadcast::complete(db, id, now))
    }

    async fn due_timers(&self, now: Time) -> Result<(Vec<Timer>, Option<Time>)> {
        read!(self, db => broadcast::due_timers(db, now))
    }

    async fn end_timer(&self, kind: TimerKind, subject: i64, due: Time) -> Result<()> {
        write!(self, db => broadcast::end_timer(db, kind, subject, due))
    }

    async fn page(
        &self,
        broadcast: &Broadcast,
        shards: RangeInclusive<u8>,
        after: i64,
        limit: usize,
    ) -> Result<(Vec<Member>, bool)> {
        read!(self, db => manifest::page(db, broadcast, shards.clone(), after, limit))
    }

    async fn decide(&self, manifests: Vec<Manifest>, rows: Vec<Fact>, wordings: Vec<Wording>) -> Result<()> {
        write!(self, db => manifest::decide(db, &self.key, self.id(), &manifests, &rows, &wordings, Outcomes::new(self.outcomes)))
    }

    async fn record(&self, facts: Arc<Vec<Fact>>, closed: Vec<ManifestKey>) -> Result<Written> {
        let again = AtomicBool::new(false);
        write!(self, db => {
            let outcomes = Outcomes::new(self.outcomes);
            let again = again.swap(true, Ordering::Relaxed);
            delivery::record(db, &self.key, self.id(), &facts, &closed, outcomes, again)
        })
    }

    async fn lapse(&self, priority: Priority, now: Time, limit: usize) -> Result<BTreeMap<BroadcastId, i64>> {
        write!(self, db => confirm::lapse(db, self.id(), priority, now, limit))
    }

    async fn next_lapse(&self, priority: Priority) -> Result<Option<Time>> {
        read!(self, db => confirm::next(db, self.id(), priority))
    }

    async fn due(&self, lane: ChannelId, priority: Priority, now: Time, limit: usize) -> Result<Vec<OpenRow>> {
        read!(self, db => delivery::due(db, self.id(), lane, priority, now, limit))
    }

    async fn next_due(&self, lane: ChannelId, priority: Priority, now: Time) -> Result<Option<Time>> {
        read!(self, db => delivery::next_due(db, self.id(), lane, priority, now))
    }

    async fn again(&self, broadcast: &Broadcast, rows: Vec<OpenRow>) -> Result<Vec<Again>> {
        snapshot!(self, db => delivery::again(db, broadcast, &rows))
    }

    async fn earlier(&self, of: &Broadcast, by: ChannelId, who: Vec<(SubscriberId, u16)>) -> Result<Vec<Vec<Earlier>>> {
        snapshot!(self, db => earlier::earlier(db, of, by, &who))
    }

    async fn wake(&self, blocked: Vec<ChannelId>, now: Time) -> Result<()> {
        write!(self, db => delivery::wake(db, self.id(), &blocked, now))
    }

    async fn unfinished(&self, shards: u64, after: Option<ManifestKey>) -> Result<Option<Unfinished>> {
        read!(self, db => manifest::unfinished(db, shards, after))
    }

    async fn wording(&self, broadcast: BroadcastId, key: &WordingKey) -> Result<Option<Vec<u8>>> {
        read!(self, db => upkeep::wording(db, broadcast, key))
    }

    async fn word(&self, wordings: Vec<Wording>) -> Result<()> {
        write!(self, db => upkeep::word(db, &wordings))
    }

    fn leases(&self) -> Arc<Leases> {
        self.leases.clone()
    }

    fn notices(&self) -> Option<Notices> {
        self.node.as_ref().and_then(Node::notices)
    }

    async fn obeyed(&self) {
        if let Some(node) = &self.node {
            node.announced.obeyed().await;
        }
    }

    async fn channels(&self, names: Vec<String>) -> Result<Vec<(String, ChannelId, bool)>> {
        write!(self, db => upkeep::channels(db, &names))
    }

    async fn pause_channel(&self, channel: ChannelId, paused: bool) -> Result<()> {
        write!(self, db => upkeep::pause_channel(db, channel, paused))
    }

    async fn breakers(&self) -> Result<Vec<BreakerRow>> {
        read!(self, db => upkeep::breakers(db))
    }

    async fn set_breaker(&self, row: BreakerRow) -> Result<()> {
        write!(self, db => upkeep::set_breaker(db, &row))
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
        write!(self, db => upkeep::reserve(db, name, width, buckets, most, count, now))
    }

    async fn grant(&self, wanted: &[Wanted]) -> Result<Vec<Duration>> {
        let after = write!(self, db => grant::grant(db, wanted))?;
        Ok(after.into_iter().map(|after| Duration::from_micros(after.unsigned_abs())).collect())
    }

    async fn upsert(&self, drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>> {
        let _place = self.place()?;
        write!(self, db => put::upsert(db, &self.key, &drafts, now))
    }

    async fn import(&self, rows: Arc<Vec<Row>>, seen: Arc<Mutex<Seen>>, now: Time) -> Result<Vec<Imported>> {
        let noted = Mutex::new(Noted::new(seen));
        let imported = write!(self, db => import::import(db, &self.key, &rows, &noted, now));
        // Nothing of it is written: nobody in it has been seen.
        imported.inspect_err(|_| lock(&noted).undo())
    }

    async fn subscriber(&self, id: SubscriberId) -> Result<Option<Subscriber>> {
        read!(self, db => subscriber::one(db, id))
    }

    async fn subscriber_by_key(&self, key: &str) -> Result<Option<Subscriber>> {
        read!(self, db => subscriber::by_key(db, key))
    }

    async fn subscriber_by_address(&self, kind: &str, value: &str) -> Result<Option<Subscriber>> {
        let blind = blind(&self.key, kind, value);
        read!(self, db => subscriber::by_blind(db, &blind))
    }

    async fn subscribers(
        &self,
        after: Option<SubscriberId>,
        audience: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Subscriber>> {
        read!(self, db => subscriber::list(db, after, audience, limit))
    }

    async fn remove_subscriber(&self, id: SubscriberId, now: Time) -> Result<bool> {
        write!(self, db => subscriber::remove(db, &self.key, id, now))
    }

    async fn suppress(&self, kind: &str, value: &str, reason: &str, now: Time) -> Result<Option<SubscriberId>> {
        let blind = blind(&self.key, kind, value);
        write!(self, db => subscriber::suppress(db, &blind, reason, now))
    }

    async fn unsuppress(&self, kind: &str, value: &str) -> Result<Option<SubscriberId>> {
        let blind = blind(&self.key, kind, value);
        write!(self, db => subscriber::unsuppress(db, &blind))
    }

    async fn audiences(&self) -> Result<Vec<(String, i64)>> {
        read!(self, db => subscriber::audiences(db))
    }

    async fn incidents(&self, before: Option<IncidentId>, open: bool, limit: usize) -> Result<Vec<Incident>> {
        read!(self, db => query::incidents(db, before, open, limit))
    }

    async fn incident_by_key(&self, key: &str) -> Result<Option<IncidentId>> {
        let found = read!(self, db => ingest::by_key(db, key));
        Ok(found?.map(|incident| incident.id))
    }

    async fn broadcasts(&self, filter: BroadcastFilter, limit: usize) -> Result<Vec<(Broadcast, Counts)>> {
        read!(self, db => query::broadcasts(db, &filter, limit))
    }

    async fn counts(&self, broadcast: &Broadcast) -> Result<(Counts, i64)> {
        read!(self, db => async { Ok((query::counts(db, broadcast.id).await?, query::unread(db, broadcast).await?)) })
    }

    async fn deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>> {
        read!(self, db => query::deliveries(db, &filter, limit))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<(DeliveryRow, Vec<AttemptRow>)>> {
        read!(self, db => query::delivery(db, id))
    }

    async fn wordings(&self, broadcast: BroadcastId) -> Result<Vec<(WordingKey, Vec<u8>)>> {
        read!(self, db => query::wordings(db, broadcast))
    }

    async fn oldest_due(&self, priority: Priority) -> Result<Option<Time>> {
        read!(self, db => query::oldest_due(db, priority.rank()))
    }

    async fn journal_end(&self) -> Result<i64> {
        read!(self, db => query::journal_end(db))
    }

    async fn replay(&self, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed> {
        write!(self, db => replay::replay(db, id, due, now, by))
    }

    async fn recipient(&self, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Option<Recipient>> {
        snapshot!(self, db => recipient::read(db, broadcast, subscriber))
    }

    async fn receipt(&self, receipt: ReceiptFact) -> Result<Option<Reported>> {
        let _place = self.place()?;
        write!(self, db => receipt::take(db, &self.key, &receipt))
    }

    async fn meta(&self, name: &str) -> Result<Option<String>> {
        read!(self, db => upkeep::meta(db, name))
    }

    async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        write!(self, db => async {
            // What platforms taught changes often, and each node has its own lessons.
            if !name.starts_with("learned/") {
                db.notice(Notice::Setting(name.into()));
            }
            upkeep::set_meta(db, name, value).await
        })
    }

    async fn swap_meta(&self, name: &str, was: Option<&str>, value: &str) -> Result<bool> {
        write!(self, db => upkeep::swap_meta(db, name, was, value))
    }

    fn access(&self) -> &dyn Access {
        self
    }

    async fn journal(&self, after: i64, limit: usize, outcomes: bool) -> Result<Vec<JournalRow>> {
        read!(self, db => upkeep::journal(db, after, limit, outcomes))
    }

    async fn backup(&self, to: &Path, watch: Watch) -> Result<Vec<Summed>> {
        backup::backup(self, to, watch).await
    }

    async fn retain(&self, incidents: Time, events: Time, journal: Time, receipts: Time) -> Result<u64> {
        let over = read!(self, db => retention::block_over(db, incidents))?;
        if let Some(block) = over {
            match write!(self, db => block::drop_block(db, block)) {
                Ok(()) => return Ok(1),
                Err(error) => tracing::debug!(%error, block, "a block is dropped another time, and emptied meanwhile"),
            }
        }
        write!(self, db => retention::retain(db, incidents, events, journal, receipts))
    }

    /// A true write: only that says whether the next one would succeed. As long as this answers no, nobody may send anything that
    /// would be written.
    async fn ready(&self) -> Result<()> {
        self.leased()?;
        write!(self, db => upkeep::set_meta(db, "tried", ""))
    }

    async fn close(&self) -> Result<()> {
        if let Some(node) = &self.node {
            node.leave().await;
        }
        self.pool.close();
        Ok(())
    }
}
