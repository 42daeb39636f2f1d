//! The machine's door, as timelines: this comes in, that goes out.

use super::harness::{Broker, Sink, outage, webhooks};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_leaves_as_a_signed_webhook() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let answer = broker.post("/v1/events", &outage("a-1")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let request = sink.next().await;
    assert_eq!(request.json()["type"], "incident.update");
    assert!(request.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")));
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}
