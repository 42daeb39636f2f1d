//! A lane, one a channel: bounded for each priority, with slots kept for what is critical. A turn: a slot, room for the
//! outcome, the most urgent delivery that may go now, its permit; and then it is on the wire.

mod attempt;
mod direct;
mod look;
mod meters;
mod turn;
mod wanting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::direct::Barred;
pub use self::look::Why;
use self::meters::Meters;
pub use self::turn::{next, run};
pub use self::wanting::ask;
use super::brake::Compromised;
use super::breaker::{Breaker, State};
use super::failover::Peer;
use super::hosts::Hosts;
use super::hosts::limits::HostLimits;
use super::hosts::shared::Shared;
use super::keyed::Keyed;
use super::learned::{Kept, Learned};
use super::limits::Limits;
use super::live::Delivery;
use super::lock;
use super::observed::Observed;
use super::permit::Reserved;
use super::progress::Turns;
use super::slow_start::SlowStart;
use crate::audience::route::{Blocked, Candidate, ChannelId};
use crate::channel::registry::Rates;
use crate::channel::{Driver, Repeat};
use crate::clock::{Clock, Instant};
use crate::fault::{self, Fault};
use crate::plan::Priority;
use crate::quantity::Limit;
use crate::render::message::{Format, Markup};
use crate::store::BreakerRow;

/// A channel, as its lane needs it.
#[derive(Clone)]
pub struct Settings {
    pub id: ChannelId,
    pub name: String,
    pub kind: String,
    pub address_kind: String,
    pub weight: u32,
    pub domains: BTreeSet<String>,
    pub rates: Rates,
    /// Channels with the same account share the limits of the account and of addresses.
    pub account: Option<String>,
    pub host_concurrency: Option<usize>,
    pub concurrency: usize,
    pub repeat: Repeat,
    pub format: Format,
    pub markup: Markup,
    /// Its receipts come by the platform's reference, so that is indexed.
    pub by_reference: bool,
    /// Its platform reports what arrived.
    pub confirms: bool,
    pub paused: bool,
    pub driver: Arc<dyn Driver>,
}

impl Settings {
    /// The channel as routing sees it.
    pub fn candidate(&self, blocked: Option<Blocked>) -> Candidate {
        Candidate {
            id: self.id,
            name: self.name.clone(),
            kind: self.kind.clone(),
            address_kind: self.address_kind.clone(),
            weight: self.weight,
            domains: self.domains.clone(),
            blocked,
        }
    }
}

pub struct Lane {
    pub settings: Settings,
    pub meters: Meters,
    capacity: usize,
    inner: Mutex<Inner>,
    /// Attempts on the wire.
    on_wire: AtomicUsize,
    paused: AtomicBool,
    /// How often its breaker has changed here, and how many of these changes are on disk.
    breaker_changes: [AtomicU64; 2],
    /// Somebody else has its credentials; it is then paused, too.
    pub(super) compromised: Mutex<Option<Compromised>>,
    /// Some open incident says that what it depends on is down.
    down: AtomicBool,
    /// Some of what waits may belong to broadcasts that have ended.
    stale: AtomicBool,
    turn: Arc<Notify>,
    /// Somebody waits for send times of a host.
    wanting: Notify,
    pub(super) turns: Turns,
}

struct Inner {
    queues: [VecDeque<Delivery>; 4],
    /// What must leave, wherever it stood, and why.
    leaving: VecDeque<(Delivery, Why)>,
    limits: Limits,
    /// It has just come back.
    slow: Option<SlowStart>,
    breaker: Breaker,
    /// A platform asked for a rest.
    held_until: Instant,
    /// By the answer that is being looked at.
    lesson_changed: bool,
    hosts: Hosts<Delivery>,
    observed: Observed,
}

impl Inner {
    /// Before everyone else of their rank: they have waited longest.
    fn put_first(&mut self, freed: Vec<(usize, Delivery)>) {
        for (rank, delivery) in freed.into_iter().rev() {
            self.queues[rank].push_front(delivery);
        }
    }

    fn lengths(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|rank| self.queues[rank].len())
    }

    fn waiting(&self, rank: usize) -> usize {
        self.queues[rank].len() + self.hosts.waiting(rank)
    }
}

/// How fast a lane goes beside what its configuration says.
pub struct Lessons {
    /// What its platform taught.
    pub learned: Option<Limit>,
    /// Attempts a second, and on the wire, while it has just come back.
    pub slow_start: Option<u32>,
    /// Hosts that taught a limit of their own.
    pub hosts: usize,
}

/// What outlives the process of that.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptLessons {
    own: Option<Kept>,
    hosts: BTreeMap<String, Kept>,
}

/// A queue that has grown so long gets all the room that it may need at once: growing by doubling would copy it each time, and
/// hold both. What is not used of it is no memory yet.
const MANY: usize = 4096;

impl Lane {
    /// `shared`: other nodes send by it, too.
    pub(super) fn new(settings: Settings, engine: super::Settings, limits: Limits, shared: bool, now: Instant) -> Lane {
        let most = settings.host_concurrency.unwrap_or(usize::MAX);
        let shared = shared.then(|| Shared::new(&settings.name, &settings.rates.host)).flatten();
        let of_hosts = || HostLimits::Own(Keyed::new(&settings.rates.host, now));
        let hosts = Hosts::new(engine.lane, most, shared.map_or_else(of_hosts, HostLimits::Shared));
        let inner = Inner {
            queues: Default::default(),
            leaving: VecDeque::new(),
            slow: None,
            breaker: Breaker::default(),
            held_until: hosts.opens().max(limits.opens()),
            lesson_changed: false,
            limits,
            hosts,
            observed: Observed::default(),
        };
        Lane {
            capacity: engine.lane,
            inner: Mutex::new(inner),
            on_wire: AtomicUsize::new(0),
            paused: AtomicBool::new(settings.paused),
            breaker_changes: Default::default(),
            compromised: Mutex::default(),
            down: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            turn: Arc::new(Notify::new()),
            wanting: Notify::new(),
            turns: Turns::default(),
            meters: Meters::new(&settings.name),
            settings,
        }
    }

    pub fn room(&self, priority: Priority) -> usize {
        self.capacity.saturating_sub(lock(&self.inner).queues[usize::from(priority.rank())].len())
    }

    /// Half of the lane is free: worth a page.
    pub fn roomy(&self, priority: Priority) -> bool {
        self.half_free(lock(&self.inner).queues[usize::from(priority.rank())].len())
    }

    fn half_free(&self, waiting: usize) -> bool {
        waiting * 2 <= self.capacity
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
            let queue = &mut inner.queues[usize::from(delivery.live.broadcast.priority.rank())];
            if queue.is_empty() {
                queue.clear(); // begins at its first place again, so that few deliveries stay in little memory
            } else if queue.len() == queue.capacity() && queue.len() >= MANY {
                queue.reserve_exact(self.capacity.saturating_sub(queue.len()).max(MANY));
            }
            queue.push_back(delivery);
        }
        drop(inner);
        self.wake();
    }

    pub fn barrier(&self) {
        drop(lock(&self.inner));
    }

    pub fn wake(&self) {
        self.turns.called();
        self.turn.notify_one();
    }

    /// Some broadcasts have ended: what waits here of them leaves, and makes room for what is newer.
    pub fn lets_go(&self) {
        self.stale.store(true, Ordering::Release);
        self.wake();
    }

    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// What open incidents say is down. What is down no longer has just come back.
    pub fn set_down(&self, down: &BTreeSet<String>, now: Instant) {
        let down = !down.is_disjoint(&self.settings.domains) && !fault::on(Fault::PlatformDownIgnored);
        if self.down.swap(down, Ordering::AcqRel) && !down {
            lock(&self.inner).slow = Some(SlowStart::new(now));
        }
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
        (inner.breaker.state(now) == State::Open && !fault::on(Fault::BreakerIgnored)).then_some(Blocked::BreakerOpen)
    }

    /// Nothing goes this way now.
    pub fn closed(&self, now: Instant) -> bool {
        self.down() || self.blocked(now).is_some()
    }

    pub fn breaker(&self, now: Instant) -> (State, Option<Instant>) {
        let inner = lock(&self.inner);
        (inner.breaker.state(now), inner.breaker.until())
    }

    pub fn restore_breaker(&self, row: &BreakerRow, clock: &Clock) {
        // One whose time has passed lets a trial through first: nobody has seen that what was down is up again.
        if row.host.is_empty() && row.state == "open" {
            let left = row.until.since(clock.steady());
            lock(&self.inner).breaker = Breaker::restored(left, clock.monotonic());
        }
    }

    /// What another node has seen: where it stopped, this one does; where it works again there, a trial says so here.
    /// `known`: what `breaker_known` said before the row was read. What has changed here since is newer.
    pub(super) fn breaker_heard(&self, row: &BreakerRow, known: Option<u64>, clock: &Clock) {
        if known.is_none() || known != self.breaker_known() {
            return;
        }
        let now = clock.monotonic();
        let mut inner = lock(&self.inner);
        match (row.state.as_str(), inner.breaker.state(now)) {
            ("open", State::Closed) => {
                let left = row.until.since(clock.steady());
                if !left.is_zero() {
                    inner.breaker = Breaker::restored(left, now);
                }
            }
            ("closed", State::Open) => inner.breaker = Breaker::restored(std::time::Duration::ZERO, now),
            _ => {}
        }
    }

    pub(super) fn breaker_changes(&self) {
        self.breaker_changes[0].fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn breaker_written(&self) {
        self.breaker_changes[1].fetch_add(1, Ordering::AcqRel);
    }

    /// How often its breaker has changed here; `None` where the store does not know of all of it yet.
    pub(super) fn breaker_known(&self) -> Option<u64> {
        let [changed, written] = [0, 1].map(|of| self.breaker_changes[of].load(Ordering::Acquire));
        (changed == written).then_some(changed)
    }

    /// The name under which the store keeps what its platform taught.
    pub fn lessons_name(&self) -> String {
        format!("learned/{}", self.settings.name)
    }

    pub fn kept(&self, clock: &Clock) -> KeptLessons {
        let (now, steady) = (clock.monotonic(), clock.steady());
        let inner = lock(&self.inner);
        KeptLessons { own: inner.limits.learned.kept(now, steady), hosts: inner.hosts.kept(now, steady) }
    }

    pub fn restore_lessons(&self, kept: &KeptLessons, clock: &Clock) {
        let (now, steady) = (clock.monotonic(), clock.steady());
        let mut inner = lock(&self.inner);
        if let Some(own) = &kept.own {
            inner.limits.learned = Learned::restored(own, now, steady);
        }
        inner.hosts.restore(&kept.hosts, now, steady);
    }

    pub fn candidate(&self, weight: u32, now: Instant) -> Candidate {
        Candidate { weight, ..self.settings.candidate(self.blocked(now)) }
    }

    /// A platform's first report about an attempt of this channel that began `after` ago.
    pub fn reported(&self, arrived: bool, after: std::time::Duration, now: Instant) {
        lock(&self.inner).observed.reported(arrived, after, now);
    }

    /// As it is beside the others of its kind.
    pub(super) fn peer(&self, healthy: bool, now: Instant) -> Peer {
        let mut inner = lock(&self.inner);
        let blocked = self.down() || self.blocked_in(&inner, now).is_some();
        Peer { seen: inner.observed.seen(healthy, now), blocked }
    }

    pub fn lessons(&self, now: Instant) -> Lessons {
        let inner = lock(&self.inner);
        Lessons {
            learned: inner.limits.learned.limit(now),
            slow_start: inner.slow.as_ref().map(SlowStart::most),
            hosts: inner.hosts.taught(now),
        }
    }

    /// Recipients have come from another node, which may have tried them just now.
    pub(super) fn recipients_came(&self, now: Instant) {
        lock(&self.inner).limits.recipients_came(now);
    }

    /// What was reserved is on disk.
    fn reserved(&self, reserved: &Reserved, now: Instant) {
        let mut inner = lock(&self.inner);
        match reserved {
            Reserved::Host(host, times) => inner.hosts.granted(host, times, now),
            reserved => inner.limits.reserved(reserved),
        }
    }
}
