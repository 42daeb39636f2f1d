//! Plans that ask for a confirmation: where no receipt comes in time, the next route is taken, too, and who was told stays told.

use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use crate::harness::{Broker, Reply, Request, START, Sink, accepting, event, kannel, outage, plan, report};

const SECOND: Duration = Duration::from_secs(1);

fn steps(routes: &str) -> String {
    format!(
        "title = \"Confirmed\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\npriority = \"critical\"\n\
         routes = [{routes}]\nconfirm_within = \"90s\"\n"
    )
}

/// An SMS channel by Kannel's protocol, whose reports are sent by the test.
fn sms(name: &str, sink: &Sink) -> String {
    kannel(name, sink.port(), "")
}

const HOOKS: &str = "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n";

/// Kannel's report that a message was delivered.
async fn delivered(broker: &Broker, sent: &Request) {
    let answer = report(broker, sent, "1").await;
    assert_eq!((answer.status, &answer.json()["matched"]), (200, &json!(1)), "{answer:?}");
}

/// The broadcast that told of the outage.
async fn broadcast(broker: &Broker) -> Value {
    let listed = broker.get("/v1/broadcasts").await.json();
    listed["items"].as_array().expect("a list").last().expect("one").clone()
}

async fn deliveries_of(broker: &Broker, broadcast: &Value) -> Vec<Value> {
    let id = broadcast["id"].as_str().expect("an id");
    let listed = broker.get(&format!("/v1/deliveries?broadcast={id}")).await.json();
    listed["items"].as_array().expect("a list").clone()
}

async fn deliveries(broker: &Broker) -> Vec<Value> {
    deliveries_of(broker, &broadcast(broker).await).await
}

/// When the attempt by the next route began, by the broker's calendar.
async fn next_began(broker: &Broker, channel: &str) -> Time {
    let rows = deliveries(broker).await;
    let row =
        rows.iter().find(|row| row["channel"] == channel).unwrap_or_else(|| panic!("none by {channel}: {rows:?}"));
    Time::parse(row["began"].as_str().expect("a time")).expect("a time")
}

fn after(span: Duration) -> Time {
    Time::parse(START).expect("a time").plus(span)
}

/// Why the one recipient was told, and what comes next.
async fn explained(broker: &Broker) -> Value {
    let (broadcast, rows) = (broadcast(broker).await, deliveries(broker).await);
    let id = broadcast["id"].as_str().expect("an id");
    let who = rows[0]["subscriber"].as_str().expect("an id");
    broker.get(&format!("/v1/broadcasts/{id}/explain?subscriber={who}")).await.json()
}

/// Waits until the deliveries are as asked.
async fn until(broker: &Broker, what: &str, fits: impl Fn(&[Value]) -> bool) {
    broker.until(what, async || fits(&deliveries(broker).await).then_some(())).await;
}

/// Another incident is told by `first`, and nothing confirms that either: its wait ends later than any before, so when `next` has
/// got its message, all that those were to bring has come.
async fn another_goes_on(broker: &Broker, first: &Sink, next: &Sink) {
    let other = event("b-1", json!({ "incident": "mail-down", "title": "Mail is down" }));
    let taken = broker.post("/v1/events", &other).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let taken = json!({ "id": taken.json()["broadcasts"][0] });
    first.next().await;
    let told = async || {
        let rows = deliveries_of(broker, &taken).await;
        rows.iter().any(|row| row["state"] == "told").then_some(())
    };
    broker.until("told of the other incident", told).await;
    broker.clock.advance(SECOND * 90);
    next.next().await;
}

/// Alex, with a phone and a webhook; the outage is said, and the first message has been accepted.
async fn told_by_phone(broker: &Broker, first: &Sink, hooks: &Sink) -> Request {
    let addresses = [("phone", "+4915112345678"), ("url", &*hooks.url())];
    broker.subscriber("alex", "businesses", &addresses, |_| ()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let sent = first.next().await;
    until(broker, "told", |rows| rows.iter().any(|row| row["state"] == "told")).await;
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receipt_in_time_the_next_route_is_taken_too_and_once() {
    let (phones, hooks) = (accepting().await, Sink::start().await);
    let (_plans, config) = plan(&steps("\"sms\", \"webhook\", \"push\""));
    let broker = Broker::start(&(config + &sms("phones", &phones) + HOOKS)).await;
    told_by_phone(&broker, &phones, &hooks).await;
    let running = broadcast(&broker).await;
    assert_eq!((&running["state"], &running["counts"]["told"]), (&json!("running"), &json!(1)), "told stays told");
    let waits = explained(&broker).await;
    assert_eq!((&waits["outcome"], &waits["next"][0]["what"]), (&json!("told"), &json!("confirmation")), "{waits}");
    broker.clock.advance(SECOND * 89);
    assert_eq!(broadcast(&broker).await["state"], "running");
    broker.clock.advance(SECOND);
    hooks.next().await;
    broker.settled().await;
    assert_eq!(next_began(&broker, "hooks").await, after(SECOND * 90));
    let done = broadcast(&broker).await;
    assert_eq!((&done["state"], &done["counts"]["told"]), (&json!("done"), &json!(1)), "{done}");
    let rows = deliveries(&broker).await;
    let phone = rows.iter().find(|row| row["channel"] == "phones").expect("a delivery");
    assert_eq!((&phone["state"], &phone["receipt"]), (&json!("told"), &json!("unconfirmed")), "{rows:?}");
    let told = explained(&broker).await;
    assert_eq!(
        (&told["outcome"], &told["next"], &told["recomputed"]),
        (&json!("told"), &json!([]), &json!("equal")),
        "{told}"
    );
    assert!(told["text"].to_string().contains("the next route, too, since no receipt came in time"), "{told}");
    // The third route is for nobody, whatever time goes by.
    broker.clock.advance(SECOND * 3600);
    another_goes_on(&broker, &phones, &hooks).await;
    broker.stop().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_in_time_ends_the_wait() {
    let (phones, hooks) = (accepting().await, Sink::start().await);
    let (_plans, config) = plan(&steps("\"sms\", \"webhook\""));
    let broker = Broker::start(&(config + &sms("phones", &phones) + HOOKS)).await;
    let sent = told_by_phone(&broker, &phones, &hooks).await;
    broker.clock.advance(SECOND * 89);
    delivered(&broker, &sent).await;
    broker.settled().await;
    assert_eq!(broadcast(&broker).await["state"], "done");
    another_goes_on(&broker, &phones, &hooks).await;
    broker.stop().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (2, 1), "by the next route goes the other alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_receipt_still_does_after_a_restart() {
    let (phones, hooks) = (accepting().await, Sink::start().await);
    let (_plans, config) = plan(&steps("\"sms\", \"webhook\""));
    let config = config + &sms("phones", &phones) + HOOKS;
    let broker = Broker::start(&config).await;
    told_by_phone(&broker, &phones, &hooks).await;
    let folder = broker.stop_as_it_is().await;
    let later = Time::parse(START).expect("a time").plus(SECOND * 50);
    let broker = Broker::open(&config, Clock::manual(later), folder).await;
    broker.clock.advance(SECOND * 39);
    assert_eq!(broadcast(&broker).await["state"], "running");
    broker.clock.advance(SECOND);
    hooks.next().await;
    broker.settled().await;
    assert_eq!(next_began(&broker, "hooks").await, after(SECOND * 90));
    broker.stop().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_no_next_route_is_taken_and_who_was_told_counts_as_told() {
    let (phones, hooks) = (accepting().await, Sink::start().await);
    let (_plans, config) = plan(&steps("\"sms\", \"webhook\""));
    let broker = Broker::start(&(config + &sms("phones", &phones) + HOOKS)).await;
    told_by_phone(&broker, &phones, &hooks).await;
    let id = broadcast(&broker).await["id"].as_str().expect("an id").to_string();
    assert_eq!(broker.post(&format!("/v1/broadcasts/{id}:stop"), &json!({})).await.status, 200);
    broker.clock.advance(SECOND * 90);
    until(&broker, "given up", |rows| rows.iter().any(|row| row["receipt"] == "unconfirmed")).await;
    let stopped = broadcast(&broker).await;
    assert_eq!((&stopped["state"], &stopped["counts"]["told"]), (&json!("cancelled"), &json!(1)), "{stopped}");
    another_goes_on(&broker, &phones, &hooks).await;
    broker.stop().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (2, 1), "by the next route goes the other alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_route_may_lead_to_the_same_phone_and_who_is_told_stays_told_if_it_does_not_work() {
    let first = accepting().await;
    let second =
        Sink::answering(|_, _| Reply::Full(403, String::new(), "Not routable. Do not try again.".into())).await;
    let (_plans, config) = plan(&steps("\"first\", \"second\""));
    let broker = Broker::start(&(config + &sms("first", &first) + &sms("second", &second) + HOOKS)).await;
    told_by_phone(&broker, &first, &second).await;
    broker.clock.advance(SECOND * 90);
    second.next().await;
    broker.settled().await;
    let done = broadcast(&broker).await;
    assert_eq!((&done["state"], &done["counts"]["told"]), (&json!("done"), &json!(1)), "{done}");
    assert!(deliveries(&broker).await.iter().all(|row| row["state"] != "rejected"), "a dead letter");
    broker.stop().await;
    assert_eq!((first.all().len(), second.all().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_receipt_ends_what_the_next_route_has_not_done_yet() {
    let first = accepting().await;
    let second =
        Sink::answering(|_, _| Reply::Full(503, String::new(), "Temporal failure, try again later.".into())).await;
    for (routes, other) in [("\"first\", \"second\"", "second"), ("\"first\", \"hooks\"", "hooks")] {
        let (_plans, config) = plan(&steps(routes));
        let broker = Broker::start(&(config + &sms("first", &first) + &sms("second", &second) + HOOKS)).await;
        let sent = told_by_phone(&broker, &first, &second).await;
        broker.clock.advance(SECOND * 90);
        second.next().await;
        let deferred = |row: &Value| row["state"] == "open" && row["tries"] == 1 && row["channel"] == other;
        until(&broker, "deferred", |rows| rows.iter().any(deferred)).await;
        let before = second.all().len();
        delivered(&broker, &sent).await;
        // Its next try would have been due by now.
        broker.clock.advance(SECOND * 240);
        broker.settled().await;
        let done = broadcast(&broker).await;
        assert_eq!((&done["state"], &done["counts"]["told"]), (&json!("done"), &json!(1)), "{done}");
        // One address has one attempt at a time, the one that has waited longest first.
        another_goes_on(&broker, &first, &second).await;
        let rows = deliveries(&broker).await;
        assert!(rows.iter().all(|row| row["tries"].as_u64() <= Some(1)), "{routes}: {rows:?}");
        assert_eq!(second.all().len(), before + 1, "{routes}: the other's alone");
        // What it answers with leads to tries that nobody waits for.
        broker.stop_as_it_is().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_next_route_is_blocked_it_is_taken_when_it_opens_unless_a_receipt_came() {
    for receipt in [false, true] {
        let (phones, hooks) = (accepting().await, Sink::start().await);
        let (_plans, config) = plan(&steps("\"sms\", \"webhook\""));
        let broker = Broker::start(&(config + &sms("phones", &phones) + HOOKS)).await;
        let sent = told_by_phone(&broker, &phones, &hooks).await;
        assert_eq!(broker.post("/v1/channels/hooks:pause", &json!({})).await.status, 200);
        broker.clock.advance(SECOND * 90);
        until(&broker, "given up", |rows| rows.iter().any(|row| row["receipt"] == "unconfirmed")).await;
        if receipt {
            delivered(&broker, &sent).await;
            broker.settled().await;
        }
        assert_eq!(broker.post("/v1/channels/hooks:resume", &json!({})).await.status, 200);
        if !receipt {
            hooks.next().await;
        }
        broker.settled().await;
        another_goes_on(&broker, &phones, &hooks).await;
        broker.stop().await;
        assert_eq!(hooks.all().len(), 1 + usize::from(!receipt), "the other's, and this one's unless a receipt came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_reports_nothing_is_not_waited_for() {
    let (phones, hooks) = (accepting().await, Sink::start().await);
    let (_plans, config) = plan(&steps("\"webhook\", \"sms\""));
    let broker = Broker::start(&(config + &sms("phones", &phones) + HOOKS)).await;
    broker.webhook("alex", "businesses", &hooks.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    hooks.next().await;
    broker.settled().await;
    assert_eq!(broadcast(&broker).await["state"], "done");
    broker.stop().await;
}
