//! A stop while a lane looks for what to send: on real threads, since a look cannot be interrupted by whoever shares its own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::channel::{Driver, Outcome, Parcel};
use loudhailer::clock::Clock;
use loudhailer::ingest::event::{Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{BroadcastState, Store, SubscriberDraft};
use serde_json::json;
use tokio::sync::Notify;

use super::channels::lane_of;
use super::full::reader;
use super::life::started;
use crate::harness::within;

/// How long a look waits in vain for a stop that is not answered before the look is over.
const IN_VAIN: Duration = Duration::from_millis(300);

/// Asked for a host in the middle of the first look, it says so, and goes on when the stop is answered, or in vain.
struct Looked {
    looking: Arc<Notify>,
    answered: Mutex<Receiver<()>>,
    first: AtomicBool,
    overtaken: Arc<AtomicBool>,
    begun: Arc<Notify>,
}

#[async_trait]
impl Driver for Looked {
    async fn send(&self, _: Parcel) -> Outcome {
        self.begun.notify_one();
        Outcome::Accepted { reference: None }
    }

    fn host<'a>(&self, _: &'a str) -> Option<&'a str> {
        if self.first.swap(false, Ordering::SeqCst) {
            self.looking.notify_one();
            let answered = self.answered.lock().expect("not poisoned").recv_timeout(IN_VAIN).is_ok();
            self.overtaken.store(answered, Ordering::SeqCst);
        }
        None
    }
}

async fn stops_in_the_middle_of_a_look(path: &Path) {
    let (looking, overtaken, begun) =
        (Arc::<Notify>::default(), Arc::<AtomicBool>::default(), Arc::<Notify>::default());
    let (answer, answered) = channel();
    let driver = Looked {
        looking: looking.clone(),
        answered: Mutex::new(answered),
        first: AtomicBool::new(true),
        overtaken: overtaken.clone(),
        begun: begun.clone(),
    };
    let clock = Arc::new(Clock::system());
    let store = Arc::new(Sqlite::inline(path).expect("opens"));
    let app = started(&clock, &store, vec![lane_of(1, "hook-1", "hook", "url", Arc::new(driver))], 1).await;
    let draft = SubscriberDraft { id: None, subscriber: reader(None) };
    store.upsert(vec![draft], clock.calendar()).await.expect("upserts");
    let event = json!({
        "source": "world", "id": "e", "incident": "outage", "at": clock.calendar(), "status": "investigating", "severity": "major",
        "title": "Outage"
    });
    let event = parse_value(event, &Principal::Machine("world".into())).expect("event");
    let drawn = pipeline::ingest(&app, event, None).await.expect("ingests").broadcasts;
    within("a lane looks", looking.notified()).await;
    for id in &drawn {
        let from = vec![BroadcastState::Running];
        app.engine.change_state(*id, from, BroadcastState::Cancelled, "somebody").await.expect("stops");
    }
    let _ = answer.send(());
    within("what was chosen begins", begun.notified()).await;
    app.engine.stop.cancel();
    assert!(!overtaken.load(Ordering::SeqCst), "a stop was answered while a lane had chosen what it stops");
}

#[test]
fn a_stop_is_answered_when_what_a_lane_has_chosen_before_it_has_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("runtime");
    runtime.block_on(stops_in_the_middle_of_a_look(&folder.path().join("0.db")));
}
