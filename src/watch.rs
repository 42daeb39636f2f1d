//! Watchers: they read what others publish, and what they see is a signal. Enters: `[watchers.NAME]`. Leaves: signals of the origin
//! `watcher/NAME`, and their withdrawal once a page no longer says so. A watcher that cannot read its page says nothing of it: only
//! an URL's answer is itself what is watched.

/// What the operator has set up, checked.
mod settings;
pub use self::settings::{Misfit, Settings, check};

/// Which of our components is meant, and whether words stand there.
mod words;

/// One question to a page, politely.
mod ask;

/// When to ask again.
mod pace;

/// What is kept from one turn to the next, over restarts too.
mod kept;

/// Summaries of Statuspage.
mod statuspage;

/// Entries of Atom and RSS.
mod feed;

/// Alerts of CAP that a feed names.
mod alerts;

/// Posts under a tag.
mod mastodon;

/// An URL's answer, as it is expected.
mod probe;

/// From a page to what it says.
mod look;

/// Properties of what is read.
mod attacked;
pub use self::attacked::attacked;

/// One turn: a look, and what follows from it.
mod turn;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::ask::Asker;
use self::kept::Kept;
use crate::app::App;
use crate::channel::guard::{Network, System};
use crate::clock::{Clock, Time};
use crate::config::{Config, ConfigError};

/// The first part of the origin of their signals.
pub const ORIGIN: &str = "watcher";

/// What a page says of a component that does not work.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub text: String,
    /// What it says so by, such as an entry's id: as long as it is the same, nothing new was said.
    pub cause: String,
}

/// A finding that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub text: String,
    pub cause: String,
    pub since: Time,
}

/// What came of the turns so far, for who looks on.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub asked: Option<Time>,
    /// When the page could last be read.
    pub read: Option<Time>,
    pub next: Option<Time>,
    /// Why it could not be read the last time.
    pub error: Option<String>,
    /// What it holds that could not be used.
    pub note: Option<String>,
    pub failures: u32,
    pub says: BTreeMap<String, Said>,
    pub changed: u64,
    pub unchanged: u64,
    pub failed: u64,
}

pub struct Watcher {
    pub settings: Settings,
    asker: Asker,
    view: Mutex<View>,
    turns: watch::Sender<u64>,
}

impl Watcher {
    fn new(settings: Settings, network: Arc<dyn Network>, public_url: &str) -> Result<Watcher, String> {
        let asker = Asker::new(&settings, network, public_url)?;
        Ok(Watcher { settings, asker, view: Mutex::default(), turns: watch::Sender::new(0) })
    }

    pub fn view(&self) -> View {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How many turns have ended since the start; it is told, too, when the first begins.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    fn counted(&self, what: &'static str) {
        let name = self.settings.name.clone();
        metrics::counter!("loudhailer_watcher_looks_total", "watcher" => name, "what" => what).increment(1);
    }

    fn origin(&self) -> String {
        format!("{ORIGIN}/{}", self.settings.name)
    }

    /// What the page says now, with nothing known from before: for a person who tries it.
    pub async fn try_now(&self, clock: &Clock) -> Result<(BTreeMap<String, Finding>, Option<String>), String> {
        let looked = look::look(self, &Kept::default(), clock.calendar()).await;
        let says = look::says(&self.settings, &looked.kept, clock.calendar());
        // An URL's first wrong answer is none yet, and is what somebody who tries it wants to see.
        looked.read.map(|note| (says, note.or(looked.kept.wrong)))
    }
}

/// All that are set up, in the order of their names.
#[derive(Default)]
pub struct Watchers(Vec<Arc<Watcher>>);

impl Watchers {
    pub fn build(config: &Config) -> Result<Watchers, ConfigError> {
        let network: Arc<dyn Network> = Arc::new(System);
        let build = |(name, own): (&String, &_)| {
            let wrong = |message| ConfigError::Wrong { place: format!("watchers.{name}"), message };
            let settings = Settings::of(name, own, config).map_err(|misfit| wrong(misfit.to_string()))?;
            Watcher::new(settings, network.clone(), &config.server.public_url).map(Arc::new).map_err(wrong)
        };
        config.watchers.iter().map(build).collect::<Result<_, _>>().map(Watchers)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        self.0.iter()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Watcher>> {
        self.0.iter().find(|watcher| watcher.settings.name == name)
    }

    /// Each by itself, until `app.stop` is cancelled.
    pub fn start(&self, app: &Arc<App>) -> Vec<JoinHandle<()>> {
        self.0.iter().map(|watcher| tokio::spawn(watch(app.clone(), watcher.clone()))).collect()
    }
}

async fn watch(app: Arc<App>, watcher: Arc<Watcher>) {
    let mut kept = kept::load(&*app.store, &watcher.settings).await;
    watcher.show(|view| {
        (view.says, view.failures) = (kept.says.clone(), kept.failures);
    });
    // A page that has asked us to wait is left alone over a restart, too.
    let (mut wait, mut turned) = (kept.due.since(app.clock.calendar()).min(pace::LONGEST), false);
    let mut shards = app.engine.leases.changes();
    loop {
        let due = app.clock.monotonic() + wait;
        watcher.show(|view| view.next = Some(app.clock.calendar().plus(wait)));
        watcher.turns.send_modify(|turns| *turns += u64::from(turned));
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.clock.sleep_until(due) => {}
        }
        if !app.engine.leases.lead(app.clock.monotonic()) {
            // Another node looks, until this one goes on from what that has kept.
            tokio::select! {
                () = app.stop.cancelled() => return,
                _ = shards.changed() => {}
            }
            kept = kept::load(&*app.store, &watcher.settings).await;
            wait = kept.due.since(app.clock.calendar()).min(pace::LONGEST);
            continue;
        }
        turned = true;
        // In a task of its own, so that a panic over one page is a failure to read it, and no more.
        match tokio::spawn(turn::turn(app.clone(), watcher.clone(), kept.clone())).await {
            Ok(Some(turned)) => (kept, wait) = turned,
            Ok(None) => return,
            Err(_) => {
                kept.failures = kept.failures.saturating_add(1);
                let why = "reading it failed unexpectedly: please report this";
                wait = turn::failed(&watcher, app.clock.calendar(), &kept, why, pace::Wish::default());
            }
        }
    }
}

/// At most so much of what a stranger wrote.
const SAID: usize = 300;

/// What a stranger wrote, on one line.
fn line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(SAID) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
