//! The whole application with Kafka beside HTTP.

use serde_json::json;

use super::{Cluster, within};
use crate::harness::{Broker, Sink, event, outage, webhooks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_goes_on_and_readiness_says_so_while_kafka_is_away() {
    let cluster = Cluster::new();
    let sink = Sink::start().await;
    let kafka = format!(
        "[kafka]\nbrokers = \"{}\"\ntopics = [\"incidents\"]\nurgent_topics = [\"incidents.urgent\"]\n\
         [kafka.settings]\n\"session.timeout.ms\" = \"4000\"\n\"heartbeat.interval.ms\" = \"500\"",
        cluster.mock.bootstrap_servers()
    );
    let broker = Broker::start(&webhooks(&kafka)).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    let health = broker.app.kafka.clone().expect("it is configured");
    let connected = async |is: bool| {
        within("the change", health.until("incidents", |status| status.connected == is)).await;
        within("the change", health.until("urgent", |status| status.connected == is)).await;
    };
    connected(true).await;
    let ready = broker.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["kafka"]), (200, &json!("connected")), "{ready:?}");

    cluster.mock.broker_down(-1).expect("down");
    connected(false).await;
    let ready = broker.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["kafka"]), (503, &json!("away")), "{ready:?}");
    assert_eq!(broker.get("/healthz").await.status, 200);
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    assert_eq!(sink.next().await.json()["data"]["incident"], "web-down");

    cluster.mock.broker_up(-1).expect("up");
    let later = event("a-2", json!({ "incident": "later" })).to_string();
    cluster.produce("incidents", &[], Some(&later)).await;
    assert_eq!(sink.next().await.json()["data"]["incident"], "later");
    connected(true).await;
    assert_eq!(broker.get("/readyz").await.status, 200);
    broker.stop().await;
}
