//! A store that can't be written, or read, at the worst moment: what was to follow is owed until it can.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::app::App;
use loudhailer::audience::{Address, Quiet, Subscriber};
use loudhailer::channel::{Driver, Fault, Holds, Outcome, Parcel};
use loudhailer::clock::{Clock, Time};
use loudhailer::id::{BroadcastId, IncidentId, SubscriberId};
use loudhailer::incident::Severity;
use loudhailer::ingest::Ingested;
use loudhailer::ingest::event::{Event, Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Broadcast, Committed, Store, SubscriberDraft};
use serde_json::{Value, json};

use super::channels::lane_of;
use super::life::started;
use super::world::START;

const SECOND: Duration = Duration::from_secs(1);

/// Counts what begins, and says the same of each.
struct Counting {
    begun: Arc<AtomicUsize>,
    answers: Answers,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Answers {
    Accepted,
    /// The channel's password is wrong.
    Refused,
    /// The first is to come again in three minutes.
    AcceptedLater,
    /// The first is to come again in three minutes, and the second is never answered.
    LaterThenNever,
    /// These words, the first time.
    RefusedOnce,
    Never,
}

#[async_trait]
impl Driver for Counting {
    async fn send(&self, _: Parcel) -> Outcome {
        let before = self.begun.fetch_add(1, Ordering::Relaxed);
        match self.answers {
            Answers::Never => std::future::pending().await,
            Answers::Refused => Outcome::Rejected { fault: Fault::Channel, detail: String::new() },
            Answers::LaterThenNever if before > 0 => std::future::pending().await,
            Answers::RefusedOnce if before == 0 => Outcome::Rejected { fault: Fault::Message, detail: String::new() },
            Answers::AcceptedLater | Answers::LaterThenNever if before == 0 => {
                let (after, detail) = (Some(SECOND * 180), String::new());
                Outcome::Deferred { after, holds: Holds::Address, throttled: false, detail }
            }
            _ => Outcome::Accepted { reference: None },
        }
    }
}

/// A process over a store, with one channel or few.
pub struct Process {
    pub app: Arc<App>,
    pub store: Arc<Sqlite>,
    pub clock: Arc<Clock>,
    begun: Arc<AtomicUsize>,
}

impl Process {
    pub async fn start(path: &Path, channel: u16, answers: Answers) -> Process {
        Process::start_at(path, START, channel, answers, &[]).await
    }

    pub async fn start_at(path: &Path, at: i64, channel: u16, answers: Answers, limits: &[&str]) -> Process {
        Process::with(path, at, answers, limits, &[(channel, "hook", "url")]).await
    }

    /// By several channels: each its number, its kind and that of its addresses.
    pub async fn with(
        path: &Path,
        at: i64,
        answers: Answers,
        limits: &[&str],
        channels: &[(u16, &str, &str)],
    ) -> Process {
        let clock = Arc::new(Clock::from(Time(at)));
        let store = Arc::new(Sqlite::inline(path).expect("opens"));
        let begun = Arc::new(AtomicUsize::new(0));
        let driver = Arc::new(Counting { begun: begun.clone(), answers });
        let lane = |(channel, kind, address): &(u16, &str, &str)| {
            let mut lane = lane_of(*channel, &format!("{kind}-{channel}"), kind, address, driver.clone());
            lane.rates.channel = limits.iter().map(|limit| limit.parse().expect("a limit")).collect();
            lane
        };
        let app = started(&clock, &store, channels.iter().map(lane).collect(), 1).await;
        Process { app, store, clock, begun }
    }

    /// Something is said to the one who wants to hear it.
    pub async fn says(&self, quiet: Option<Quiet>) -> Ingested {
        let draft = SubscriberDraft { id: None, subscriber: reader(quiet) };
        self.store.upsert(vec![draft], Time(START)).await.expect("upserts");
        self.hears("e", json!({})).await
    }

    /// The incident, with other words over it.
    pub fn event(&self, id: &str, over: Value) -> Event {
        let mut event = json!({
            "source": "world", "id": id, "incident": "outage", "at": self.clock.calendar(), "status": "investigating",
            "severity": "major", "title": "Outage"
        });
        for (name, value) in over.as_object().expect("an object") {
            event[name] = value.clone();
        }
        parse_value(event, &Principal::Machine("world".into())).expect("event")
    }

    pub async fn hears(&self, id: &str, over: Value) -> Ingested {
        pipeline::ingest(&self.app, self.event(id, over), None).await.expect("ingests")
    }

    /// That what was said first was wrong; what that drew.
    pub async fn corrects(&self) -> Vec<BroadcastId> {
        self.hears("e2", json!({ "corrects": 1, "summary": "It was another one." })).await.broadcasts
    }

    /// The same as far as the store: what it drew is not taken up.
    pub async fn draws(&self, id: &str, over: Value) -> (Vec<Broadcast>, Ingested) {
        let event = Arc::new(self.event(id, over));
        let apply = pipeline::application(&self.app, event.clone(), None);
        match self.store.ingest(event, apply).await.expect("commits") {
            Committed::Done { drawn, ingested, .. } => (drawn, ingested),
            _ => panic!("{id} is not new"),
        }
    }

    /// After so long, how many attempts have begun.
    pub async fn after(&self, seconds: u32) -> usize {
        self.clock.sleep(SECOND * seconds).await;
        self.begun.load(Ordering::Relaxed)
    }
}

pub fn reader(quiet: Option<Quiet>) -> Subscriber {
    let address = |kind: &str, value: &str| Address {
        place: 0,
        kind: kind.into(),
        value: value.into(),
        verified: true,
        suppressed: false,
        secrets: Vec::new(),
    };
    Subscriber {
        id: SubscriberId(0),
        version: 0,
        key: Some("k".into()),
        name: None,
        locale: "en".into(),
        zone: "UTC".into(),
        quiet,
        severity: Severity::Info,
        exercises: false,
        withdrawn: false,
        audiences: ["press".to_string()].into(),
        components: Default::default(),
        regions: Default::default(),
        addresses: vec![address("url", "https://h.example"), address("email", "k@example.org")],
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime")
}

/// Somebody who was to be tried again waits for the end of their quiet hours, at which the store fails for a while.
fn fails_when_a_row_is_due(fails: fn(&Sqlite, bool)) {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let process = Process::start(&folder.path().join("0.db"), 1, Answers::AcceptedLater).await;
        // It is 15:39, and the second try is due at 15:42.
        process.says(Some(Quiet { from: 15 * 60 + 40, to: 15 * 60 + 50 })).await;
        assert_eq!(process.after(655).await, 1, "quiet hours end in 5 seconds");
        fails(&process.store, true);
        assert_eq!(process.after(15).await, 1);
        fails(&process.store, false);
        assert_eq!(process.after(30).await, 2, "what was due is owed");
    });
}

#[test]
fn what_was_due_while_nothing_could_be_written_is_decided_once_it_can() {
    fails_when_a_row_is_due(|store, fails| store.refuse(fails));
}

#[test]
fn what_was_due_while_nothing_could_be_read_is_decided_once_it_can() {
    fails_when_a_row_is_due(|store, fails| store.unreadable(fails));
}

#[test]
fn who_waits_for_a_way_that_opened_while_nothing_could_be_written_is_woken_once_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let process = Process::start(&folder.path().join("0.db"), 1, Answers::Accepted).await;
        process.app.engine.platforms_changed(IncidentId(99), 1, ["hook-net".to_string()].into());
        process.says(None).await;
        assert_eq!(process.after(60).await, 0, "its platform is down");
        process.store.refuse(true);
        process.app.engine.platforms_changed(IncidentId(99), 2, Default::default());
        assert_eq!(process.after(15).await, 0);
        process.store.refuse(false);
        assert_eq!(process.after(30).await, 1, "the wake is owed");
    });
}

#[test]
fn who_was_under_way_at_a_death_is_told_though_the_next_process_could_not_write_at_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    runtime().block_on(async {
        let process = Process::start(&path, 1, Answers::Never).await;
        process.says(None).await;
        assert_eq!(process.after(10).await, 1);
    });
    runtime().block_on(async {
        // The channel is gone: another way has to be written.
        let process = Process::start(&path, 2, Answers::Accepted).await;
        process.store.refuse(true);
        assert_eq!(process.after(15).await, 0);
        process.store.refuse(false);
        assert_eq!(process.after(30).await, 1, "the manifest is not skipped");
    });
}
