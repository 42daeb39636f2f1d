//! The calendar is set an hour on, and an hour back, while deliveries wait for their next try: what waits is measured by a clock that
//! is not set.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loudhailer::clock::{Clock, Time};
use serde_json::json;

use crate::harness::{Broker, Reply, Sink, event, outage, webhooks};

const PEOPLE: usize = 40;
const HOUR: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_is_set_by_an_hour_loses_nobody_and_tells_nobody_early_or_twice() {
    for step in [HOUR, -HOUR] {
        let sink = Sink::answering(|number, _| Reply::Status(if number < PEOPLE { 500 } else { 204 })).await;
        let broker = Broker::start(&webhooks("")).await;
        broker.crowd(PEOPLE, "businesses", &sink.url()).await;
        assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
        for _ in 0..PEOPLE {
            sink.next().await;
        }
        broker.emptied("hooks").await;
        broker.clock.set_calendar(Time(broker.clock.calendar().0 + step));
        // It takes events in, and they are there.
        let at = broker.clock.calendar();
        let other = event("b-1", json!({ "incident": "other", "severity": "info", "at": at }));
        assert_eq!(broker.post("/v1/events", &other).await.status, 202);
        assert_eq!(broker.get("/v1/incidents/other").await.status, 200);
        assert_eq!(broker.get("/readyz").await.status, 200);
        // No wait is shorter than 1.6 s.
        broker.clock.advance(Duration::from_millis(1_500));
        broker.emptied("hooks").await;
        assert_eq!(sink.all().len(), PEOPLE, "tried again early, after {step}");
        broker.clock.advance(Duration::from_secs(5));
        for _ in 0..PEOPLE {
            sink.next().await;
        }
        broker.stop().await;
        let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for request in sink.all() {
            let id = request.header("webhook-id").expect("an id").to_string();
            came.entry(request.path.clone()).or_default().push(id);
        }
        assert_eq!(came.len(), PEOPLE, "after {step}");
        for (to, ids) in came {
            assert!(ids.len() == 2 && ids[0] == ids[1], "{to} after {step}: {ids:?}");
        }
    }
}

/// The same by the clock that a machine has.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_set_by_an_hour_tries_again_when_it_would_have() {
    for step in [HOUR, -HOUR] {
        let sink = Sink::answering(|number, _| Reply::Status(if number == 0 { 500 } else { 204 })).await;
        let start = Time::parse("2021-10-04T15:51:00Z").expect("a time");
        let broker = Broker::open(&webhooks(""), Clock::from(start), tempfile::tempdir().expect("a folder")).await;
        broker.crowd(1, "businesses", &sink.url()).await;
        assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
        sink.next().await;
        let tried = Instant::now();
        broker.emptied("hooks").await;
        broker.clock.set_calendar(Time(broker.clock.calendar().0 + step));
        sink.next().await;
        let after = tried.elapsed();
        assert!(after > Duration::from_secs(1) && after < Duration::from_secs(10), "{after:?} after {step}");
        broker.stop().await;
    }
}
