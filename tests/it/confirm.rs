//! Plans that ask for a confirmation: where no receipt comes in time, the next route is taken, too, and who was told stays told.

use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use crate::harness::{Broker, Reply, Request, START, Sink, outage, plan, within};

const SECOND: Duration = Duration::from_secs(1);

fn steps(routes: &str) -> String {
    format!(
        "title = \"Confirmed\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\npriority = \"critical\"\n\
         routes = [{routes}]\nconfirm_within = \"90s\"\n"
    )
}

async fn accepting() -> Sink {
    Sink::answering(|_, _| Reply::Full(202, String::new(), "0: Accepted for delivery".into())).await
}

/// An SMS channel by Kannel's protocol, whose reports are sent by the test.
fn sms(name: &str, sink: &Sink) -> String {
    format!(
        "[channels.{name}]\nplatform = \"kannel\"\n[channels.{name}.settings]\nurl = \"http://127.0.0.1:{}\"\n\
         username = \"u\"\npassword = \"p\"\nfrom = \"ALERT\"\n",
        sink.port()
    )
}

const HOOKS: &str = "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n";

/// Kannel's report about a message: 1 is delivered, 2 is not.
async fn report(broker: &Broker, sent: &Request, kind: &str) {
    let asked = url::Url::parse(&format!("http://x{}", sent.path)).expect("a url");
    let callback = asked.query_pairs().find(|(name, _)| name == "dlr-url").expect("a callback").1.into_owned();
    // Whatever port the broker that sent it had.
    let path = &callback[callback.find("/v1/receipts/").expect("ours")..];
    let answer = broker.get(&path.replace("%d", kind)).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (200, &json!(1)), "{answer:?}");
}

async fn broadcast(broker: &Broker) -> Value {
    let listed = broker.get("/v1/broadcasts").await.json();
    listed["items"][0].clone()
}

async fn deliveries(broker: &Broker) -> Vec<Value> {
    let id = broadcast(broker).await["id"].as_str().expect("an id").to_string();
    let listed = broker.get(&format!("/v1/deliveries?broadcast={id}")).await.json();
    listed["items"].as_array().expect("a list").clone()
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
    let mut happenings = broker.app.engine.happenings();
    while !fits(&deliveries(broker).await) {
        within(what, happenings.changed()).await.expect("the engine lives");
    }
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
    assert_eq!(hooks.all().len(), 0);
    broker.clock.advance(SECOND);
    hooks.next().await;
    broker.settled().await;
    broker.clock.advance(SECOND * 3600);
    broker.settled().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (1, 1));
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
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_in_time_ends_the_wait() {
    let (phones, hooks) = (accepting().await, Sink::start().await);
    let (_plans, config) = plan(&steps("\"sms\", \"webhook\""));
    let broker = Broker::start(&(config + &sms("phones", &phones) + HOOKS)).await;
    let sent = told_by_phone(&broker, &phones, &hooks).await;
    broker.clock.advance(SECOND * 89);
    report(&broker, &sent, "1").await;
    broker.settled().await;
    assert_eq!(broadcast(&broker).await["state"], "done");
    broker.clock.advance(SECOND * 3600);
    broker.stop().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (1, 0));
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
    assert_eq!(hooks.all().len(), 0);
    broker.clock.advance(SECOND);
    hooks.next().await;
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
    broker.stop().await;
    assert_eq!((phones.all().len(), hooks.all().len()), (1, 0));
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
        report(&broker, &sent, "1").await;
        for _ in 0..4 {
            broker.clock.advance(SECOND * 60);
        }
        broker.settled().await;
        let done = broadcast(&broker).await;
        assert_eq!((&done["state"], &done["counts"]["told"]), (&json!("done"), &json!(1)), "{done}");
        assert_eq!(second.all().len(), before, "{routes}");
        broker.stop().await;
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
            report(&broker, &sent, "1").await;
            broker.settled().await;
        }
        assert_eq!(broker.post("/v1/channels/hooks:resume", &json!({})).await.status, 200);
        broker.settled().await;
        assert_eq!(hooks.all().len(), usize::from(!receipt));
        broker.stop().await;
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
