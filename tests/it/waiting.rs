//! Recipients that wait because no way is open.

use loudhailer::clock::{Clock, Time};
use serde_json::json;

use super::harness::{Broker, START, Sink, outage, webhooks};

/// More than the planner decides at one time, twice over.
const MANY: usize = 1_300;

#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_waited_for_a_channel_is_told_when_it_is_back() {
    let sink = Sink::start().await;
    let clock = Clock::from(Time::parse(START).expect("a time"));
    let broker = Broker::open(&webhooks(""), clock, tempfile::tempdir().expect("a folder")).await;
    for n in 0..MANY {
        broker.webhook(&n.to_string(), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    assert_eq!(broker.post("/v1/channels/hooks:pause", &json!({})).await.status, 200);
    let mut happenings = broker.app.engine.happenings();
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    // Everyone has been decided: to wait.
    while broker.app.store.live().await.expect("read").iter().any(|broadcast| broadcast.shards != 0) {
        happenings.changed().await.expect("the engine lives");
    }
    assert_eq!(sink.all().len(), 0);
    assert_eq!(broker.post("/v1/channels/hooks:resume", &json!({})).await.status, 200);
    broker.stop().await;
    assert_eq!(sink.all().len(), MANY);
}
