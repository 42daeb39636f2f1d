//! Why somebody was told, or not: as the API and the command line say it.

use std::time::Duration;

use loudhailer::audience::{Quiet, Subscriber};
use loudhailer::id::{DeliveryId, SubscriberId};
use serde_json::{Value, json};

use crate::harness::{Broker, Reply, Sink, event, kannel, outage, plan, webhooks};

/// By phone, else by webhook; and the staff before the others, by webhook alone.
const PLAN: &str = r#"
title = "Explained"
[[step]]
name = "staff"
audience = "staff"
routes = ["webhook"]
priority = "normal"
[[step]]
name = "businesses"
audience = "businesses"
routes = ["sms", "webhook"]
priority = "normal"
"#;

/// The plan above with a webhook channel, and an SMS channel that asks `port`.
async fn start(port: u16) -> (tempfile::TempDir, Broker) {
    let (plans, config) = plan(PLAN);
    let broker = Broker::start(&webhooks(&(config + &kannel("phones", port, "")))).await;
    (plans, broker)
}

/// The broadcast of an event to an audience.
async fn send(broker: &Broker, event: &Value, audience: &str) -> String {
    let answer = broker.post("/v1/events", event).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    for id in answer.json()["broadcasts"].as_array().expect("broadcasts") {
        let id = id.as_str().expect("an id").to_string();
        if broker.get(&format!("/v1/broadcasts/{id}")).await.json()["audience"] == audience {
            return id;
        }
    }
    panic!("{audience} is told nothing: {answer:?}");
}

async fn explained(broker: &Broker, broadcast: &str, who: SubscriberId) -> Value {
    let answer = broker.get(&format!("/v1/broadcasts/{broadcast}/explain?subscriber={who}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// As `explained`, and what it says of a decision must be what the same functions decide again.
async fn equal(broker: &Broker, broadcast: &str, who: SubscriberId) -> Value {
    let explained = explained(broker, broadcast, who).await;
    assert_eq!(
        (&explained["recomputed"], &explained["recomputed_why"]),
        (&json!("equal"), &Value::Null),
        "{explained:#}"
    );
    explained
}

fn says(explained: &Value, words: &str) {
    let text = explained["text"].as_array().expect("lines");
    assert!(text.iter().any(|line| line.as_str().is_some_and(|line| line.contains(words))), "{words}: {explained:#}");
}

/// What was answered to each attempt at the only address that was tried.
fn outcomes(explained: &Value) -> Vec<&str> {
    let [delivery] = &explained["deliveries"].as_array().expect("deliveries")[..] else { panic!("{explained:#}") };
    let attempts = delivery["attempts"].as_array().expect("attempts");
    attempts.iter().map(|attempt| attempt["outcome"].as_str().expect("a word")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_told_at_the_first_try_by_which_way_and_that_nothing_comes_next() {
    let sink = Sink::start().await;
    let (_plans, broker) = start(9).await;
    let alex = broker.webhook("alex", "businesses", &sink.url()).await;
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    let id = sink.next().await.header("webhook-id").expect("an id").to_string();
    broker.settled().await;
    let of_delivery = broker.get(&format!("/v1/deliveries/{id}/explain")).await;
    assert_eq!(of_delivery.status, 200, "{of_delivery:?}");
    let told = equal(&broker, &broadcast, alex).await;
    assert_eq!(of_delivery.json(), told);
    assert_eq!((&told["outcome"], &told["decision"]["what"]), (&json!("told"), &json!("selected")), "{told:#}");
    assert_eq!(told["decision"]["ways"], json!([{ "place": 1, "kind": "url", "channel": "hooks" }]));
    assert_eq!((&told["deliveries"][0]["id"], outcomes(&told)), (&json!(id), vec!["accepted"]));
    assert_eq!(told["next"], json!([]));
    says(&told, "was selected, by hooks (url, place 1)");
    says(&told, "Nothing comes next.");
    assert!(!told.to_string().contains(&sink.url()), "the address is masked: {told}");
    // Another's id does not lead here.
    let last = if id.ends_with('0') { '1' } else { '0' };
    let forged = format!("{}{last}", &id[..id.len() - 1]);
    assert_eq!(broker.get(&format!("/v1/deliveries/{forged}/explain")).await.status, 404);
    let nobody = format!("/v1/broadcasts/{broadcast}/explain?subscriber={}", SubscriberId(77));
    assert_eq!(broker.get(&nobody).await.status, 404);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_message_went_on_to_the_next_way_and_why_one_was_left_out() {
    let sink = Sink::start().await;
    let refused = "Not routable. Do not try again.";
    let phones = Sink::answering(move |_, _| Reply::Full(403, String::new(), refused.into())).await;
    let (_plans, broker) = start(phones.port()).await;
    let addresses = [("phone", "+4915100000001"), ("url", &sink.url())];
    let alex = broker.subscriber("alex", "businesses", &addresses, |_| ()).await;
    let unconfirmed = |subscriber: &mut Subscriber| subscriber.addresses[0].verified = false;
    let addresses = [("phone", "+4915100000002"), ("url", &format!("{}/2", sink.url()))];
    let kim = broker.subscriber("kim", "businesses", &addresses, unconfirmed).await;
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    broker.settled().await;
    let alex = equal(&broker, &broadcast, alex).await;
    assert_eq!(
        (&alex["outcome"], &alex["decision"]["ways"][0]["channel"]),
        (&json!("told"), &json!("phones")),
        "{alex:#}"
    );
    let of = |place: usize| &alex["deliveries"][place];
    assert_eq!((&of(0)["state"], &of(1)["state"]), (&json!("rejected"), &json!("told")), "{alex:#}");
    let first = &of(0)["attempts"][0];
    assert_eq!((&first["outcome"], &first["fault"]), (&json!("rejected"), &json!("message")), "{alex:#}");
    says(&alex, "try 1 by phones: rejected (message): HTTP 403");
    says(&alex, "Then: another way");
    let kim = equal(&broker, &broadcast, kim).await;
    let left_out = json!([{ "place": 1, "kind": "phone", "channel": "phones", "why": "unverified" }]);
    assert_eq!((&kim["decision"]["left_out"], &kim["outcome"]), (&left_out, &json!("told")), "{kim:#}");
    says(&kim, "Not by phones (phone, place 1): unverified.");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_and_for_what() {
    let sink = Sink::answering(|number, _| Reply::Status(if number == 0 { 503 } else { 204 })).await;
    let (_plans, broker) = start(9).await;
    let quiet = |subscriber: &mut Subscriber| subscriber.quiet = Some(Quiet { from: 15 * 60, to: 16 * 60 });
    let sleeper = broker.subscriber("sleeper", "businesses", &[("url", &sink.url())], quiet).await;
    let retried = broker.webhook("retried", "businesses", &format!("{}/retried", sink.url())).await;
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    sink.next().await;
    let waiting = async || {
        let waits = explained(&broker, &broadcast, retried).await;
        (waits["next"][0]["what"] == "retry").then_some(waits)
    };
    let waits = broker.until("explained that a retry comes next", waiting).await;
    assert_eq!((&waits["outcome"], outcomes(&waits)), (&json!("open"), vec!["deferred"]), "{waits:#}");
    assert_eq!((&waits["next"][0]["channel"], &waits["next"][0]["place"]), (&json!("hooks"), &json!(1)), "{waits:#}");
    let asleep = equal(&broker, &broadcast, sleeper).await;
    assert_eq!(asleep["decision"]["what"], "waits", "{asleep:#}");
    let next = &asleep["next"][0];
    assert_eq!((&next["what"], &next["at"]), (&json!("quiet_hours_end"), &json!("2021-10-04T16:00:00Z")), "{asleep:#}");
    says(&asleep, "it was within their quiet hours");
    broker.clock.advance(Duration::from_secs(5));
    sink.next().await;
    broker.clock.advance(Duration::from_secs(10 * 60));
    sink.next().await;
    broker.settled().await;
    let told = equal(&broker, &broadcast, retried).await;
    assert_eq!((&told["outcome"], outcomes(&told)), (&json!("told"), vec!["deferred", "accepted"]), "{told:#}");
    let awake = equal(&broker, &broadcast, sleeper).await;
    assert_eq!((&awake["outcome"], outcomes(&awake)), (&json!("told"), vec!["accepted"]), "{awake:#}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_since_no_way_works_and_which_ways_those_are() {
    let sink = Sink::start().await;
    let (_plans, broker) = start(9).await;
    let alex = broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/channels/hooks:pause", &json!({})).await.status, 200);
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    broker.decided().await;
    let waits = equal(&broker, &broadcast, alex).await;
    let left_out = json!([{ "place": 1, "kind": "url", "channel": "hooks", "why": "paused" }]);
    assert_eq!((&waits["decision"]["what"], &waits["decision"]["left_out"]), (&json!("waits"), &left_out), "{waits:#}");
    assert_eq!((&waits["next"][0]["what"], &waits["outcome"]), (&json!("way"), &json!("open")), "{waits:#}");
    says(&waits, "Not by hooks (url, place 1): paused.");
    assert_eq!(broker.post("/v1/channels/hooks:resume", &json!({})).await.status, 200);
    sink.next().await;
    broker.settled().await;
    assert_eq!(equal(&broker, &broadcast, alex).await["outcome"], "told");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_left_out_and_by_what() {
    let sink = Sink::start().await;
    let (_plans, broker) = start(9).await;
    let url = |name: &str| format!("{}/{name}", sink.url());
    let put = async |name: &str, set: fn(&mut Subscriber)| {
        broker.subscriber(name, "businesses", &[("url", &url(name))], set).await
    };
    let mail = put("mail", |subscriber| subscriber.components = ["mail".to_string()].into()).await;
    let unverified = put("unverified", |subscriber| subscriber.addresses[0].verified = false).await;
    let staff = put("staff", |subscriber| subscriber.audiences.extend(["staff".to_string()])).await;
    let withdrawn = put("withdrawn", |subscriber| subscriber.withdrawn = true).await;
    let suppressed = put("suppressed", |_| ()).await;
    let now = broker.clock.calendar();
    broker.app.store.suppress("url", &url("suppressed"), "wish", now).await.expect("suppressed");
    let mute = broker.subscriber("mute", "businesses", &[], |_| ()).await;
    let press = broker.webhook("press", "press", &url("press")).await;
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    broker.settled().await;
    broker.clock.advance(Duration::from_secs(1));
    let late = put("late", |_| ()).await;
    for (who, outcome, why, words) in [
        (mail, "skipped", "not_interested", "it is about web in global, and they asked for mail in all"),
        (unverified, "unreachable", "unverified", "could not be told: unverified: url, place 1 is not confirmed"),
        (staff, "skipped", "told_by_another_step", "they are told as one of staff, by brd_"),
        (withdrawn, "skipped", "withdrawn", "was left out: withdrawn"),
        (suppressed, "unreachable", "suppressed", "could not be told: suppressed: url, place 1 is suppressed"),
        (mute, "unreachable", "no_address", "could not be told: no address: they have none"),
    ] {
        let explained = equal(&broker, &broadcast, who).await;
        let decision = &explained["decision"];
        assert_eq!((&explained["outcome"], &decision["why"]), (&json!(outcome), &json!(why)), "{explained:#}");
        assert_eq!((&decision["what"], &explained["deliveries"]), (&json!("left_out"), &json!([])), "{explained:#}");
        says(&explained, words);
        // As a whole they have an id, though no delivery.
        let whole = DeliveryId { broadcast: broadcast.parse().expect("an id"), subscriber: who, place: 0 };
        let whole = broker.get(&format!("/v1/deliveries/{}/explain", whole.public(&broker.app.key))).await;
        assert_eq!(whole.json(), explained);
    }
    for (who, words) in [(press, "not a member of businesses"), (late, "after the broadcast was released")] {
        let explained = explained(&broker, &broadcast, who).await;
        assert_eq!((&explained["outcome"], &explained["decision"]), (&json!("not_selected"), &Value::Null));
        assert_eq!(explained["recomputed"], "nothing_recorded", "{explained:#}");
        says(&explained, words);
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_superseded_and_what_was_stopped() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let (_plans, broker) = start(9).await;
    let mut people = Vec::new();
    for n in 0..40 {
        people.push(broker.webhook(&format!("p{n}"), "businesses", &format!("{}/{n}", sink.url())).await);
    }
    let first = send(&broker, &outage("a-1"), "businesses").await;
    sink.next().await;
    broker.decided().await;
    let newer = event("a-2", json!({ "sequence": 2, "at": "2021-10-04T15:50:30Z", "summary": "More is known." }));
    let second = send(&broker, &newer, "businesses").await;
    assert_eq!(broker.post(&format!("/v1/broadcasts/{second}:stop"), &json!({})).await.status, 200);
    sink.release();
    broker.emptied("hooks").await;
    broker.settled().await;
    let (mut superseded, mut cancelled) = (0, 0);
    for who in people {
        let old = equal(&broker, &first, who).await;
        match old["outcome"].as_str() {
            Some("superseded") => {
                superseded += 1;
                says(&old, &format!("superseded by {second}"));
            }
            Some("told") => {}
            other => panic!("{other:?}: {old:#}"),
        }
        assert_eq!(old["next"], json!([]));
        let new = explained(&broker, &second, who).await;
        assert_ne!(new["recomputed"], "differs", "{new:#}");
        cancelled += usize::from(new["outcome"] == "cancelled");
    }
    assert!(superseded > 0 && cancelled > 0, "{superseded} superseded, {cancelled} cancelled");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knows_the_end_of() {
    // An answer that says two lengths is none.
    let phones = Sink::answering(|_, _| Reply::Full(202, "Content-Length: 99\r\n".into(), "0: Accepted".into())).await;
    let (_plans, broker) = start(phones.port()).await;
    let alex = broker.subscriber("alex", "businesses", &[("phone", "+4915100000001")], |_| ()).await;
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    broker.settled().await;
    let unknown = equal(&broker, &broadcast, alex).await;
    assert_eq!((&unknown["outcome"], outcomes(&unknown)), (&json!("unknown"), vec!["unknown"]), "{unknown:#}");
    says(&unknown, "Then: an end: unknown");
    broker.stop().await;
    assert_eq!(phones.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_changed_since_is_explained_as_they_were_for_as_long_as_that_is_kept() {
    let sink = Sink::start().await;
    let (_plans, broker) = start(9).await;
    let alex = broker.webhook("alex", "businesses", &sink.url()).await;
    let mail = |subscriber: &mut Subscriber| subscriber.components = ["mail".to_string()].into();
    let kim = broker.subscriber("kim", "businesses", &[("url", &format!("{}/kim", sink.url()))], mail).await;
    let broadcast = send(&broker, &outage("a-1"), "businesses").await;
    sink.next().await;
    broker.settled().await;
    for who in [alex, kim] {
        let path = format!("/v1/subscribers/{who}");
        let changed = broker.send("PATCH", &path, &[], r#"{ "components": ["web"], "locale": "de" }"#).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }
    assert_eq!(equal(&broker, &broadcast, alex).await["outcome"], "told");
    assert_eq!(equal(&broker, &broadcast, kim).await["decision"]["why"], "not_interested");
    let later = broker.clock.calendar().plus(Duration::from_secs(86_400));
    let long_ago = broker.clock.calendar().0 - 86_400_000;
    let long_ago = loudhailer::clock::Time(long_ago);
    broker.app.store.retain(long_ago, long_ago, long_ago, later).await.expect("deleted by age");
    let forgotten = explained(&broker, &broadcast, alex).await;
    assert_eq!(
        (&forgotten["recomputed"], &forgotten["outcome"]),
        (&json!("not_possible"), &json!("told")),
        "{forgotten:#}"
    );
    says(&forgotten, "version 1 of them is no longer kept");
    broker.stop().await;
}
