//! What goes out, and the hand on the brake.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Broker, Reply, Sink, accepting, event, kannel, outage, plan, webhooks};

/// One attempt at a time.
const NARROW: &str = "\n[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nconcurrency = 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_is_answered_no_attempt_begins() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let broker = Broker::start(NARROW).await;
    for n in 0..20 {
        broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    let broadcast = broker.post("/v1/events", &outage("a-1")).await.json()["broadcasts"][0].clone();
    let broadcasts: Vec<String> = broker.get("/v1/broadcasts?state=running").await.json()["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["id"].as_str().expect("an id").to_string())
        .collect();
    assert!(!broadcasts.is_empty(), "{broadcast}");
    sink.next().await;
    for id in &broadcasts {
        let stopped = broker.post(&format!("/v1/broadcasts/{id}:stop"), &json!({})).await;
        assert_eq!((stopped.status, &stopped.json()["state"]), (200, &json!("cancelled")), "{stopped:?}");
    }
    let begun = sink.all().len();
    sink.release();
    broker.settled().await;
    let again = broker.post(&format!("/v1/broadcasts/{}:stop", broadcasts[0]), &json!({})).await;
    assert_eq!(again.status, 200, "who repeats a stop wants it stopped");
    let resumed = broker.post(&format!("/v1/broadcasts/{}:resume", broadcasts[0]), &json!({})).await;
    assert_eq!(resumed.status, 409, "{resumed:?}");
    let counts = broker.get(&format!("/v1/broadcasts/{}", broadcasts[0])).await.json()["counts"].clone();
    broker.stop().await;
    assert_eq!((sink.all().len(), begun), (1, 1), "no attempt began after the stop");
    let sum: i64 = ["told", "unknown", "unreachable", "skipped", "superseded", "cancelled", "expired"]
        .iter()
        .filter_map(|name| counts[*name].as_i64())
        .sum();
    assert_eq!((counts["selected"].as_i64(), sum), (Some(20), 20), "{counts}");
    assert!(counts["cancelled"].as_i64() >= Some(19), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_holds_with_100_000_queued() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.crowd(100_000, "businesses", &sink.url()).await;
    broker.post("/v1/events", &outage("a-1")).await;
    for _ in 0..500 {
        sink.next().await;
    }
    let stopped = broker.post("/v1/broadcasts:stop", &json!({})).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    let begun = sink.all().len();
    broker.settled().await;
    assert!(begun < 100_000, "all had gone before the stop: nothing was tested");
    assert_eq!(sink.all().len(), begun, "attempts began after the stop was answered");
    let id = stopped.json()["stopped"][0].as_str().expect("an id").to_string();
    let counts = broker.get(&format!("/v1/broadcasts/{id}")).await.json()["counts"].clone();
    assert_eq!(counts["selected"], json!(100_000), "{counts}");
    assert_eq!(counts["told"], json!(begun), "{counts}");
    assert_eq!(counts["cancelled"], json!(100_000 - begun), "{counts}");
    broker.stop().await;
    assert_eq!(sink.all().len(), begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_broadcast_waits_and_goes_on() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let broker = Broker::start(NARROW).await;
    for n in 0..5 {
        broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    broker.post("/v1/events", &outage("a-1")).await;
    sink.next().await;
    let running = broker.get("/v1/broadcasts?state=running").await.json();
    let id = running["items"][0]["id"].as_str().expect("an id").to_string();
    assert_eq!(broker.post(&format!("/v1/broadcasts/{id}:pause"), &json!({})).await.json()["state"], "paused");
    sink.release();
    // What was on the wire ends; the others leave the lane, and none of them by the wire.
    broker.emptied("hooks").await;
    assert_eq!(sink.all().len(), 1, "something began while it was paused");
    assert_eq!(broker.post(&format!("/v1/broadcasts/{id}:resume"), &json!({})).await.status, 200);
    for _ in 1..5 {
        sink.next().await;
    }
    broker.stop().await;
    assert_eq!(sink.all().len(), 5, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_of_a_paused_broadcast_waits_until_it_is_resumed() {
    let (sms, sink) = (Sink::answering(|_, _| Reply::accepted_late()).await, Sink::start().await);
    let url = sink.url();
    let addresses = [("phone", "+4915100000000"), ("url", &*url)];
    let (_plans, config) = plan(
        "title = \"SMS, else the webhook\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\n\
         routes = [\"sms\", \"webhook\"]\npriority = \"normal\"\n",
    );
    let broker = Broker::start(&format!("{config}{}{}", kannel("sms", sms.port(), ""), webhooks(""))).await;
    broker.subscriber("alex", "businesses", &addresses, |_| ()).await;
    let answer = broker.post("/v1/events", &outage("a-1")).await.json();
    let id = answer["broadcasts"][0].as_str().expect("an id").to_string();
    let message = sms.next().await;
    assert_eq!(broker.post(&format!("/v1/broadcasts/{id}:pause"), &json!({})).await.status, 200);
    sms.release();
    broker.off_the_wire("sms").await;
    broker.get(&message.report_path("2")).await;
    broker.clock.advance(Duration::from_secs(60));
    broker.emptied("hooks").await;
    let state = async || broker.get(&format!("/v1/broadcasts/{id}")).await.json()["state"].clone();
    assert_eq!((state().await, sink.all().len()), (json!("paused"), 0));
    assert_eq!(broker.post(&format!("/v1/broadcasts/{id}:resume"), &json!({})).await.status, 200);
    sink.next().await;
    broker.settled().await;
    assert_eq!(state().await, "done");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_stopped_at_once() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let broker = Broker::start(NARROW).await;
    for n in 0..5 {
        broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    broker.post("/v1/events", &outage("a-1")).await;
    broker.post("/v1/events", &event("b-1", json!({ "incident": "mail-down" }))).await;
    sink.next().await;
    let stopped = broker.post("/v1/broadcasts:stop", &json!({})).await;
    assert_eq!(stopped.status, 200);
    assert!(stopped.json()["stopped"].as_array().is_some_and(|ids| ids.len() >= 2), "{stopped:?}");
    sink.release();
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_unsubscribes_in_mid_broadcast_is_not_told_any_more() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let broker = Broker::start(NARROW).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await);
    }
    broker.post("/v1/events", &outage("a-1")).await;
    let first = sink.next().await;
    let told: usize = first.path.rsplit('/').next().and_then(|n| n.parse().ok()).expect("a number");
    let leaves = (told + 1) % 4;
    let url = broker.app.engine.unsubscribe_url(ids[leaves], 1);
    let path = url.strip_prefix(&broker.url()).expect("ours").to_string();
    let page = broker.get(&path).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("<form method=\"post\">"), "{page:?}");
    let before = broker.app.store.subscriber(ids[leaves]).await.expect("read").expect("there");
    assert!(!before.addresses[0].suppressed, "a GET suppresses nothing");
    for body in ["List-Unsubscribe=One-Click", ""] {
        let left = broker.send("POST", &path, &[("content-type", "application/x-www-form-urlencoded")], body).await;
        assert_eq!(left.status, 200, "{left:?}");
    }
    let after = broker.app.store.subscriber(ids[leaves]).await.expect("read").expect("there");
    assert!(after.addresses[0].suppressed);
    sink.release();
    broker.stop().await;
    let mut paths: Vec<String> = sink.all().into_iter().map(|request| request.path).collect();
    paths.sort();
    let expected: Vec<String> = (0..4).filter(|n| *n != leaves).map(|n| format!("/hook/{n}")).collect();
    assert_eq!(paths, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_webhook_is_refused_where_the_channel_does_not_allow_it() {
    let sink = Sink::start().await;
    let broker = Broker::start("[channels.hooks]\nplatform = \"webhook\"\n").await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let taken = broker.post("/v1/events", &outage("a-1")).await.json();
    broker.settled().await;
    let incident = taken["incident"].as_str().expect("an id");
    let broadcasts = broker.get(&format!("/v1/broadcasts?incident={incident}")).await.json();
    let of =
        |name: &str| broadcasts["items"].as_array().expect("a list").iter().find(|b| b["audience"] == name).cloned();
    let businesses = of("businesses").expect("drawn");
    assert_eq!(businesses["counts"]["unreachable"], json!(1), "{businesses}");
    assert!(sink.all().is_empty());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_looked_at_and_sent_again() {
    let sink = Sink::answering(|n, _| Reply::Status(if n == 0 { 410 } else { 204 })).await;
    let broker = Broker::start(&webhooks("")).await;
    let id = broker.webhook("alex", "businesses", &sink.url()).await;
    broker.post("/v1/events", &outage("a-1")).await;
    let first = sink.next().await;
    broker.settled().await;
    let listed = broker.get(&format!("/v1/deliveries?subscriber={id}&state=rejected")).await.json();
    let letter = listed["items"][0]["id"].as_str().expect("a dead letter").to_string();
    assert_eq!(first.header("webhook-id"), Some(letter.as_str()));
    let one = broker.get(&format!("/v1/deliveries/{letter}")).await.json();
    assert_eq!((&one["state"], &one["channel"]), (&json!("rejected"), &json!("hooks")), "{one}");
    assert!(one["message"]["text"].as_str().is_some_and(|text| text.contains("incident.update")), "{one}");
    assert!(!one.to_string().contains(&sink.url()), "the address is masked: {one}");

    let back = broker.post(&format!("/v1/subscribers/{id}/addresses/1:unsuppress"), &json!({})).await;
    assert_eq!(back.status, 200, "{back:?}");
    let replayed = broker.post(&format!("/v1/deliveries/{letter}:replay"), &json!({})).await;
    assert_eq!(replayed.status, 202, "{replayed:?}");
    let second = sink.next().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"), "the same id");
    assert_eq!(second.body, first.body, "the same bytes");
    broker.settled().await;
    let one = broker.get(&format!("/v1/deliveries/{letter}")).await.json();
    assert_eq!(one["state"], "told", "{one}");
    let outcomes: Vec<&str> =
        one["attempts"].as_array().expect("a list").iter().filter_map(|a| a["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["rejected", "replayed", "accepted"], "{one}");
    let again = broker.post(&format!("/v1/deliveries/{letter}:replay"), &json!({})).await;
    assert_eq!(again.status, 409, "{again:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_the_platform_changes_what_is_known() {
    let sms = accepting().await;
    let broker = Broker::start(&kannel("sms", sms.port(), "")).await;
    broker.subscriber("alex", "businesses", &[("phone", "+4915112345678")], |_| ()).await;
    broker.post("/v1/events", &outage("a-1")).await;
    let sent = sms.next().await;
    broker.settled().await;
    let callback = sent.report_path("1");
    let answer = broker.get(&callback).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (200, &json!(1)), "{callback}: {answer:?}");
    let listed = broker.get("/v1/broadcasts?state=done").await.json();
    let businesses = listed["items"].as_array().expect("a list").iter().find(|b| b["audience"] == "businesses");
    let id = businesses.expect("drawn")["id"].as_str().expect("an id").to_string();
    let deliveries = broker.get(&format!("/v1/deliveries?broadcast={id}")).await.json();
    assert_eq!(deliveries["items"][0]["receipt"], "delivered", "{deliveries}");
    let forged = callback.replace("dlv_", "dlv_1");
    assert_eq!(broker.get(&forged).await.status, 403);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounces_that_come_together_are_each_counted_once() {
    const PEOPLE: usize = 60;
    let sms = accepting().await;
    let broker = Broker::start(&kannel("sms", sms.port(), "")).await;
    for n in 0..PEOPLE {
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &format!("+49151000000{n:02}"))], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let mut callbacks = Vec::new();
    for _ in 0..PEOPLE {
        callbacks.push(sms.next().await.report_path("2"));
    }
    // Some come while the broadcast is under way, the others when everyone has been told.
    futures_util::future::join_all(callbacks.iter().map(|callback| broker.get(callback))).await;
    broker.settled().await;
    let listed = broker.get("/v1/broadcasts").await.json();
    let mut items = listed["items"].as_array().expect("a list").iter();
    let told = items.find(|broadcast| broadcast["audience"] == "businesses").expect("drawn");
    assert_eq!((&told["state"], &told["counts"]["unreachable"]), (&json!("done"), &json!(PEOPLE)), "{told}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_after_the_release_gets_the_next_broadcast() {
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let broker = Broker::start(&format!("[engine]\nlane = 2\npage = 1\n{NARROW}")).await;
    for n in 1..=60 {
        broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    broker.post("/v1/events", &outage("a-1")).await;
    sink.next().await;
    broker.clock.advance(std::time::Duration::from_secs(1));
    // One in a shard that is still to be read.
    let mut joined = 0;
    for n in 0..64 {
        let id = broker.webhook(&format!("later{n}"), "press", &format!("{}/later{n}", sink.url())).await;
        if id.shard() == 59 {
            broker.webhook(&format!("later{n}"), "businesses", &format!("{}/later{n}", sink.url())).await;
            joined += 1;
        }
    }
    assert_eq!(joined, 1);
    sink.release();
    broker.stop().await;
    assert_eq!(sink.all().len(), 60);
    assert!(sink.all().iter().all(|request| !request.path.contains("later")), "an import tells nobody anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_event_is_taken_up_by_an_engine_that_did_not_hear_of_it() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    // As if the store had failed between the commit and the engine's look at it.
    let event = loudhailer::ingest::event::parse_native(
        outage("a-1").to_string().as_bytes(),
        &loudhailer::ingest::event::Principal::Machine("local".into()),
    )
    .expect("an event");
    let app = &broker.app;
    let event = Arc::new(event);
    let apply = loudhailer::pipeline::application(app, event.clone(), None);
    let committed = app.store.ingest(event, apply).await.expect("committed");
    assert!(matches!(committed, loudhailer::store::Committed::Done { .. }));
    let again = broker.post("/v1/events", &outage("a-1")).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)), "{again:?}");
    sink.next().await;
    broker.stop().await;
}

/// A wrong update is corrected while most of its recipients are still queued, once as it runs and once after a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_in_mid_broadcast_corrects_those_reached_and_tells_the_others_the_true_state() {
    for stops in [false, true] {
        let sink = Sink::answering(|_, request| match request.json()["data"]["texts"]["title"] == "Wrong" {
            true => Reply::Hold,
            false => Reply::Status(204),
        })
        .await;
        let broker = Broker::start(NARROW).await;
        for n in 0..20 {
            broker.webhook(&format!("s{n}"), "businesses", &format!("{}/{n}", sink.url())).await;
        }
        let said = broker.post("/v1/events", &event("a-1", json!({ "title": "Wrong" }))).await.json();
        sink.next().await;
        if stops {
            assert_eq!(broker.post("/v1/broadcasts:stop", &json!({})).await.status, 200);
        }
        let right = json!({ "title": "Right", "corrects": said["update"], "at": "2021-10-04T15:55:00Z" });
        let corrected = broker.post("/v1/events", &event("a-2", right)).await;
        assert_eq!(corrected.status, 202, "{corrected:?}");
        sink.release();
        broker.stop().await;
        let (mut heard, mut corrections) = (std::collections::BTreeMap::<_, Vec<_>>::new(), 0);
        for request in sink.all() {
            let said = request.json()["data"].clone();
            corrections += usize::from(!said["corrects"].is_null());
            heard
                .entry(request.path.clone())
                .or_default()
                .push(said["texts"]["title"].as_str().expect("a title").to_string());
        }
        assert_eq!((heard.len(), corrections), (20, 1), "stopped: {stops}: {heard:?}");
        let both = heard.values().filter(|titles| **titles == ["Wrong", "Right"]).count();
        let right = heard.values().filter(|titles| **titles == ["Right"]).count();
        assert_eq!((both, right), (1, 19), "stopped: {stops}: {heard:?}");
    }
}

/// <https://www.twilio.com/docs/usage/security>: the URL, then each parameter's name and value in the order of the names.
fn twilio_signature(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    let signed = sorted.iter().fold(url.to_string(), |signed, (name, value)| signed + name + value);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ring::hmac::sign(&key, signed.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_callback_of_twilio_counts_if_its_signature_is_right() {
    let twilio = Sink::answering(|_, _| {
        Reply::Full(201, "Content-Type: application/json\r\n".into(), r#"{"sid":"SM1","status":"queued"}"#.into())
    })
    .await;
    let config = format!(
        "[channels.sms]\nplatform = \"twilio-sms\"\n[channels.sms.settings]\nurl = \"http://127.0.0.1:{}\"\n\
         account_sid = \"AC0\"\nauth_token = \"12345\"\nfrom = \"+15551234567\"\n",
        twilio.port()
    );
    let broker = Broker::start(&config).await;
    broker.subscriber("alex", "customers", &[("phone", "+4915112345678")], |_| ()).await;
    broker.post("/v1/events", &outage("a-1")).await;
    let sent = twilio.next().await;
    broker.settled().await;
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(&sent.body).into_owned().collect();
    let callback = &form["StatusCallback"];
    let path = callback.strip_prefix(&broker.url()).expect("ours");
    let undelivered = [("MessageSid", "SM1"), ("MessageStatus", "undelivered"), ("ErrorCode", "30005")];
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(undelivered).finish();
    let report = async |signature: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-twilio-signature", signature)];
        broker.send("POST", path, &headers, &body).await
    };
    assert_eq!(report(&twilio_signature("another token", callback, &undelivered)).await.status, 403);
    let state = async || {
        let listed = broker.get("/v1/broadcasts?limit=20").await.json();
        let customers = listed["items"].as_array().expect("a list").iter().find(|b| b["audience"] == "customers");
        customers.expect("drawn")["counts"].clone()
    };
    assert_eq!(state().await["told"], 1, "a forged report was believed");
    let answer = report(&twilio_signature("12345", callback, &undelivered)).await;
    assert_eq!((answer.status, &answer.json()["matched"]), (200, &json!(1)), "{answer:?}");
    broker.settled().await;
    let counts = state().await;
    assert_eq!((&counts["told"], &counts["unreachable"]), (&json!(0), &json!(1)), "{counts}");
    broker.stop().await;
}
