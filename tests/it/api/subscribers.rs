//! Who is told.

use serde_json::{Value, json};

use crate::harness::{Broker, Reply, Sink, outage, webhooks};

/// Answers a challenge as it should.
fn echoes(request: &crate::harness::Request) -> Reply {
    let said = request.json();
    match said["type"].as_str() {
        Some("loudhailer.webhook.challenge") => {
            let body = json!({ "challenge": said["data"]["challenge"] }).to_string();
            Reply::Full(200, "Content-Type: application/json\r\n".into(), body)
        }
        _ => Reply::Status(204),
    }
}

fn alex(url: &str) -> Value {
    json!({
        "key": "alex", "name": "Alex", "locale": "de", "time_zone": "Europe/Berlin", "quiet_hours": "22:00-07:00",
        "min_severity": "major", "audiences": ["businesses"], "addresses": [{ "kind": "url", "address": url }]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_made_read_changed_and_removed() {
    let sink = Sink::answering(|_, request| echoes(request)).await;
    let broker = Broker::start(&webhooks("")).await;
    let made = broker.post("/v1/subscribers", &alex(&sink.url())).await;
    assert_eq!(made.status, 201, "{made:?}");
    let location = made.header("location").expect("a place").to_string();
    let made = made.json();
    let secret = made["addresses"][0]["secret"].as_str().expect("shown once").to_string();
    assert!(secret.starts_with("whsec_"));
    assert_eq!(
        (&made["addresses"][0]["verified"], &made["addresses"][0]["place"]),
        (&json!(true), &json!(1)),
        "{made}"
    );
    let read = broker.get(&location).await;
    assert!(!read.text.contains(&secret), "never again");
    let read = read.json();
    assert_eq!((&read["quiet_hours"], &read["time_zone"]), (&json!("22:00-07:00"), &json!("Europe/Berlin")), "{read}");

    let again = broker.post("/v1/subscribers", &alex(&sink.url())).await;
    assert_eq!((again.status, &again.json()["version"]), (200, &read["version"]), "unchanged: {again:?}");
    let changed = broker.client.json("PATCH", &location, &json!({ "min_severity": "critical", "name": null })).await;
    let changed = changed.json();
    assert_eq!((&changed["min_severity"], &changed["name"]), (&json!("critical"), &json!(null)), "{changed}");
    assert_eq!(changed["locale"], "de", "what is absent stays");
    assert_eq!(changed["version"].as_i64(), read["version"].as_i64().map(|version| version + 1));

    let listed = broker.get("/v1/subscribers?key=alex").await.json();
    assert_eq!(listed["items"][0]["id"], read["id"]);
    assert_eq!(broker.send("DELETE", &location, &[], "").await.status, 204);
    assert_eq!(broker.get(&location).await.status, 404);
    assert_eq!(broker.send("DELETE", &location, &[], "").await.status, 404);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_echo_the_challenge_is_not_verified_and_hears_nothing() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    let made = broker.post("/v1/subscribers", &alex(&sink.url())).await.json();
    assert_eq!(made["addresses"][0]["verified"], json!(false), "{made}");
    let challenge = sink.next().await;
    assert_eq!(challenge.json()["type"], "loudhailer.webhook.challenge");
    assert!(challenge.header("webhook-signature").is_some());
    broker.post("/v1/events", &outage("a-1")).await;
    broker.settled().await;
    assert_eq!(sink.all().len(), 1, "only the challenge");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_out_and_signed_with_both_secrets_after_a_rotation() {
    let sink = Sink::answering(|_, request| echoes(request)).await;
    let broker = Broker::start(&webhooks("")).await;
    let made = broker.post("/v1/subscribers", &alex(&sink.url())).await.json();
    let id = made["id"].as_str().expect("an id");
    sink.next().await;
    let tested = broker.post(&format!("/v1/subscribers/{id}/addresses/1:test"), &json!({})).await.json();
    assert_eq!(tested["outcome"], "accepted", "{tested}");
    let test = sink.next().await;
    assert_eq!(test.json()["type"], "loudhailer.webhook.test");
    let rotated = broker.post(&format!("/v1/subscribers/{id}/addresses/1:rotate"), &json!({})).await.json();
    assert!(rotated["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{rotated}");
    broker.post(&format!("/v1/subscribers/{id}/addresses/1:test"), &json!({})).await;
    let signatures =
        |request: &crate::harness::Request| request.header("webhook-signature").expect("signed").split(' ').count();
    assert_eq!((signatures(&test), signatures(&sink.next().await)), (1, 2));
    let missing = broker.post(&format!("/v1/subscribers/{id}/addresses/9:test"), &json!({})).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_belongs_to_one_subscriber() {
    let sink = Sink::answering(|_, request| echoes(request)).await;
    let broker = Broker::start(&webhooks("")).await;
    assert_eq!(broker.post("/v1/subscribers", &alex(&sink.url())).await.status, 201);
    let mut other = alex(&sink.url());
    other["key"] = json!("sam");
    let taken = broker.post("/v1/subscribers", &other).await;
    assert_eq!((taken.status, &taken.json()["pointer"]), (409, &json!("/addresses/0/address")), "{taken:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_subscriber_is_said_with_its_place() {
    let broker = Broker::start("[components.web]\ntitle = \"Website\"\n").await;
    let address =
        |kind: &str, address: &str| json!({ "key": "x", "addresses": [{ "kind": kind, "address": address }] });
    for (body, pointer, words) in [
        (json!([]), "", "expected an object"),
        (json!({}), "", "a key, or at least one address"),
        (json!({ "audience": [] }), "/audience", "did you mean \"audiences\"?"),
        (json!({ "audiences": ["busineses"] }), "/audiences/0", "did you mean \"businesses\"?"),
        (json!({ "components": ["wep"] }), "/components/0", "did you mean \"web\"?"),
        (json!({ "locale": "german" }), "/locale", "language tag"),
        (json!({ "time_zone": "Berlin" }), "/time_zone", "time zone"),
        (json!({ "quiet_hours": "22" }), "/quiet_hours", "22:00-07:00"),
        (json!({ "min_severity": "huge" }), "/min_severity", "critical"),
        (json!({ "name": "a\nb" }), "/name", "control character"),
        (json!({ "exercises": 1 }), "/exercises", "true or false"),
        (address("emial", "a@b.c"), "/addresses/0/kind", "email"),
        (address("email", "a@b.c\r\nBcc: d@e.f"), "/addresses/0/address", "control character"),
        (address("email", "nobody"), "/addresses/0/address", "email"),
        (address("phone", "0151"), "/addresses/0/address", "phone"),
        (address("url", "ftp://x"), "/addresses/0/address", "url"),
        (address("url", "http://u:p@x/"), "/addresses/0/address", "password"),
    ] {
        let answer = broker.post("/v1/subscribers", &body).await;
        let problem = answer.json();
        assert_eq!((answer.status, &problem["pointer"]), (400, &json!(pointer)), "{body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{body}: {problem}");
    }
    broker.stop().await;
}
