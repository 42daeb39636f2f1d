//! No limit is exceeded: what arrives at a sink, by the clock in the test's hand, with a restart in between.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use serde_json::json;

use crate::harness::{Broker, Reply, START, Sink, outage, webhooks};

const RATE: usize = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// The pace at which a limit of 20/s lets attempts begin.
const STEP: Duration = Duration::from_millis(50);

/// Time that goes on over restarts, which make new clocks, and when each request arrived by it.
#[derive(Default)]
struct Timeline {
    millis: AtomicU64,
    arrived: Mutex<Vec<Duration>>,
}

impl Timeline {
    fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn advance(&self, broker: &Broker, span: Duration) {
        // First the sink's: what begins in the new time never arrives in the old.
        self.millis.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
        broker.clock.advance(span);
    }

    /// A clock for the next life.
    fn clock(&self) -> Clock {
        Clock::manual(Time::parse(START).expect("a time").plus(self.now()))
    }

    /// The most that arrived in any half-open window.
    fn most(&self, window: Duration) -> usize {
        let arrived = self.arrived.lock().expect("not poisoned");
        let within = |from: Duration| arrived.iter().filter(|at| (from..from + window).contains(*at)).count();
        arrived.iter().map(|from| within(*from)).max().unwrap_or(0)
    }
}

async fn sink(timeline: &Arc<Timeline>) -> Sink {
    let timeline = timeline.clone();
    Sink::answering(move |_, _| {
        timeline.arrived.lock().expect("not poisoned").push(timeline.now());
        Reply::Status(204)
    })
    .await
}

/// So many as the limit lets go, step by step.
async fn go_on(timeline: &Timeline, broker: &Broker, sink: &Sink, steps: usize) {
    for _ in 0..steps {
        timeline.advance(broker, STEP);
        sink.next().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_sees_more_than_the_limit_and_everyone_is_told_once_over_three_restarts() {
    let timeline = Arc::new(Timeline::default());
    let sink = sink(&timeline).await;
    let config = webhooks("") + "rate = [\"20/s\"]\n";
    let mut broker = Broker::open(&config, timeline.clock(), tempfile::tempdir().expect("a folder")).await;
    const PEOPLE: usize = 1 + 4 * 30;
    broker.crowd(PEOPLE, "businesses", &sink.url()).await;
    // A limit that has rested lets no crowd go at once.
    timeline.advance(&broker, Duration::from_secs(5));
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    go_on(&timeline, &broker, &sink, 30).await;
    for _ in 0..3 {
        // The new life knows nothing of what the old one sent a moment ago, and no time has passed.
        let folder = broker.stop_as_it_is().await;
        broker = Broker::open(&config, timeline.clock(), folder).await;
        broker.queued("hooks", "high", 1).await;
        go_on(&timeline, &broker, &sink, 30).await;
    }
    broker.stop().await;
    assert_eq!(timeline.most(WINDOW), RATE, "full use of the limit, and no more");
    let requests = sink.all();
    let people: BTreeSet<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!((requests.len(), people.len()), (PEOPLE, PEOPLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_limit_counts_what_went_before_a_restart() {
    const LIMIT: usize = 60;
    const LONG: Duration = Duration::from_secs(600);
    let timeline = Arc::new(Timeline::default());
    let sink = sink(&timeline).await;
    let config = webhooks("") + "rate = [\"20/s\", \"60/10min\"]\n";
    let broker = Broker::open(&config, timeline.clock(), tempfile::tempdir().expect("a folder")).await;
    broker.crowd(1_000, "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    go_on(&timeline, &broker, &sink, 30).await;
    let folder = broker.stop_as_it_is().await;
    let broker = Broker::open(&config, timeline.clock(), folder).await;
    // One had been reserved and was not used: it counts as gone.
    go_on(&timeline, &broker, &sink, LIMIT - 31).await;
    // All are spent: whatever is let go now arrives while the clock is moved and the broker answers.
    for _ in 0..60 {
        timeline.advance(&broker, STEP * 4);
        assert_eq!(broker.get("/v1/channels/hooks").await.status, 200);
    }
    timeline.advance(&broker, LONG);
    sink.next().await;
    let stopped = broker.post("/v1/broadcasts:stop", &json!({})).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    broker.stop().await;
    assert_eq!(timeline.most(LONG), LIMIT - 1);
}
