//! What is held until a person has released it.

use serde_json::{Value, json};

use crate::harness::{Broker, Sink, event, outage, plan, webhooks};

/// One step, which waits for approval.
async fn asking(sink: &Sink) -> (tempfile::TempDir, Broker) {
    let (plans, config) = plan(
        "title = \"Ask first\"\n[match]\nkind = [\"incident\"]\n[[step]]\nname = \"b\"\naudience = \"businesses\"\n\
         routes = [\"webhook\"]\npriority = \"high\"\napproval = true\n",
    );
    let broker = Broker::start(&webhooks(&config)).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    (plans, broker)
}

/// Says something, and answers the update and the only broadcast that it called for.
async fn said(broker: &Broker, event: &Value) -> (Value, String) {
    let taken = broker.post("/v1/events", event).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let taken = taken.json();
    let broadcasts = taken["broadcasts"].as_array().expect("a list");
    let only = if let [only] = &broadcasts[..] { only.as_str() } else { None };
    (taken["update"].clone(), only.unwrap_or_default().to_string())
}

async fn shown(broker: &Broker, id: &str) -> Value {
    broker.get(&format!("/v1/broadcasts/{id}")).await.json()
}

async fn release(broker: &Broker, id: &str) -> u16 {
    broker.post(&format!("/v1/broadcasts/{id}:release"), &json!({})).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_broadcast_goes_when_a_person_releases_it() {
    let sink = Sink::start().await;
    let (_plans, broker) = asking(&sink).await;
    let (_, id) = said(&broker, &outage("a-1")).await;
    let held = shown(&broker, &id).await;
    assert_eq!((&held["state"], &held["waits_for"]), (&json!("held"), &json!("approval")), "{held}");
    let preview = broker.get(&format!("/v1/broadcasts/{id}/messages")).await.json();
    assert_eq!(preview["preview"], json!(true));
    assert!(preview["items"][0]["text"].is_string(), "{preview}");
    assert!(sink.all().is_empty());
    assert_eq!(release(&broker, &id).await, 200);
    sink.next().await;
    broker.settled().await;
    let messages = broker.get(&format!("/v1/broadcasts/{id}/messages")).await.json();
    assert_eq!(messages["preview"], json!(false));
    assert_eq!(messages["items"][0]["format"], "webhook", "{messages}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wrong_is_held_no_longer_and_the_true_state_is_held_in_its_place() {
    let sink = Sink::start().await;
    let (_plans, broker) = asking(&sink).await;
    let (update, wrong) = said(&broker, &event("a-1", json!({ "title": "Wrong" }))).await;
    let right = json!({ "title": "Right", "corrects": update, "at": "2021-10-04T15:50:30Z" });
    let (_, id) = said(&broker, &event("a-2", right)).await;
    assert_eq!(
        (shown(&broker, &wrong).await["state"].as_str(), release(&broker, &wrong).await),
        (Some("superseded"), 409)
    );
    let held = shown(&broker, &id).await;
    assert_eq!((&held["waits_for"], &held["purpose"]), (&json!("approval"), &json!("update")), "{held}");
    assert_eq!(release(&broker, &id).await, 200);
    assert_eq!(sink.next().await.json()["data"]["texts"]["title"], "Right");
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withdrawn_is_held_no_longer_and_tells_nobody() {
    let sink = Sink::start().await;
    let (_plans, broker) = asking(&sink).await;
    let (update, wrong) = said(&broker, &outage("a-1")).await;
    let nothing = json!({ "corrects": update, "retracts": true, "at": "2021-10-04T15:50:30Z" });
    assert_eq!(said(&broker, &event("a-2", nothing)).await.1, "", "no broadcast");
    assert_eq!(
        (shown(&broker, &wrong).await["state"].as_str(), release(&broker, &wrong).await),
        (Some("cancelled"), 409)
    );
    broker.stop().await;
    assert!(sink.all().is_empty());
}
