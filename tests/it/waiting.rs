//! Recipients that wait because no way is open.

use std::time::Duration;

use loudhailer::audience::{Quiet, Subscriber};
use loudhailer::clock::{Clock, Time};
use serde_json::json;

use super::harness::{Broker, Reply, START, Sink, event, outage, webhooks};

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
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    // Everyone has been decided: to wait.
    broker.decided().await;
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

/// Own plans in place of those that ship: what is critical goes by one, the rest by the other.
const PLANS: &[(&str, &str)] = &[
    ("outage", "severity = [\"critical\"]\n[[step]]\nname = \"all\"\npriority = \"critical\""),
    ("minor", "severity = [\"minor\"]\n[[step]]\nname = \"all\"\npriority = \"normal\"\ndeadline = \"2h\""),
];

async fn with_plans(plans: &std::path::Path) -> Broker {
    for (name, rest) in PLANS {
        let text = format!("title = \"{name}\"\n[match]\n{rest}\naudience = \"businesses\"\nroutes = [\"webhook\"]\n");
        std::fs::write(plans.join(format!("{name}.toml")), text).expect("written");
    }
    Broker::start(&webhooks(&format!("[paths]\nplans = {plans:?}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_hold_a_message_until_they_end_unless_it_is_critical() {
    let (sink, plans) = (Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plans(plans.path()).await;
    // It is 15:51 UTC, so 17:51 where they are.
    let set = |subscriber: &mut Subscriber| {
        subscriber.zone = "Europe/Berlin".into();
        subscriber.quiet = Some(Quiet { from: 17 * 60, to: 18 * 60 + 30 });
    };
    broker.subscriber("sleeper", "businesses", &[("url", &sink.url())], set).await;
    let minor = event("a-1", json!({ "incident": "small", "severity": "minor" }));
    assert_eq!(broker.post("/v1/events", &minor).await.status, 202);
    broker.decided().await;
    assert_eq!(broker.post("/v1/events", &outage("a-2")).await.status, 202);
    assert_eq!(sink.next().await.json()["data"]["incident"], "web-down");
    broker.clock.advance(Duration::from_secs(38 * 60));
    assert_eq!(sink.all().len(), 1, "it is 18:29");
    broker.clock.advance(Duration::from_secs(2 * 60));
    assert_eq!(sink.next().await.json()["data"]["incident"], "small");
    broker.stop().await;
    assert_eq!(sink.all().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_ends_at_its_deadline_and_nobody_is_told_afterwards() {
    let (sink, plans) = (Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plans(plans.path()).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/channels/hooks:pause", &json!({})).await.status, 200);
    let taken = broker.post("/v1/events", &event("a-1", json!({ "severity": "minor" }))).await.json();
    let place = format!("/v1/broadcasts/{}", taken["broadcasts"][0].as_str().expect("an id"));
    broker.decided().await;
    broker.clock.advance(Duration::from_secs(2 * 3600 - 60));
    assert_eq!(broker.get(&place).await.json()["state"], "running");
    broker.clock.advance(Duration::from_secs(60));
    broker.settled().await;
    let ended = broker.get(&place).await.json();
    assert_eq!((&ended["state"], &ended["counts"]["expired"]), (&json!("expired"), &json!(1)), "{ended}");
    assert_eq!(broker.post("/v1/channels/hooks:resume", &json!({})).await.status, 200);
    broker.stop().await;
    assert_eq!(sink.all().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_try_is_still_made_when_it_is_due_after_a_restart() {
    let sink = Sink::answering(|n, _| Reply::Status(if n == 0 { 503 } else { 204 })).await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    broker.emptied("hooks").await;
    let folder = broker.stop_as_it_is().await;
    let broker = Broker::open(&webhooks(""), Clock::manual(Time::parse(START).expect("a time")), folder).await;
    // Whatever was to be done at the start has been: the broker answers, and nothing is due.
    assert_eq!(broker.get("/v1/channels/hooks").await.json()["on_wire"], 0);
    assert_eq!(sink.all().len(), 1);
    broker.clock.advance(Duration::from_secs(3));
    sink.next().await;
    broker.stop().await;
}
