//! The urgent goes first: thousands wait on one channel in bulk, then something critical comes. At the sink only what was on
//! the wire already is before it.

use serde_json::{Value, json};

use crate::harness::{Broker, Reply, Request, Sink, event, outage, plan, webhooks};

const BULK: usize = 6_000;
/// More than half of a lane: then no more pages of bulk are decided.
const FULL: usize = 2_049;
const CRITICAL: usize = 5;

const PLAN: &str = r#"
title = "Bulk and critical on one channel"
[[step]]
name = "businesses"
audience = "businesses"
routes = ["webhook"]
priority = "bulk"
severity = ["minor"]
[[step]]
name = "staff"
audience = "staff"
routes = ["webhook"]
priority = "critical"
severity = ["critical"]
"#;

/// A broker whose one channel is as `channel` says, with a crowd for bulk and a few people for what is critical.
async fn broker(channel: &str, sink: &Sink) -> (Broker, tempfile::TempDir) {
    let (plans, config) = plan(PLAN);
    let broker = Broker::start(&format!("{}{channel}\n", webhooks(&config))).await;
    broker.crowd(BULK, "businesses", &format!("{}/bulk", sink.url())).await;
    for n in 0..CRITICAL {
        broker.webhook(&format!("c{n}"), "staff", &format!("{}/critical/{n}", sink.url())).await;
    }
    (broker, plans)
}

fn minor() -> Value {
    event("a-1", json!({ "incident": "slow", "severity": "minor" }))
}

fn critical(request: &Request) -> bool {
    request.path.contains("/critical/")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_on_the_wire_goes_before_a_critical_delivery() {
    const WIRE: usize = 8;
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let (broker, _plans) = broker(&format!("concurrency = {WIRE}"), &sink).await;
    assert_eq!(broker.post("/v1/events", &minor()).await.status, 202);
    // One place on the wire is kept for what is critical.
    for _ in 1..WIRE {
        assert!(!critical(&sink.next().await));
    }
    broker.queued("hooks", "bulk", FULL).await;
    assert_eq!(broker.post("/v1/events", &outage("b-1")).await.status, 202);
    assert!(critical(&sink.next().await), "the place that was kept");
    broker.queued("hooks", "critical", CRITICAL - 1).await;
    // The slow receiver answers one bulk request at a time: each place that becomes free is the critical ones'.
    for _ in 1..CRITICAL {
        sink.let_go(1);
        assert!(critical(&sink.next().await));
    }
    sink.release();
    broker.stop().await;
    let all = sink.all();
    let last = all.iter().rposition(critical).expect("came");
    assert_eq!((last, all.len()), (WIRE - 1 + CRITICAL - 1, BULK + CRITICAL), "only the wire's {} before", WIRE - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_permit_is_chosen_when_it_comes() {
    let second = std::time::Duration::from_secs(1);
    let sink = Sink::start().await;
    let (broker, _plans) = broker("rate = [\"1/s\"]", &sink).await;
    assert_eq!(broker.post("/v1/events", &minor()).await.status, 202);
    broker.queued("hooks", "bulk", FULL).await;
    for _ in 0..3 {
        broker.clock.advance(second);
        assert!(!critical(&sink.next().await));
    }
    // The lane waits for its next permit with bulk in hand; what is critical comes meanwhile.
    assert_eq!(broker.post("/v1/events", &outage("b-1")).await.status, 202);
    broker.queued("hooks", "critical", CRITICAL).await;
    for _ in 0..CRITICAL {
        broker.clock.advance(second);
        assert!(critical(&sink.next().await));
    }
    broker.clock.advance(second);
    assert!(!critical(&sink.next().await), "then bulk goes on");
    assert_eq!(broker.post("/v1/broadcasts:stop", &json!({})).await.status, 200);
    broker.stop().await;
    assert_eq!(sink.all().len(), 3 + CRITICAL + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_critical_is_decided_before_the_rest_of_the_bulk() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    // Everyone in bulk would fit into the lane, one decision at a time.
    let (broker, _plans) = broker("concurrency = 8\n[engine]\nlane = 100000\npage = 1", &sink).await;
    let bulk = broker.post("/v1/events", &minor()).await.json()["broadcasts"][0].clone();
    assert!(!critical(&sink.next().await));
    assert_eq!(broker.post("/v1/events", &outage("b-1")).await.status, 202);
    while !critical(&sink.next().await) {}
    let path = format!("/v1/broadcasts/{}", bulk.as_str().expect("an id"));
    let selected = broker.get(&path).await.json()["counts"]["selected"].as_u64().expect("a number");
    assert!(selected < BULK as u64, "all the bulk had been decided first");
    assert_eq!(broker.post("/v1/broadcasts:stop", &json!({})).await.status, 200);
    sink.release();
    broker.stop().await;
}
