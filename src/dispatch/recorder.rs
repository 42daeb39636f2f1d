//! The recorder writes what came of attempts, many in one commit, and keeps the engine's memory in step: claims, counts,
//! manifests that close, broadcasts that are done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::lane::{Lane, Why};
use super::live::{Delivery, OpenManifest};
use super::{Engine, confirm, lock, retry};
use crate::audience::route::ChannelId;
use crate::channel::{Fault, Follows, Outcome};
use crate::clock::Time;
use crate::fault::{self, Fault as Broken};
use crate::id::BroadcastId;
use crate::plan::Priority;
use crate::store::{BreakerRow, BroadcastState, CONFIRMS, DeliveryState, Fact, UNDECIDED};

pub enum Entry {
    Fact(Box<Recorded>),
    Breaker(BreakerRow),
    /// What the platform of a channel taught has changed.
    Lessons(ChannelId),
    /// The process ends: everything before this is written first.
    Last,
}

pub struct Recorded {
    pub fact: Fact,
    pub manifest: Option<Arc<OpenManifest>>,
    /// `Engine::ways` when it was decided.
    pub ways: u64,
    /// An attempt began for it, or may have begun before a crash.
    pub attempted: bool,
    pub room: Option<OwnedSemaphorePermit>,
}

/// How the detail of an attempt begins that was refused for now, and whose first try may have arrived before the process died.
pub const BEFORE_A_CRASH: &str = "begun before a crash; now ";

/// Facts in one commit at most.
const BATCH: usize = 4096;
/// While so many attempts are on the wire, more outcomes are about to come …
const BUSY: usize = 16;
/// … and are waited for, since a commit costs the same for one as for many. Nobody waits for an answer here.
const GATHER: Duration = Duration::from_millis(10);

pub async fn run(engine: Arc<Engine>, mut entries: mpsc::UnboundedReceiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        if entries.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        if engine.on_wire() >= BUSY && batch.len() < BATCH {
            tokio::time::sleep(GATHER).await;
            let more = entries.len().min(BATCH - batch.len());
            if more > 0 {
                entries.recv_many(&mut batch, more).await;
            }
        }
        let taken = batch.len();
        let mut recorded = Vec::with_capacity(taken);
        let (mut taught, mut last) = (BTreeSet::new(), false);
        for entry in batch.drain(..) {
            match entry {
                Entry::Fact(fact) => recorded.push(*fact),
                Entry::Breaker(row) => {
                    write(&engine, "a breaker", || engine.store.set_breaker(row.clone())).await;
                    engine.lanes.get(&row.channel).into_iter().for_each(|lane| lane.breaker_written());
                }
                Entry::Lessons(channel) => {
                    taught.insert(channel);
                }
                Entry::Last => last = true,
            }
        }
        record(&engine, recorded).await;
        // As it is by now: many answers that teach are one lesson.
        for lane in taught.iter().filter_map(|channel| engine.lanes.get(channel)) {
            let (name, kept) = (lane.lessons_name(), lane.kept(&engine.clock));
            let text = serde_json::to_string(&kept).unwrap_or_default();
            write(&engine, "what a platform taught", || engine.store.set_meta(&name, &text)).await;
        }
        engine.turns.recorder.made(taken);
        if last {
            return;
        }
    }
}

/// The store comes back, or the process ends: an outcome is not thrown away.
async fn write<T, F>(engine: &Engine, what: &str, work: impl Fn() -> F) -> T
where
    F: Future<Output = crate::store::Result<T>>,
{
    let mut tries = 0;
    loop {
        match work().await {
            Ok(value) => return value,
            Err(error) => {
                tries += 1;
                tracing::error!(%error, tries, "{what} could not be written; trying again");
                engine.clock.sleep(retry::backoff(tries.min(4), 0.5).min(Duration::from_secs(5))).await;
            }
        }
    }
}

async fn record(engine: &Arc<Engine>, recorded: Vec<Recorded>) {
    if recorded.is_empty() {
        return;
    }
    let closed: Vec<_> = recorded
        .iter()
        .filter_map(|entry| entry.manifest.as_ref())
        .filter(|manifest| manifest.remaining.fetch_sub(1, Ordering::AcqRel) == 1)
        .map(|manifest| manifest.key)
        .collect();
    let decided_at: Vec<(u64, bool)> = recorded.iter().map(|entry| (entry.ways, entry.attempted)).collect();
    let (facts, rooms): (Vec<Fact>, Vec<_>) = recorded.into_iter().map(|entry| (entry.fact, entry.room)).unzip();
    let facts = Arc::new(facts);
    let written = write(engine, "outcomes", || engine.store.record(facts.clone(), closed.clone())).await;
    for (fact, _) in facts.iter().zip(&rooms).filter(|(_, room)| room.is_some()) {
        engine.leases.recorded(fact.delivery.subscriber.shard());
    }
    let mut touched = written.ended;
    let mut attempted: BTreeMap<BroadcastId, usize> = BTreeMap::new();
    let mut ended: BTreeMap<BroadcastId, i64> = BTreeMap::new();
    for (fact, (_, attempt)) in facts.iter().zip(&decided_at) {
        *attempted.entry(fact.delivery.broadcast).or_default() += usize::from(*attempt);
        let end = !matches!(fact.state, DeliveryState::Open | DeliveryState::Moved);
        *ended.entry(fact.delivery.broadcast).or_default() += i64::from(end);
    }
    attempted.keys().for_each(|id| {
        touched.entry(*id).or_default();
    });
    engine.attempts_recorded(&attempted);
    engine.unclaim(&facts);
    for fact in facts.iter().filter(|fact| fact.state == DeliveryState::Open) {
        engine.hint(fact.priority, fact.lane, fact.due);
    }
    let mut confirmations: BTreeMap<Priority, Time> = BTreeMap::new();
    for fact in facts.iter().filter(|fact| fact.lane == CONFIRMS) {
        let first = confirmations.entry(fact.priority).or_insert(fact.due);
        *first = fact.due.min(*first);
    }
    confirmations.into_iter().for_each(|(priority, due)| engine.hint(priority, CONFIRMS, due));
    for who in written.suppressed {
        if let Ok(Some(subscriber)) = engine.store.subscriber(who).await {
            engine.note_changed(subscriber.id, subscriber.version);
        }
    }
    drop(rooms);
    let now = engine.clock.steady();
    let waits = |fact: &Fact| fact.state == DeliveryState::Open && fact.due > now;
    let decided_at = facts.iter().zip(&decided_at).filter(|(fact, _)| waits(fact)).map(|(_, (ways, _))| *ways).min();
    for (id, recipients) in touched {
        let Some(live) = engine.live(id) else { continue };
        if recipients < ended.get(&id).copied().unwrap_or(0) {
            // A bounce that came before its outcome may have opened somebody again.
            engine.hint(live.broadcast.priority, UNDECIDED, now);
        }
        live.ended(recipients);
        live.keeps_pace(recipients, engine.clock.monotonic());
        finish(engine, &live).await;
    }
    if let Some(decided_at) = decided_at {
        engine.waits_written(decided_at);
    }
    engine.recorded.notify_waiters();
    engine.plan.notify_one();
    engine.happened();
}

/// Everyone has come to an end: so has the broadcast. One that somebody has paused stays so: a bounce may open somebody again, who is
/// not told before it is resumed.
pub async fn finish(engine: &Engine, live: &super::live::Live) {
    ended(engine, live, || live.complete(engine.leases.mask())).await;
}

/// Ends it where `complete` is so and the store says the same of everybody, on whatever node.
pub(super) async fn ended(engine: &Engine, live: &super::live::Live, complete: impl Fn() -> bool) {
    let complete = || complete() && live.state() == BroadcastState::Running;
    let id = live.broadcast.id;
    // Somebody may open a recipient again while nothing can be written: nobody else waits for that.
    let end = || async {
        if !complete() {
            return Ok(false);
        }
        let _alone = engine.in_step.write().await;
        if !complete() {
            return Ok(false);
        }
        if !engine.store.complete(id, engine.clock.calendar()).await? {
            return Ok(false);
        }
        live.set_state(BroadcastState::Done);
        lock(&engine.live).remove(&id);
        Ok(true)
    };
    if !write(engine, "the end of a broadcast", end).await {
        return;
    }
    engine.recorded.notify_waiters();
    engine.happened();
}

/// A delivery leaves its lane unsent: into a row.
pub(super) fn leave(engine: &Engine, lane: &Lane, delivery: Delivery, why: Why, ways: u64) {
    let now = engine.clock.steady();
    let (state, at, due) = match why {
        // Its new owner decides about it.
        Why::Lost => return forget(engine, &delivery),
        Why::Ended(state) => (state, lane.settings.id, now),
        Why::Afresh => (DeliveryState::Open, UNDECIDED, now),
        Why::Paused => (DeliveryState::Open, UNDECIDED, engine.clock.steady_at(delivery.live.broadcast.deadline)),
        Why::Rests(until) => {
            (DeliveryState::Open, lane.settings.id, now.plus(until.saturating_sub(engine.clock.monotonic())))
        }
    };
    let mut fact = fact(engine, lane, &delivery, state, at, due);
    // Another way may be taken; whoever asks whom it told has to know.
    fact.perhaps = (delivery.recovered && state == DeliveryState::Open).then_some(lane.settings.id);
    engine.enter(Entry::Fact(Box::new(Recorded {
        fact,
        manifest: delivery.manifest,
        ways,
        attempted: delivery.recovered,
        room: None,
    })));
}

/// Nothing is written of what another node sends.
fn forget(engine: &Engine, delivery: &Delivery) {
    if delivery.manifest.is_none() {
        lock(&engine.claimed).remove(&delivery.id());
    }
    if delivery.recovered {
        engine.attempts_recorded(&BTreeMap::from([(delivery.live.broadcast.id, 1)]));
        engine.plan.notify_one();
    }
}

fn fact(engine: &Engine, lane: &Lane, delivery: &Delivery, state: DeliveryState, at: ChannelId, due: Time) -> Fact {
    let now = engine.clock.calendar();
    Fact {
        delivery: delivery.id(),
        state,
        channel: lane.settings.id,
        began: now,
        ended: now,
        tries: delivery.tries,
        detail: None,
        reference: None,
        indexed: false,
        priority: delivery.live.broadcast.priority,
        lane: at,
        due,
        attempt: None,
        fault: None,
        // Where it was begun by somebody else before, an answer to them may have been written.
        sole: delivery.manifest.as_ref().filter(|_| !delivery.recovered).map(|_| delivery.epoch),
        suppress: false,
        reopens: false,
        entered: None,
        perhaps: None,
    }
}

/// What an attempt's answer means, as a fact.
pub fn outcome(engine: &Engine, lane: &Lane, delivery: &Delivery, began: Time, outcome: Outcome) -> Fact {
    let now = engine.clock.steady();
    let tries = delivery.tries + 1;
    let chance = engine.chance().f64();
    let priority = delivery.live.broadcast.priority;
    let next = retry::next(&outcome, tries, priority, lane.settings.repeat, chance);
    let (state, at, due) = match next {
        retry::Next::End(DeliveryState::Told) if delivery.live.state().live() => {
            match confirm::due(&delivery.live.broadcast.step, lane, now) {
                Some(due) => (DeliveryState::Told, CONFIRMS, due),
                None => (DeliveryState::Told, lane.settings.id, now),
            }
        }
        retry::Next::End(state) => (state, lane.settings.id, now),
        // It need not wait for a channel that has been found not to work.
        retry::Next::Again(_) if lane.closed(engine.clock.monotonic()) => (DeliveryState::Open, UNDECIDED, now),
        retry::Next::Again(after) => (DeliveryState::Open, lane.settings.id, now.plus(after)),
        retry::Next::Elsewhere => (DeliveryState::Open, UNDECIDED, now),
    };
    // What was superseded or stopped while it was on the wire is not tried again.
    let state = match (state, delivery.live.state()) {
        (DeliveryState::Open, ended) if !ended.live() => match outcome {
            Outcome::Unknown { .. } => DeliveryState::Unknown,
            Outcome::Rejected { fault, .. } if fault != Fault::Gone => DeliveryState::Rejected,
            _ if ended == BroadcastState::Superseded => DeliveryState::Superseded,
            _ if ended == BroadcastState::Expired => DeliveryState::Expired,
            _ => DeliveryState::Cancelled,
        },
        (state, _) => state,
    };
    let mut fact = fact(engine, lane, delivery, state, at, due);
    fact.began = began;
    fact.tries = tries;
    // Reports about a message are about the first who got it.
    fact.indexed = lane.settings.by_reference && !matches!(delivery.follows.as_deref(), Some(Follows::Edit(_)));
    let (word, fault) = match &outcome {
        Outcome::Accepted { reference } => {
            fact.reference = reference.clone();
            ("accepted", None)
        }
        // Whether it arrived before the crash is as unknown as before; the refusal says nothing about that.
        Outcome::Deferred { detail, .. } if delivery.recovered => {
            fact.detail = Some(format!("{BEFORE_A_CRASH}{detail}"));
            ("unknown", None)
        }
        Outcome::Deferred { detail, .. } => {
            fact.detail = Some(detail.clone());
            ("deferred", None)
        }
        Outcome::Rejected { fault, detail } => {
            fact.perhaps = delivery.recovered.then_some(lane.settings.id);
            fact.detail = Some(detail.clone());
            fact.suppress = *fault == Fault::Address;
            ("rejected", Some(fault.word()))
        }
        Outcome::Unknown { detail } => {
            fact.detail = Some(detail.clone());
            (if fault::on(Broken::UnknownAsDeferred) { "deferred" } else { "unknown" }, None)
        }
    };
    // A first try that ends it needs no row of its own: the delivery's row says all.
    let ends_at_once = tries == 1 && state != DeliveryState::Open;
    fact.attempt = (!ends_at_once).then_some((word, fault));
    fact.fault = fault;
    fact
}
