//! The engine. The planner decides pages of recipients into manifests and open rows into lanes; each lane, one a channel,
//! sends what is most urgent when slot and permit allow; the recorder writes what came of it. What is accepted is on disk
//! before anything is sent, and a recipient leaves memory only into a row.

mod account;
mod addresses;
mod adopt;
mod again;
mod balance;
mod brake;
pub mod breaker;
mod changed;
mod confirm;
pub mod decide;
mod down;
pub mod failover;
pub mod feeds;
pub mod follow;
mod granted;
mod heard;
pub mod hosts;
mod keyed;
pub mod lane;
mod learned;
mod limits;
pub mod live;
mod long;
pub mod observed;
pub mod pace;
pub mod page;
pub mod permit;
pub mod planner;
pub mod progress;
mod quota;
pub mod recorder;
pub mod recovery;
mod reopen;
pub mod retry;
mod slow_start;
mod start;
mod states;
mod threads;
pub mod ticker;
mod ways;
pub mod wordings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use ring::hmac;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::brake::Resumed;
use self::changed::Changed;
use self::lane::Lane;
use self::live::Live;
use self::progress::Turns;
use self::recorder::Entry;
pub(crate) use self::reopen::whole;
pub use self::start::{Parts, Settings};
use crate::audience::route::ChannelId;
use crate::clock::{Clock, Time};
use crate::id::{BroadcastId, DeliveryId, IncidentId, SubscriberId, Withdrawal};
use crate::plan::Priority;
use crate::render::message::Message;
use crate::store::{Broadcast, BroadcastState, Fact, Leases, Notices, SHARDS, Store, WordingKey};

/// The words of a broadcast, from the templates that its release froze.
#[async_trait]
pub trait Words: Send + Sync {
    async fn message(&self, broadcast: &Broadcast, key: &WordingKey) -> Result<Message, String>;
}

pub struct Engine {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub words: Arc<dyn Words>,
    pub key: hmac::Key,
    pub public_url: String,
    /// Audiences whose members did not subscribe by themselves: no link to unsubscribe stands in their messages.
    pub without_unsubscribe: BTreeSet<String>,
    pub settings: Settings,
    pub leases: Arc<Leases>,
    /// The epochs of our shards of which everything is taken up.
    pub(crate) adopted: Mutex<[i64; SHARDS as usize]>,
    pub lanes: BTreeMap<ChannelId, Arc<Lane>>,
    pub(crate) turns: Parted,
    pub(crate) threads: Mutex<threads::Threads>,
    pub(crate) live: Mutex<BTreeMap<BroadcastId, Arc<Live>>>,
    pub(crate) down: Mutex<down::Down>,
    /// Subscribers that changed while something for them may be in memory.
    pub(crate) changed: Mutex<Changed>,
    /// Open rows that are in a lane or on the wire.
    pub(crate) claimed: Mutex<BTreeSet<DeliveryId>>,
    /// When the next open row of a lane and priority may be due.
    pub(crate) hints: Mutex<BTreeMap<(Priority, ChannelId), Time>>,
    /// Attempts begun and not yet recorded, by broadcast. So are those that may have begun before a crash.
    pub(crate) attempting: Mutex<BTreeMap<BroadcastId, Attempting>>,
    pub(crate) addresses: Mutex<addresses::Addresses>,
    pub(crate) balance: Mutex<balance::Balance>,
    /// One hand at a time is on the brake of a channel.
    pub(crate) brake: tokio::sync::Mutex<()>,
    /// See `reopen.rs`.
    pub(crate) in_step: tokio::sync::RwLock<()>,
    /// What somebody took up or ended between its being drawn on disk and its being taken up here.
    pub(crate) undrawn: Mutex<BTreeSet<BroadcastId>>,
    pub(crate) entries: mpsc::UnboundedSender<Entry>,
    ways: AtomicU64,
    /// What waits for a way is to be woken.
    wake: AtomicBool,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) plan: Notify,
    pub(crate) tick: Notify,
    pub(crate) recorded: Notify,
    /// Counts what was written: whoever shows the state waits for a change.
    happened: watch::Sender<u64>,
    /// What other nodes write, until somebody takes it.
    notices: Mutex<Option<Notices>>,
    /// Counts when a setting in the store was changed by another node.
    settings_changed: watch::Sender<u64>,
    chance: Mutex<fastrand::Rng>,
    /// Ends what is not on the wire.
    pub stop: CancellationToken,
    /// A part of the engine has panicked.
    pub broken: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) attempts: TaskTracker,
}

/// The turns of the parts that there are one of.
#[derive(Default)]
pub(crate) struct Parted {
    planner: Turns,
    ticker: Turns,
    /// A turn for each entry.
    recorder: Turns,
    entered: AtomicU64,
}

pub(crate) struct Attempting {
    pub incident: IncidentId,
    pub audience: String,
    attempts: usize,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Engine {
    pub(crate) fn chance(&self) -> MutexGuard<'_, fastrand::Rng> {
        lock(&self.chance)
    }

    pub fn draw_seed(&self) -> u64 {
        self.chance().u64(..)
    }

    /// Changes whenever there may be something new in the journal or the counts.
    pub fn happenings(&self) -> watch::Receiver<u64> {
        self.happened.subscribe()
    }

    pub(crate) fn happened(&self) {
        self.happened.send_modify(|count| *count += 1);
    }

    pub(crate) fn attempt_begins(&self, delivery: &live::Delivery) {
        let Broadcast { id, incident, audience, .. } = &delivery.live.broadcast;
        let begun = || Attempting { incident: *incident, audience: audience.clone(), attempts: 0 };
        lock(&self.attempting).entry(*id).or_insert_with(begun).attempts += 1;
    }

    /// Outcomes are on disk: so many attempts of each broadcast are over.
    pub(crate) fn attempts_recorded(&self, count: &BTreeMap<BroadcastId, usize>) {
        let mut attempting = lock(&self.attempting);
        for (id, ended) in count {
            if let Some(left) = attempting.get_mut(id) {
                left.attempts = left.attempts.saturating_sub(*ended);
                if left.attempts == 0 {
                    attempting.remove(id);
                }
            }
        }
    }

    /// Changes whenever another node has changed a setting that is kept in the store.
    pub fn settings_changes(&self) -> watch::Receiver<u64> {
        self.settings_changed.subscribe()
    }

    /// Who lives in a manifest alone was never claimed.
    pub(crate) fn unclaim(&self, facts: &[Fact]) {
        let mut claimed = lock(&self.claimed);
        facts.iter().filter(|fact| fact.sole.is_none()).for_each(|fact| {
            claimed.remove(&fact.delivery);
        });
    }

    /// Attempts on the wire, over all lanes.
    pub(crate) fn on_wire(&self) -> usize {
        self.lanes.values().map(|lane| lane.on_wire()).sum()
    }

    pub(crate) fn enter(&self, entry: Entry) {
        // The recorder ends after everything else; what comes later belongs to attempts that were cut off.
        self.turns.entered.fetch_add(1, Ordering::AcqRel);
        let _ = self.entries.send(entry);
    }

    pub fn unsubscribe_url(&self, subscriber: SubscriberId, place: u16) -> String {
        [&self.public_url, "/unsubscribe/", &Withdrawal { subscriber, place }.public(&self.key)].concat()
    }

    /// Nothing is waiting in memory or on the wire, and no broadcast runs. One that has ended and is still here is being written.
    pub fn idle(&self) -> bool {
        lock(&self.live).values().all(|live| matches!(live.state(), BroadcastState::Held | BroadcastState::Paused))
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
