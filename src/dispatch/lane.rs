//! A lane, one a channel: bounded for each priority, with slots kept for what is critical. A turn: a slot, room for the
//! outcome, the most urgent delivery that may go now, its permit; and then it is on the wire.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::breaker::{Breaker, State};
use super::hosts::{Hosts, Ready, Said};
use super::live::Delivery;
use super::permit::{Long, Permits, Refusal};
use super::{Engine, lock};
use crate::audience::route::{Blocked, Candidate, ChannelId};
use crate::channel::{Driver, Fault, Holds, Outcome, Repeat};
use crate::clock::{Clock, Instant};
use crate::plan::Priority;
use crate::quantity::Limit;
use crate::render::message::{Format, Markup};
use crate::store::{BreakerRow, BroadcastState, DeliveryState};

/// A channel, as its lane needs it.
#[derive(Clone)]
pub struct Settings {
    pub id: ChannelId,
    pub name: String,
    pub kind: String,
    pub address_kind: String,
    pub weight: u32,
    pub domains: BTreeSet<String>,
    pub rates: Vec<Limit>,
    /// Channels with the same account share their long limits.
    pub account: Option<String>,
    pub host_concurrency: Option<usize>,
    pub concurrency: usize,
    pub repeat: Repeat,
    pub format: Format,
    pub markup: Markup,
    /// Its receipts come by the platform's reference, so that is indexed.
    pub by_reference: bool,
    pub paused: bool,
    pub driver: Arc<dyn Driver>,
}

pub struct Lane {
    pub settings: Settings,
    capacity: usize,
    inner: Mutex<Inner>,
    /// Attempts on the wire.
    on_wire: AtomicUsize,
    paused: AtomicBool,
    /// Some open incident says that what it depends on is down.
    down: AtomicBool,
    turn: Notify,
}

struct Inner {
    queues: [VecDeque<Delivery>; 4],
    permits: Permits,
    breaker: Breaker,
    /// A platform asked for a rest.
    held_until: Instant,
    hosts: Hosts<Delivery>,
    /// Addresses with an attempt on the wire: one at a time.
    addresses: BTreeSet<(crate::id::SubscriberId, u16)>,
}

/// What a look into the lane found.
enum Look {
    /// May go now; the permit is spent.
    Go(Box<Delivery>),
    /// Must not go: it becomes a row.
    Out(Box<Delivery>, Why),
    Until(Instant),
    Reserve {
        name: String,
        bucket: i64,
        count: i64,
    },
    Nothing,
}

/// Why a delivery leaves the lane unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its broadcast ended so.
    Ended(DeliveryState),
    /// Its broadcast is paused: it waits for the resumption.
    Paused,
    /// Who or which way is to be decided afresh.
    Afresh,
    /// Its host or address rests until then.
    Rests(Instant),
}

/// How far into a queue to look past deliveries whose address has an attempt on the wire.
const LOOK: usize = 64;

impl Inner {
    /// Before everyone else of their rank: they have waited longest.
    fn put_first(&mut self, freed: Vec<(usize, Delivery)>) {
        for (rank, delivery) in freed.into_iter().rev() {
            self.queues[rank].push_front(delivery);
        }
    }

    fn waiting(&self, rank: usize) -> usize {
        self.queues[rank].len() + self.hosts.waiting(rank)
    }
}

impl Lane {
    pub fn new(settings: Settings, clock: Arc<Clock>, engine: super::Settings, long: Vec<Long>) -> Lane {
        let inner = Inner {
            queues: Default::default(),
            permits: Permits::new(&settings.rates, clock, long),
            breaker: Breaker::default(),
            held_until: Instant::ZERO,
            hosts: Hosts::new(engine.lane),
            addresses: BTreeSet::new(),
        };
        Lane {
            capacity: engine.lane,
            inner: Mutex::new(inner),
            on_wire: AtomicUsize::new(0),
            paused: AtomicBool::new(settings.paused),
            down: AtomicBool::new(false),
            turn: Notify::new(),
            settings,
        }
    }

    pub fn room(&self, priority: Priority) -> usize {
        self.capacity.saturating_sub(lock(&self.inner).queues[usize::from(priority.rank())].len())
    }

    /// Half of the lane is free: worth a page.
    pub fn roomy(&self, priority: Priority) -> bool {
        self.room(priority) * 2 >= self.capacity
    }

    pub fn waiting(&self) -> [usize; 4] {
        let inner = lock(&self.inner);
        [0, 1, 2, 3].map(|rank| inner.waiting(rank))
    }

    pub fn on_wire(&self) -> usize {
        self.on_wire.load(Ordering::Relaxed)
    }

    pub fn put(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut inner = lock(&self.inner);
        for delivery in deliveries {
            let rank = delivery.live.broadcast.priority.rank();
            inner.queues[usize::from(rank)].push_back(delivery);
        }
        drop(inner);
        self.turn.notify_one();
    }

    pub fn barrier(&self) {
        drop(lock(&self.inner));
    }

    pub fn wake(&self) {
        self.turn.notify_one();
    }

    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    pub fn set_down(&self, down: &BTreeSet<String>) {
        self.down.store(!down.is_disjoint(&self.settings.domains), Ordering::Release);
    }

    /// Some open incident says that what it depends on is down.
    pub fn down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub fn paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub fn blocked(&self, now: Instant) -> Option<Blocked> {
        self.blocked_in(&lock(&self.inner), now)
    }

    fn blocked_in(&self, inner: &Inner, now: Instant) -> Option<Blocked> {
        if self.paused.load(Ordering::Acquire) {
            return Some(Blocked::Paused);
        }
        (inner.breaker.state(now) == State::Open).then_some(Blocked::BreakerOpen)
    }

    pub fn breaker(&self, now: Instant) -> (State, Option<Instant>) {
        let inner = lock(&self.inner);
        (inner.breaker.state(now), inner.breaker.until())
    }

    pub fn restore_breaker(&self, row: &BreakerRow, clock: &Clock) {
        let left = row.until.since(clock.steady());
        if row.host.is_empty() && row.state == "open" && !left.is_zero() {
            lock(&self.inner).breaker = Breaker::restored(left, clock.monotonic());
        }
    }

    pub fn candidate(&self, now: Instant) -> Candidate {
        Candidate {
            id: self.settings.id,
            name: self.settings.name.clone(),
            kind: self.settings.kind.clone(),
            address_kind: self.settings.address_kind.clone(),
            weight: self.settings.weight,
            domains: self.settings.domains.clone(),
            blocked: self.blocked(now),
        }
    }

    /// The most urgent delivery that may go now. Nothing is awaited between the look and the permit.
    fn look(&self, engine: &Engine) -> Look {
        let now = engine.clock.monotonic();
        let mut inner = lock(&self.inner);
        let on_wire = self.on_wire.load(Ordering::Relaxed);
        let blocked = self.blocked_in(&inner, now);
        let down = blocked.is_some() || self.down.load(Ordering::Acquire);
        let trial = inner.breaker.state(now) == State::HalfOpen;
        let kept = if self.settings.concurrency > 1 { (self.settings.concurrency / 8).max(1) } else { 0 };
        let mut until: Option<Instant> = None;
        if down {
            let freed = inner.hosts.free_all();
            inner.put_first(freed);
        }
        for rank in 0..4usize {
            let free = self.settings.concurrency.saturating_sub(if rank == 0 { 0 } else { kept });
            let mut at = 0;
            while at < inner.queues[rank].len().min(LOOK) {
                let delivery = &inner.queues[rank][at];
                if let Some(why) = must_leave(engine, delivery, down) {
                    return out(&mut inner, rank, at, why);
                }
                if on_wire >= free || (trial && on_wire > 0) {
                    break; // a turn that ends an attempt looks again
                }
                if inner.held_until > now {
                    until = Some(until.map_or(inner.held_until, |u| u.min(inner.held_until)));
                    break;
                }
                if inner.addresses.contains(&(delivery.subscriber, delivery.place)) {
                    at += 1;
                    continue;
                }
                let host = self.settings.driver.host(&delivery.to);
                let most = self.settings.host_concurrency.unwrap_or(usize::MAX);
                match host.map_or(Ready::Yes, |host| inner.hosts.ready(host, most, now)) {
                    Ready::Yes => {}
                    Ready::Rests(rest) => return out(&mut inner, rank, at, Why::Rests(rest)),
                    Ready::Busy => {
                        let host = host.unwrap_or_default().to_string();
                        let Some(delivery) = inner.queues[rank].remove(at) else { continue };
                        match inner.hosts.wait(&host, rank, delivery, now) {
                            Ok(()) => continue,
                            Err((delivery, rest)) => return Look::Out(Box::new(delivery), Why::Rests(rest)),
                        }
                    }
                }
                match inner.permits.spend(engine.clock.steady()) {
                    Ok(()) => {
                        let Some(delivery) = inner.queues[rank].remove(at) else { continue };
                        self.begin(&mut inner, &delivery);
                        return Look::Go(Box::new(delivery));
                    }
                    Err(Refusal::Until(due)) => return Look::Until(due),
                    Err(Refusal::Reserve { name, bucket, count }) => return Look::Reserve { name, bucket, count },
                }
            }
        }
        until.map_or(Look::Nothing, Look::Until)
    }

    fn begin(&self, inner: &mut Inner, delivery: &Delivery) {
        self.on_wire.fetch_add(1, Ordering::Relaxed);
        inner.addresses.insert((delivery.subscriber, delivery.place));
        if let Some(host) = self.settings.driver.host(&delivery.to) {
            inner.hosts.begins(host);
        }
    }

    /// An attempt has ended: its slot is free, and breaker and rests follow from the answer. Answers the change of the
    /// channel's breaker that is to be kept.
    pub fn ended(&self, delivery: &Delivery, outcome: &Outcome, clock: &Clock) -> Option<BreakerRow> {
        let now = clock.monotonic();
        let mut inner = lock(&self.inner);
        self.on_wire.fetch_sub(1, Ordering::Relaxed);
        inner.addresses.remove(&(delivery.subscriber, delivery.place));
        let host = self.settings.driver.host(&delivery.to);
        let mut changed = false;
        let mut said = Said::Nothing;
        match outcome {
            Outcome::Accepted { .. } => {
                changed = inner.breaker.succeeded();
                said = Said::Works;
            }
            Outcome::Rejected { fault: Fault::Channel, .. } => changed = inner.breaker.failed(now, true),
            // The channel works: it answered about this address or these words.
            Outcome::Rejected { .. } => changed = inner.breaker.succeeded(),
            Outcome::Deferred { holds: Holds::Channel | Holds::Account, after: Some(after), .. } => {
                inner.held_until = inner.held_until.max(now + *after);
            }
            Outcome::Deferred { holds: Holds::Address, .. } => {}
            // Where each address has a host of its own, one bad host says nothing about the channel.
            Outcome::Deferred { after, .. } if host.is_some() => said = Said::Fails(*after),
            Outcome::Unknown { .. } if host.is_some() => said = Said::Fails(None),
            Outcome::Deferred { .. } | Outcome::Unknown { .. } => changed = inner.breaker.failed(now, false),
        }
        if let Some(host) = host {
            let freed = inner.hosts.ended(host, &said, now);
            inner.put_first(freed);
        }
        let state = inner.breaker.state(now);
        let until = inner.breaker.until();
        drop(inner);
        self.turn.notify_one();
        changed.then(|| BreakerRow {
            channel: self.settings.id,
            host: String::new(),
            state: if state == State::Closed { "closed" } else { "open" }.into(),
            since: clock.steady(),
            until: clock.steady().plus(until.unwrap_or_default().saturating_sub(now)),
        })
    }

    fn reserved(&self, name: &str, bucket: i64, count: i64) {
        lock(&self.inner).permits.reserved(name, bucket, count);
    }
}

fn out(inner: &mut Inner, rank: usize, at: usize, why: Why) -> Look {
    match inner.queues[rank].remove(at) {
        Some(delivery) => Look::Out(Box::new(delivery), why),
        None => Look::Nothing,
    }
}

/// The checks of every try: is its broadcast still to be sent, is the person as they were decided for, does the way work?
fn must_leave(engine: &Engine, delivery: &Delivery, down: bool) -> Option<Why> {
    match delivery.live.state() {
        BroadcastState::Running => {}
        BroadcastState::Paused | BroadcastState::Held => return Some(Why::Paused),
        // After a crash nobody knows whether it had begun.
        state if delivery.recovered && state != BroadcastState::Done => {
            return Some(Why::Ended(DeliveryState::Unknown));
        }
        BroadcastState::Superseded => return Some(Why::Ended(DeliveryState::Superseded)),
        BroadcastState::Expired => return Some(Why::Ended(DeliveryState::Expired)),
        BroadcastState::Cancelled | BroadcastState::Done => return Some(Why::Ended(DeliveryState::Cancelled)),
    }
    let changed = lock(&engine.changed).since(delivery.subscriber, delivery.version, delivery.overflows);
    (down || changed).then_some(Why::Afresh)
}

/// Turn after turn, until the engine stops.
pub async fn run(engine: Arc<Engine>, lane: Arc<Lane>) {
    loop {
        tokio::select! {
            biased;
            () = engine.stop.cancelled() => return,
            () = turn(&engine, &lane) => {}
        }
    }
}

async fn turn(engine: &Arc<Engine>, lane: &Arc<Lane>) {
    // No attempt begins without room for its outcome.
    let Ok(room) = engine.room.clone().acquire_owned().await else { return };
    let woken = lane.turn.notified();
    let now = engine.clock.monotonic();
    let ways = engine.ways();
    match lane.look(engine) {
        Look::Go(delivery) => {
            let low = lane.roomy(delivery.live.broadcast.priority);
            crate::pipeline::deliver(engine, lane, *delivery, room);
            if low {
                engine.plan.notify_one();
            }
        }
        Look::Out(delivery, why) => {
            super::recorder::leave(engine, lane, *delivery, why, ways);
            if lane.waiting().iter().all(|n| *n == 0) {
                engine.plan.notify_one();
            }
        }
        Look::Until(due) => {
            drop(room);
            tokio::select! {
                biased;
                () = woken => {}
                () = engine.clock.sleep_until(due) => {}
            }
        }
        Look::Reserve { name, bucket, count } => {
            drop(room);
            match engine.store.spend(&name, bucket, count).await {
                Ok(()) => lane.reserved(&name, bucket, count),
                Err(error) => {
                    tracing::error!(%error, channel = lane.settings.name, "a limit could not be reserved; the lane waits");
                    engine.clock.sleep(Duration::from_secs(1)).await;
                }
            }
        }
        Look::Nothing => {
            drop(room);
            // An open breaker lets a trial through later: then the planner decides what goes this way again.
            match lane.breaker(now) {
                (State::Open, Some(until)) => {
                    tokio::select! {
                        biased;
                        () = woken => {}
                        () = engine.clock.sleep_until(until) => {
                            if let Err(error) = engine.ways_changed().await {
                                tracing::error!(%error, "what waits for a channel could not be woken");
                            }
                        }
                    }
                }
                _ => woken.await,
            }
        }
    }
}
