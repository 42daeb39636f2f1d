//! A pause that ends in the moment between a delivery's leaving its lane and the writing of its row.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::channel::{Driver, Outcome, Parcel};
use loudhailer::clock::{Clock, Time};
use loudhailer::ingest::event::{Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{BroadcastState, Store, SubscriberDraft};
use serde_json::json;
use tokio::sync::Semaphore;

use super::channels::lane_of;
use super::life::started;
use super::world::START;
use crate::harness::draft;

/// Answers as often as it was allowed to.
struct Held(Arc<Semaphore>);

#[async_trait]
impl Driver for Held {
    async fn send(&self, _: Parcel) -> Outcome {
        self.0.acquire().await.expect("open").forget();
        Outcome::Accepted { reference: None }
    }
}

/// Lets every task that is ready run once before the caller goes on, without letting time pass.
async fn others() {
    let mut polled = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn subscriber(n: usize) -> SubscriberDraft {
    let url = format!("https://h{n}.example");
    SubscriberDraft { id: None, subscriber: draft(&format!("k{n}"), "press", &[("url", &url)]) }
}

#[test]
fn whoever_left_a_lane_as_a_pause_ended_does_not_wait_for_the_deadline() {
    let directory = tempfile::tempdir().expect("directory");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
    let path = directory.path().join("0.db");
    // Spawned, so that it takes its turn among the engine's tasks.
    let body = async move {
        let clock = Arc::new(Clock::from(Time(START)));
        let store = Arc::new(Sqlite::inline(&path).expect("opens"));
        let gate = Arc::new(Semaphore::new(0));
        let hook = lane_of(1, "hook", "hook", "url", Arc::new(Held(gate.clone())));
        let app = started(&clock, &store, vec![hook], 1).await;
        store.upsert((0..5).map(subscriber).collect(), Time(START)).await.expect("upserts");
        let event = json!({
            "source": "world", "id": "e", "incident": "outage", "at": clock.calendar(), "status": "investigating",
            "severity": "major", "title": "Outage"
        });
        let event = parse_value(event, &Principal::Machine("world".into())).expect("event");
        let broadcasts = pipeline::ingest(&app, event, None).await.expect("ingests").broadcasts;
        let press = broadcasts[2];
        clock.sleep(Duration::from_secs(1)).await;
        let lane = app.engine.lanes.values().next().expect("one lane");
        assert_eq!((lane.on_wire(), lane.waiting().iter().sum::<usize>()), (1, 4));

        use BroadcastState::{Paused, Running};
        assert!(app.engine.change_state(press, vec![Running], Paused, "world").await.expect("pauses"));
        // The lane's turn comes next, and the recorder's only after ours.
        lane.wake();
        while lane.waiting().iter().any(|n| *n > 0) {
            others().await;
        }
        assert!(app.engine.change_state(press, vec![Paused], Running, "world").await.expect("resumes"));
        gate.add_permits(5);
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(store.live().await.expect("reads").len(), 0, "somebody waits for the deadline");
        let broadcast = store.broadcast(press).await.expect("reads").expect("is there");
        assert_eq!(store.counts(&broadcast).await.expect("reads").0.told, 5, "somebody was given up");
    };
    runtime.block_on(async { tokio::spawn(body).await.expect("holds") });
}
