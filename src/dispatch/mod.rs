//! The engine. The planner decides pages of recipients into manifests and open rows into lanes; each lane, one a channel,
//! sends what is most urgent when slot and permit allow; the recorder writes what came of it. What is accepted is on disk
//! before anything is sent, and a recipient leaves memory only into a row.

mod again;
pub mod breaker;
pub mod feeds;
pub mod hosts;
pub mod lane;
pub mod live;
pub mod pace;
pub mod page;
pub mod permit;
pub mod planner;
pub mod recorder;
pub mod recovery;
pub mod retry;
pub mod ticker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use ring::hmac;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::lane::Lane;
use self::live::Live;
use self::recorder::Entry;
use crate::audience::route::{Candidate, ChannelId};
use crate::clock::{Clock, Time};
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId, Withdrawal};
use crate::plan::Priority;
use crate::render::message::Message;
use crate::store::{Broadcast, BroadcastState, Replayed, Store, WordingKey};

/// The words of a broadcast, from the templates that its release froze.
#[async_trait]
pub trait Words: Send + Sync {
    async fn message(&self, broadcast: &Broadcast, key: &WordingKey) -> Result<Message, String>;
}

/// What the engine is built from.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub words: Arc<dyn Words>,
    pub lanes: Vec<lane::Settings>,
    pub key: hmac::Key,
    pub public_url: String,
    pub settings: Settings,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Deliveries waiting in memory, by lane and priority.
    pub lane: usize,
    /// Recipients in one manifest.
    pub page: usize,
    /// Attempts whose outcome may be unwritten at one time.
    pub attempt_room: usize,
}

pub struct Engine {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub words: Arc<dyn Words>,
    pub key: hmac::Key,
    pub public_url: String,
    pub settings: Settings,
    pub epoch: i64,
    pub lanes: BTreeMap<ChannelId, Arc<Lane>>,
    pub(crate) live: Mutex<BTreeMap<BroadcastId, Arc<Live>>>,
    /// What each open incident says is down.
    pub(crate) down: Mutex<BTreeMap<IncidentId, BTreeSet<String>>>,
    /// Subscribers that changed while something for them may be in memory.
    pub(crate) changed: Mutex<Changed>,
    /// Open rows that are in a lane or on the wire.
    pub(crate) claimed: Mutex<BTreeSet<DeliveryId>>,
    /// When the next open row of a lane and priority may be due.
    pub(crate) hints: Mutex<BTreeMap<(Priority, ChannelId), Time>>,
    /// Attempts begun and not yet recorded, by broadcast.
    pub(crate) attempting: Mutex<BTreeMap<BroadcastId, usize>>,
    pub(crate) entries: mpsc::UnboundedSender<Entry>,
    ways: AtomicU64,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) plan: Notify,
    pub(crate) tick: Notify,
    pub(crate) recorded: Notify,
    /// Counts what was written: whoever shows the state waits for a change.
    happened: tokio::sync::watch::Sender<u64>,
    chance: Mutex<fastrand::Rng>,
    pub stop: CancellationToken,
    /// Ends what is not on the wire: set before `stop` when the process goes.
    pub(crate) tasks: TaskTracker,
    pub(crate) attempts: TaskTracker,
}

/// At most so many changed subscribers are remembered one by one; past it everything in memory is decided afresh.
const REMEMBERED_CHANGES: usize = 100_000;

#[derive(Default)]
pub(crate) struct Changed {
    versions: BTreeMap<SubscriberId, i64>,
    /// Deliveries decided before this many overflows are decided afresh.
    pub overflows: u64,
}

impl Changed {
    pub fn note(&mut self, id: SubscriberId, version: i64) {
        if self.versions.len() >= REMEMBERED_CHANGES {
            self.versions.clear();
            self.overflows += 1;
        }
        self.versions.insert(id, version);
    }

    pub fn since(&self, id: SubscriberId, version: i64, overflows: u64) -> bool {
        overflows < self.overflows || self.versions.get(&id).is_some_and(|changed| *changed > version)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Engine {
    /// Builds the engine and reads what is live. Nothing is sent before `start`.
    pub async fn new(parts: Parts) -> crate::store::Result<(Arc<Engine>, mpsc::UnboundedReceiver<Entry>)> {
        let epoch = parts.store.epoch().await?;
        let (entries, outcomes) = mpsc::unbounded_channel();
        let mut lanes = BTreeMap::new();
        for settings in parts.lanes {
            let spent = permit::read_spent(&*parts.store, &settings, parts.clock.steady()).await?;
            lanes.insert(settings.id, Arc::new(Lane::new(settings, parts.clock.clone(), parts.settings, spent)));
        }
        for row in parts.store.breakers().await? {
            if let Some(lane) = lanes.get(&row.channel) {
                lane.restore_breaker(&row, &parts.clock);
            }
        }
        let engine = Engine {
            epoch,
            lanes,
            live: Mutex::default(),
            down: Mutex::default(),
            changed: Mutex::default(),
            claimed: Mutex::default(),
            hints: Mutex::default(),
            attempting: Mutex::default(),
            entries,
            ways: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(parts.settings.attempt_room)),
            plan: Notify::new(),
            tick: Notify::new(),
            recorded: Notify::new(),
            happened: tokio::sync::watch::Sender::new(0),
            chance: Mutex::new(fastrand::Rng::with_seed(parts.seed)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            attempts: TaskTracker::new(),
            store: parts.store,
            clock: parts.clock,
            words: parts.words,
            key: parts.key,
            public_url: parts.public_url,
            settings: parts.settings,
        };
        for incident in engine.store.open_incidents().await? {
            engine.note_down(incident.id, &incident.state.facts().platforms_down.into_iter().collect());
        }
        let down = engine.platforms_down();
        engine.lanes.values().for_each(|lane| lane.set_down(&down));
        let all = [ChannelId(0)].into_iter().chain(engine.lanes.keys().copied());
        for lane in all {
            for priority in crate::plan::Priority::ALL {
                lock(&engine.hints).insert((*priority, lane), Time(0));
            }
        }
        for broadcast in engine.store.live().await? {
            engine.take_up(broadcast);
        }
        Ok((Arc::new(engine), outcomes))
    }

    /// Starts planner, lanes, recorder and ticker.
    pub fn start(self: &Arc<Engine>, outcomes: mpsc::UnboundedReceiver<Entry>) {
        self.tasks.spawn(recorder::run(self.clone(), outcomes));
        self.tasks.spawn(planner::run(self.clone()));
        self.tasks.spawn(ticker::run(self.clone()));
        for lane in self.lanes.values() {
            self.tasks.spawn(lane::run(self.clone(), lane.clone()));
        }
    }

    /// Stops beginning attempts, lets those on the wire end within `patience`, and records them.
    pub async fn shut_down(&self, patience: Duration) {
        self.stop.cancel();
        self.attempts.close();
        let _ = tokio::time::timeout(patience, self.attempts.wait()).await;
        let _ = self.entries.send(Entry::Last);
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }

    pub(crate) fn chance(&self) -> MutexGuard<'_, fastrand::Rng> {
        lock(&self.chance)
    }

    pub fn draw_seed(&self) -> u64 {
        self.chance().u64(..)
    }

    /// Takes up broadcasts that were drawn, released or changed. When this returns, no try of what they supersede begins.
    pub async fn notice(&self, ids: &[BroadcastId]) -> crate::store::Result<()> {
        for id in ids {
            if let Some(broadcast) = self.store.broadcast(*id).await? {
                self.take_up(broadcast);
            }
        }
        self.plan.notify_one();
        self.tick.notify_one();
        // What was stopped or has expired may have been the last that was under way.
        self.recorded.notify_waiters();
        self.happened();
        Ok(())
    }

    fn take_up(&self, broadcast: Broadcast) {
        let mut live = lock(&self.live);
        let (id, state) = (broadcast.id, broadcast.state);
        if matches!(state, BroadcastState::Running | BroadcastState::Paused | BroadcastState::Done) {
            let older = |other: &Live| {
                other.broadcast.incident == broadcast.incident
                    && other.broadcast.audience == broadcast.audience
                    && other.broadcast.version < broadcast.version
                    && other.broadcast.id != id
            };
            for other in live.values().filter(|other| older(other)) {
                other.set_state(BroadcastState::Superseded);
            }
            live.retain(|_, other| other.state().live());
        }
        // Selection and priority are final once it is released; before that nothing in memory is its.
        let replaces = |known: &Live| known.broadcast.state == BroadcastState::Held && state != BroadcastState::Held;
        match (live.get(&id), state.live()) {
            (Some(known), true) if !replaces(known) => known.set_state(state),
            (_, true) => drop(live.insert(id, Arc::new(Live::new(broadcast)))),
            (Some(known), false) => {
                known.set_state(state);
                live.remove(&id);
            }
            (None, false) => {}
        }
        drop(live);
        self.barrier();
    }

    /// When this returns, every attempt that is still to begin will see what was set before.
    pub(crate) fn barrier(&self) {
        for lane in self.lanes.values() {
            lane.barrier();
        }
    }

    pub fn live(&self, id: BroadcastId) -> Option<Arc<Live>> {
        lock(&self.live).get(&id).cloned()
    }

    pub(crate) fn note_down(&self, incident: IncidentId, platforms: &BTreeSet<String>) {
        let mut down = lock(&self.down);
        match platforms.is_empty() {
            true => down.remove(&incident),
            false => down.insert(incident, platforms.clone()),
        };
    }

    /// The failure domains that some open incident says are down.
    pub fn platforms_down(&self) -> BTreeSet<String> {
        lock(&self.down).values().flatten().cloned().collect()
    }

    /// An incident says anew what is down. What waits in an affected lane moves; what waited for a way decides again.
    pub async fn platforms_changed(
        &self,
        incident: IncidentId,
        platforms: BTreeSet<String>,
    ) -> crate::store::Result<()> {
        let before = self.platforms_down();
        self.note_down(incident, &platforms);
        let now = self.platforms_down();
        if now != before {
            self.lanes.values().for_each(|lane| lane.set_down(&now));
            self.barrier();
            self.lanes.values().for_each(|lane| lane.wake());
            self.ways_changed().await?;
        }
        Ok(())
    }

    /// A subscriber changed: what is in memory for them is decided afresh before it is sent.
    pub fn subscriber_changed(&self, id: SubscriberId, version: i64) {
        lock(&self.changed).note(id, version);
        self.barrier();
    }

    /// The same for many, as an import changes them.
    pub fn subscribers_changed(&self, changed: &[(SubscriberId, i64)]) {
        let mut known = lock(&self.changed);
        changed.iter().for_each(|(id, version)| known.note(*id, *version));
        drop(known);
        self.barrier();
    }

    /// How often ways have changed. Whoever decides that a recipient waits reads this first, and says it to `waits_written`.
    pub(crate) fn ways(&self) -> u64 {
        self.ways.load(Ordering::Acquire)
    }

    /// Something that was down may work again.
    pub(crate) async fn ways_changed(&self) -> crate::store::Result<()> {
        self.ways.fetch_add(1, Ordering::AcqRel);
        self.wake_waiting().await
    }

    /// Rows that wait for a way are on disk. If ways changed while they were being decided, the call that woke the others
    /// came too early for these.
    pub(crate) async fn waits_written(&self, decided_at: u64) -> crate::store::Result<()> {
        match self.ways() == decided_at {
            true => Ok(()),
            false => self.wake_waiting().await,
        }
    }

    async fn wake_waiting(&self) -> crate::store::Result<()> {
        let now = self.clock.steady();
        self.store.wake(now).await?;
        for priority in Priority::ALL {
            self.hint(*priority, ChannelId(0), now);
        }
        self.plan.notify_one();
        Ok(())
    }

    pub(crate) fn hint(&self, priority: Priority, lane: ChannelId, due: Time) {
        let mut hints = lock(&self.hints);
        let entry = hints.entry((priority, lane)).or_insert(due);
        *entry = (*entry).min(due);
    }

    /// The channels as routing sees them.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.lanes.values().map(|lane| lane.candidate(self.clock.monotonic())).collect()
    }

    /// Stops, pauses or resumes a broadcast. When this returns true, no attempt of it begins that the new state forbids.
    pub async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        by: &str,
    ) -> crate::store::Result<bool> {
        let live = self.live(id);
        let before = live.as_ref().map(|live| live.state());
        // The lanes obey first, so that nothing begins while the store writes; if it can't write, they go on.
        if let (Some(live), Some(before)) = (&live, before)
            && from.contains(&before)
            && to != BroadcastState::Running
        {
            live.set_state(to);
            self.barrier();
        }
        let written = self.store.change_state(id, from, to, self.clock.calendar(), by).await;
        match (&written, &live, before) {
            (Ok(true), ..) => {
                self.notice(&[id]).await?;
                if to == BroadcastState::Running {
                    self.ways_changed().await?;
                } else {
                    self.attempts_begun(id).await;
                }
            }
            (_, Some(live), Some(before)) => live.set_state(before),
            _ => {}
        }
        written
    }

    /// Opens a delivery again that ended rejected, unknown or expired.
    pub async fn replay(&self, id: DeliveryId, by: &str) -> crate::store::Result<Replayed> {
        let live = self.live(id.broadcast);
        // Counted before it is written, so that the broadcast does not end meanwhile.
        if let Some(live) = &live {
            live.ended(-1);
        }
        let due = self.clock.steady();
        let replayed = self.store.replay(id, due, self.clock.calendar(), by).await;
        let reopened = matches!(replayed, Ok(Replayed::Open { reopened: true, .. }));
        match (&live, reopened) {
            (Some(live), false) => {
                live.ended(1);
                recorder::finish(self, live).await;
            }
            (None, true) => self.notice(&[id.broadcast]).await?,
            _ => {}
        }
        if let Ok(Replayed::Open { channel, priority, .. }) = replayed {
            self.hint(priority, channel, due);
            self.plan.notify_one();
        }
        replayed
    }

    /// A receipt changed a delivery: `ended` recipients came to an end by it.
    pub async fn receipt_came(&self, delivery: DeliveryId, ended: i64) -> crate::store::Result<()> {
        if let Some(subscriber) = self.store.subscriber(delivery.subscriber).await? {
            self.subscriber_changed(subscriber.id, subscriber.version);
        }
        match self.live(delivery.broadcast) {
            Some(live) => {
                live.ended(ended);
                recorder::finish(self, &live).await;
            }
            None if ended < 0 => self.notice(&[delivery.broadcast]).await?,
            None => {}
        }
        let now = self.clock.steady();
        for priority in Priority::ALL {
            self.hint(*priority, ChannelId(0), now);
        }
        self.plan.notify_one();
        self.happened();
        Ok(())
    }

    /// Waits until attempts that began before have ended, a moment at most: they are on the wire, or about to be.
    async fn attempts_begun(&self, id: BroadcastId) {
        let ended = async {
            loop {
                let recorded = self.recorded.notified();
                if !lock(&self.attempting).contains_key(&id) {
                    return;
                }
                recorded.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(250), ended).await;
    }

    /// Pauses or resumes a channel. What waits in its lane moves to other ways.
    pub async fn pause_channel(&self, id: ChannelId, paused: bool) -> crate::store::Result<bool> {
        let Some(lane) = self.lanes.get(&id) else { return Ok(false) };
        lane.pause(paused);
        lane.barrier();
        self.store.pause_channel(id, paused).await?;
        lane.wake();
        self.ways_changed().await?;
        self.happened();
        Ok(true)
    }

    /// Changes whenever there may be something new in the journal or the counts.
    pub fn happenings(&self) -> tokio::sync::watch::Receiver<u64> {
        self.happened.subscribe()
    }

    pub(crate) fn happened(&self) {
        self.happened.send_modify(|count| *count += 1);
    }

    pub(crate) fn attempt_begins(&self, delivery: &live::Delivery) {
        *lock(&self.attempting).entry(delivery.live.broadcast.id).or_default() += 1;
    }

    pub(crate) fn enter(&self, entry: Entry) {
        // The recorder ends after everything else; what comes later belongs to attempts that were cut off.
        let _ = self.entries.send(entry);
    }

    pub(crate) fn breaker_changed(self: &Arc<Engine>, lane: &Lane, row: crate::store::BreakerRow) {
        tracing::warn!(channel = lane.settings.name, state = row.state, "a breaker changed");
        self.enter(Entry::Breaker(row));
        lane.wake();
        let engine = self.clone();
        self.attempts.spawn(async move {
            if let Err(error) = engine.ways_changed().await {
                tracing::error!(%error, "what waits for a channel could not be woken");
            }
        });
    }

    pub fn unsubscribe_url(&self, subscriber: SubscriberId, place: u16) -> String {
        format!("{}/unsubscribe/{}", self.public_url, Withdrawal { subscriber, place }.public(&self.key))
    }

    /// Nothing is waiting in memory or on the wire, and no broadcast runs.
    pub fn idle(&self) -> bool {
        lock(&self.live).values().all(|live| live.state() != BroadcastState::Running)
            && lock(&self.attempting).is_empty()
    }

    /// Waits until every broadcast has ended or is held.
    pub async fn settled(&self) {
        loop {
            let recorded = self.recorded.notified();
            if self.idle() {
                return;
            }
            recorded.await;
        }
    }
}
