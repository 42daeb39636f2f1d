//! How the engine starts and stops. Enter: its parts, and from the store what is live, what is down, what breakers and limits
//! remember. Leave: the engine, with nothing sent before `start`; `shut_down` lets what is on the wire end and records it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use ring::hmac;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::Account;
use super::granted::Granted;
use super::keyed::Keyed;
use super::lane::{self, Lane};
use super::limits::Limits;
use super::permit::{Permits, SHORT};
use super::recorder::{self, Entry};
use super::{Engine, Words, heard, lock, planner, ticker};
use crate::clock::{Clock, Instant, Time};
use crate::incident::Mode;
use crate::plan::Priority;
use crate::quantity::Limit;
use crate::store::{CONFIRMS, QUIET, Result, SHARDS, Store, UNDECIDED};

/// What the engine is built from.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub words: Arc<dyn Words>,
    pub lanes: Vec<lane::Settings>,
    pub key: hmac::Key,
    pub public_url: String,
    pub without_unsubscribe: BTreeSet<String>,
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

impl Engine {
    /// Builds the engine and reads what is live. Nothing is sent before `start`.
    pub async fn new(parts: Parts) -> Result<(Arc<Engine>, mpsc::UnboundedReceiver<Entry>)> {
        // Before anything is read: what is written from here on is heard of.
        let notices = parts.store.notices();
        let leases = parts.store.leases();
        let (entries, outcomes) = mpsc::unbounded_channel();
        let now = parts.clock.monotonic();
        let steady = parts.clock.steady();
        let accounts = accounts(&*parts.store, &parts.lanes, now, steady).await?;
        let mut lanes = BTreeMap::new();
        for settings in parts.lanes {
            let own = &settings.rates.channel;
            let permits = Permits::read(&*parts.store, &settings.name, own, now, steady).await?;
            let account = accounts.get(whose(&settings));
            let granted = leases.shared().then(|| granted(&settings, account)).flatten();
            let limits = Limits::new(permits, granted, account.map(|account| account.own.clone()));
            lanes.insert(settings.id, Arc::new(Lane::new(settings, parts.settings, limits, leases.shared(), now)));
        }
        for row in parts.store.breakers().await? {
            if let Some(lane) = lanes.get(&row.channel) {
                lane.restore_breaker(&row, &parts.clock);
            }
        }
        for lane in lanes.values() {
            lane.restore_compromise(&*parts.store).await?;
            let kept = parts.store.meta(&lane.lessons_name()).await?;
            if let Some(Ok(kept)) = kept.map(|kept| serde_json::from_str(&kept)) {
                lane.restore_lessons(&kept, &parts.clock);
            }
        }
        let engine = Engine {
            leases,
            adopted: Mutex::new([0; SHARDS as usize]),
            lanes,
            turns: Default::default(),
            threads: Mutex::default(),
            live: Mutex::default(),
            down: Mutex::default(),
            changed: Mutex::default(),
            claimed: Mutex::default(),
            hints: Mutex::default(),
            attempting: Mutex::default(),
            addresses: Mutex::default(),
            balance: Mutex::default(),
            brake: tokio::sync::Mutex::default(),
            in_step: tokio::sync::RwLock::default(),
            undrawn: Mutex::default(),
            entries,
            ways: AtomicU64::new(0),
            // Ways may have opened since, or a broadcast may have resumed whose wake did not come to the disk.
            wake: AtomicBool::new(true),
            room: Arc::new(Semaphore::new(parts.settings.attempt_room)),
            plan: Notify::new(),
            tick: Notify::new(),
            recorded: Notify::new(),
            happened: watch::Sender::new(0),
            notices: Mutex::new(notices),
            settings_changed: watch::Sender::new(0),
            chance: Mutex::new(fastrand::Rng::with_seed(parts.seed)),
            stop: CancellationToken::new(),
            broken: CancellationToken::new(),
            tasks: TaskTracker::new(),
            attempts: TaskTracker::new(),
            store: parts.store,
            clock: parts.clock,
            words: parts.words,
            key: parts.key,
            public_url: parts.public_url,
            without_unsubscribe: parts.without_unsubscribe,
            settings: parts.settings,
        };
        for incident in engine.store.open_incidents().await?.into_iter().filter(|incident| incident.mode == Mode::Real)
        {
            engine.note_down(
                incident.id,
                incident.version,
                incident.state.facts().platforms_down.into_iter().collect(),
            );
        }
        let down = engine.platforms_down();
        engine.lanes.values().for_each(|lane| lane.set_down(&down, now));
        // Also of channels that are set up no longer: what waited there goes another way.
        let named = engine.store.channels(Vec::new()).await?;
        let all = [UNDECIDED, QUIET, CONFIRMS].into_iter().chain(named.into_iter().map(|(_, id, _)| id));
        let all = all.chain(engine.lanes.keys().copied());
        for lane in all {
            for priority in Priority::ALL {
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
        self.keeps("recorder", recorder::run(self.clone(), outcomes));
        self.keeps("planner", planner::run(self.clone()));
        self.keeps("ticker", ticker::run(self.clone()));
        self.keeps("notices", heard::run(self.clone()));
        for lane in self.lanes.values() {
            self.keeps(&lane.settings.name, lane::run(self.clone(), lane.clone()));
            if self.leases.shared() && !lane.settings.rates.host.is_empty() {
                self.keeps(&lane.settings.name, lane::ask(self.clone(), lane.clone()));
            }
        }
    }

    /// A part without which nothing is right any more: if it panics, the process is to end, and a new one recovers.
    fn keeps(&self, name: &str, part: impl Future<Output = ()> + Send + 'static) {
        let (name, broken) = (name.to_string(), self.broken.clone());
        self.tasks.spawn(async move {
            if std::panic::AssertUnwindSafe(part).catch_unwind().await.is_err() {
                tracing::error!(part = name, "a part of the engine panicked; the process ends");
                broken.cancel();
            }
        });
    }

    /// Stops beginning attempts, lets those on the wire end within `patience`, and records them.
    pub async fn shut_down(&self, patience: Duration) {
        self.stop.cancel();
        self.leases.leave();
        self.attempts.close();
        let _ = tokio::time::timeout(patience, self.attempts.wait()).await;
        self.enter(Entry::Last);
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}

/// Whose limits a channel shares: the account's, or its own.
fn whose(settings: &lane::Settings) -> &str {
    settings.account.as_deref().unwrap_or(&settings.name)
}

/// An account, with its limits.
struct Limited {
    own: Arc<Account>,
    limits: Vec<Limit>,
}

/// The limits of channel and account that nodes keep together by send times.
fn granted(settings: &lane::Settings, account: Option<&Limited>) -> Option<Granted> {
    let own = settings.rates.channel.iter().map(|limit| (settings.name.as_str(), limit));
    let shared = account.into_iter().flat_map(|account| &account.limits).map(|limit| (whose(settings), limit));
    Granted::new(own.chain(shared).filter(|(_, limit)| limit.window <= SHORT))
}

/// The accounts that have limits, each with those of all its channels, and those that several channels share.
async fn accounts(
    store: &dyn Store,
    lanes: &[lane::Settings],
    now: Instant,
    steady: Time,
) -> Result<BTreeMap<String, Limited>> {
    let mut limits: BTreeMap<&str, (Vec<Limit>, Vec<Limit>)> = BTreeMap::new();
    let add = |to: &mut Vec<Limit>, from: &[Limit]| {
        for limit in from {
            if !to.contains(limit) {
                to.push(*limit);
            }
        }
    };
    let shared = |own: &lane::Settings| {
        own.account.is_some() && lanes.iter().filter(|lane| lane.account == own.account).count() > 1
    };
    let limited = |lane: &&lane::Settings| !(lane.rates.account.is_empty() && lane.rates.address.is_empty());
    for settings in lanes.iter().filter(|lane| limited(lane) || shared(lane)) {
        let (account, address) = limits.entry(whose(settings)).or_default();
        add(account, &settings.rates.account);
        add(address, &settings.rates.address);
    }
    let mut accounts = BTreeMap::new();
    for (name, (account, address)) in limits {
        let permits = Permits::read(store, name, &account, now, steady).await?;
        let own = Arc::new(Account::new(permits, Keyed::new(&address, now)));
        accounts.insert(name.to_string(), Limited { own, limits: account });
    }
    Ok(accounts)
}
