//! Recipients that wait because no way is open.

use loudhailer::clock::{Clock, Time};
use serde_json::json;

use super::harness::{Broker, Reply, START, Sink, outage, webhooks};

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

/// More than wait in memory for one host, and more than the planner decides at one time.
const OF_ONE_HOST: usize = 1_200;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_holds_up_nobody_elses_webhooks() {
    let slow = Sink::answering(|_, _| Reply::Hold).await;
    let quick = Sink::start().await;
    let clock = Clock::from(Time::parse(START).expect("a time"));
    let broker = Broker::open(&webhooks(""), clock, tempfile::tempdir().expect("a folder")).await;
    // Whoever shares the slow host comes first in each shard.
    for n in 0..OF_ONE_HOST {
        broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", slow.url())).await;
    }
    for n in 0..200 {
        broker.webhook(&format!("q{n}"), "businesses", &format!("{}/{n}", quick.url())).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    for _ in 0..200 {
        quick.next().await;
    }
    assert!(slow.all().len() <= 16, "{} at one time", slow.all().len());
    slow.release();
    broker.stop().await;
    assert_eq!((slow.all().len(), quick.all().len()), (OF_ONE_HOST, 200));
}
