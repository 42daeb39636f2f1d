//! What happened, as it is offered on Kafka: by librdkafka's own mock cluster, which goes down when it is told to, and by Apache Kafka.
//! What stands on the topic is held against the store, and against what docs/asyncapi.json says of it.

pub mod broker;
pub mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use loudhailer::store::sqlite::Sqlite;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::{Value, json};

use self::topic::{Record, in_order, once, private, read, stands, wanted};
use crate::faults::process::until;
use crate::harness::{Broker, Reply, SECRET, START, Sink, event, kannel, outage, plan, report, webhooks};

const TOPIC: &str = "loudhailer.outcomes";

const PLAN: &str = "title = \"Everyone\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\n\
    routes = [\"webhook\", \"sms\"]\npriority = \"high\"\n";

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let mock = MockCluster::new(1).expect("a cluster");
    mock.create_topic(TOPIC, 3, 1).expect("a topic");
    mock
}

/// Nothing is read from there, so that what is offered stands alone.
pub fn offering(brokers: &str, topic: &str) -> String {
    format!("[kafka]\nbrokers = {brokers:?}\ntopics = []\nurgent_topics = []\noutcomes = {topic:?}\n")
}

/// What would tell who somebody is, or what was said.
const PRIVATE: [&str; 8] =
    ["46709990000", "alex@", "Alex Example", "127.0.0.1", "/hook", SECRET, "The website", "Nobody can open"];

fn file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("loudhailer.db")
}

/// By the clock of the system.
fn today(id: &str) -> Value {
    let now = Time(jiff::Timestamp::now().as_millisecond());
    event(id, json!({ "at": now, "started_at": now, "next_update_at": now.plus(Duration::from_secs(3600)) }))
}

/// Waits until everything is acknowledged up to this row.
async fn offered(broker: &Broker, end: i64) {
    let end = end.to_string();
    let noted = async || (broker.app.store.meta("outcomes_offered").await.expect("read")? == end).then_some(());
    until("all was offered", noted).await;
}

/// The counts of each broadcast, as the API shows them.
async fn counts(broker: &Broker) -> BTreeMap<String, Value> {
    let all = broker.get("/v1/broadcasts?limit=1000").await.json();
    let items = all["items"].as_array().expect("items").iter();
    items.map(|item| (item["id"].as_str().expect("an id").to_string(), item.clone())).collect()
}

/// What is left of a scene: the counts at its end, and the folder with the store.
struct Played {
    counts: BTreeMap<String, Value>,
    config: String,
    folder: tempfile::TempDir,
    _plans: tempfile::TempDir,
}

/// A scene in which everything comes about that can, on this topic.
async fn scene(brokers: &str, topic: &str) -> Played {
    let sink = Sink::answering(|_, request| match request.path.as_str() {
        "/hook/gone" => Reply::Status(410),
        path if path.starts_with("/hook") => Reply::Status(204),
        _ => Reply::accepted(),
    })
    .await;
    let (plans, config) = plan(PLAN);
    let config = format!("{config}{}{}", offering(brokers, topic), kannel("text", sink.port(), "kind = \"sms\""));
    let config = webhooks(&config);
    let broker = Broker::start(&config).await;
    for n in 0..20 {
        broker.webhook(&format!("alex{n}@example.org"), "businesses", &format!("{}/{n}", sink.url())).await;
    }
    let gone = broker.webhook("gone", "businesses", &format!("{}/gone", sink.url())).await;
    broker
        .subscriber("sms", "businesses", &[("phone", "+46709990000")], |who| who.name = Some("Alex Example".into()))
        .await;
    broker.subscriber("nowhere", "businesses", &[("email", "alex@example.org")], |_| ()).await;
    let other = |who: &mut loudhailer::audience::Subscriber| who.components = ["other".to_string()].into();
    broker.subscriber("elsewhere", "businesses", &[("url", &format!("{}/no", sink.url()))], other).await;

    // One incident with two updates, the first of which a platform reports about; another one beside it, stopped while it is held.
    let taken = broker.post("/v1/events", &outage("a-1")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    broker.settled().await;
    let sms = sink.all().into_iter().find(|request| request.query("to").is_some()).expect("a text");
    assert_eq!(report(&broker, &sms, "1").await.status, 200);
    let rejected = broker.get(&format!("/v1/deliveries?subscriber={gone}&state=rejected")).await.json();
    let id = rejected["items"][0]["id"].as_str().expect("one was rejected").to_string();
    assert_eq!(broker.post(&format!("/v1/deliveries/{id}:replay"), &json!({})).await.status, 202);
    broker.settled().await;
    let second = event("a-2", json!({ "status": "identified", "at": "2021-10-04T15:50:30Z" }));
    assert_eq!(broker.post("/v1/events", &second).await.status, 202);
    for n in 0..5 {
        let other = event(&format!("b-{n}"), json!({ "incident": format!("other-{n}") }));
        assert_eq!(broker.post("/v1/events", &other).await.status, 202);
    }
    broker.settled().await;
    let counts = counts(&broker).await;
    Played { counts, config, folder: broker.stop().await, _plans: plans }
}

/// What stands on the topic is what the store says, whole, in order and private.
async fn held_against(records: &[Record], Played { counts, folder, .. }: &Played) {
    let store = Sqlite::visit(&file(folder)).expect("opens");
    let wanted = wanted(&store, 0).await;
    let offered = once(records);
    let missing: Vec<_> = wanted.iter().filter(|id| !offered.contains_key(*id)).collect();
    let strange: Vec<_> = offered.keys().filter(|id| !wanted.contains(*id)).collect();
    assert!(missing.is_empty() && strange.is_empty(), "missing {missing:?}, strange {strange:?}");
    in_order(records);
    private(records, &PRIVATE);
    let stands = stands(records);
    for (id, shown) in counts.iter().filter(|(_, shown)| shown["state"] == "done") {
        for word in ["told", "unknown", "unreachable", "skipped", "superseded", "cancelled", "expired"] {
            let count = stands.iter().filter(|((of, _), stands)| of == id && *stands == word).count();
            assert_eq!(shown["counts"][word], count, "{word} of {id}: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_stands_on_the_topic_whole_in_order_and_as_the_document_says() {
    let mock = cluster();
    let played = scene(&mock.bootstrap_servers(), TOPIC).await;
    let records = read(&mock.bootstrap_servers(), TOPIC);
    topic::fits(&records);
    held_against(&records, &played).await;
    let kinds: BTreeSet<&str> = records.iter().filter_map(|record| record.event["type"].as_str()).collect();
    let all = ["broadcast", "outcome", "receipt", "replay", "update"].map(|kind| format!("loudhailer.{kind}"));
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
    let said = |key: &str, word: &str| records.iter().any(|record| record.event["data"][key] == word);
    for (key, word) in [
        ("reason", "address"),
        ("reason", "no_address"),
        ("reason", "not_interested"),
        ("channel", "hooks"),
        ("status", "delivered"),
        ("recipient", "open"),
    ] {
        assert!(said(key, word), "{key} is never {word}");
    }
    assert!(played.counts.len() > 6 && played.counts.values().all(|shown| shown["state"] == "done"));
}

/// The next start of a broker whose note of what is offered says `from`, and whose journal begins after `gone`.
async fn again_from(played: Played, from: i64, gone: i64) -> (Played, String) {
    let db = rusqlite::Connection::open(file(&played.folder)).expect("opens");
    db.execute("UPDATE meta SET value = ?1 WHERE name = 'outcomes_offered'", [from.to_string()]).expect("written");
    db.execute("DELETE FROM journal WHERE sequence <= ?1", [gone]).expect("written");
    drop(db);
    let Played { counts, config, folder, _plans } = played;
    let broker = Broker::open(&config, Clock::manual(Time::parse(START).expect("a time")), folder).await;
    let end = broker.app.store.journal_end().await.expect("read");
    offered(&broker, end).await;
    let metrics = broker.get("/metrics").await.text;
    (Played { counts, config, folder: broker.stop().await, _plans }, metrics)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_not_noted_comes_again_under_its_id_and_what_was_deleted_is_counted() {
    let mock = cluster();
    let played = scene(&mock.bootstrap_servers(), TOPIC).await;
    let first = read(&mock.bootstrap_servers(), TOPIC).len();
    // As a crash leaves it between the two.
    let (played, metrics) = again_from(played, 3, 0).await;
    let records = read(&mock.bootstrap_servers(), TOPIC);
    assert!(records.len() > first * 3 / 2, "{} after {first}", records.len());
    held_against(&records, &played).await;
    let lost = |metrics: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix("loudhailer_outcomes_lost_total "));
        line.map_or(0, |count| count.parse().expect("a number"))
    };
    let before = lost(&metrics);

    // The journal is kept for too short a time.
    let (_, metrics) = again_from(played, 3, 8).await;
    assert_eq!(lost(&metrics) - before, 5, "4 to 8 are gone");
    assert_eq!(once(&read(&mock.bootstrap_servers(), TOPIC)).len(), once(&records).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_to_is_waited_for_and_holds_up_nobody() {
    let mock = cluster();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::Produce, &[refused; 2]);
    let sink = Sink::start().await;
    let config = webhooks(&offering(&mock.bootstrap_servers(), TOPIC));
    let broker = Broker::open(&config, Clock::system(), tempfile::tempdir().expect("a folder")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &today("a-1")).await.status, 202);
    sink.next().await;
    broker.settled().await;
    let end = broker.app.store.journal_end().await.expect("read");
    offered(&broker, end).await;
    let folder = broker.stop().await;
    let store = Sqlite::visit(&file(&folder)).expect("opens");
    let records = read(&mock.bootstrap_servers(), TOPIC);
    assert_eq!(once(&records).into_keys().collect::<BTreeSet<_>>(), wanted(&store, 0).await);
    in_order(&records);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_everyone_is_told_and_what_happened_is_offered_once_it_is_back() {
    let mock = cluster();
    mock.broker_down(-1).expect("down");
    let sink = Sink::start().await;
    let settings = "[kafka.settings]\n\"reconnect.backoff.max.ms\" = \"500\"\n";
    let config = webhooks(&format!("{}{settings}", offering(&mock.bootstrap_servers(), TOPIC)));
    let broker = Broker::open(&config, Clock::system(), tempfile::tempdir().expect("a folder")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &today("a-1")).await.status, 202);
    sink.next().await;
    broker.settled().await;
    assert_eq!(broker.get("/readyz").await.status, 200, "nothing is read from Kafka, and nobody waits for it");
    let end = broker.app.store.journal_end().await.expect("read");
    assert!(end > 2);

    // The end does not wait for it either; and the next start offers what was left.
    let folder = broker.stop().await;
    mock.broker_up(-1).expect("up");
    let broker = Broker::open(&config, Clock::system(), folder).await;
    offered(&broker, end).await;
    let metrics = broker.get("/metrics").await.text;
    assert!(metrics.contains("loudhailer_outcomes_lag "), "{metrics}");
    let folder = broker.stop().await;
    let store = Sqlite::visit(&file(&folder)).expect("opens");
    let records = read(&mock.bootstrap_servers(), TOPIC);
    let offered: BTreeSet<String> = once(&records).into_keys().collect();
    assert_eq!(offered, wanted(&store, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_switches_it_on_is_told_what_happens_from_then_on() {
    let mock = cluster();
    let folder = tempfile::tempdir().expect("a folder");
    let clock = || Clock::manual(Time::parse(START).expect("a time"));
    let broker = Broker::open(&webhooks(""), clock(), folder).await;
    assert_eq!(broker.post("/v1/events", &event("a-1", json!({ "incident": "before" }))).await.status, 202);
    broker.settled().await;
    let before = broker.app.store.journal_end().await.expect("read");
    let folder = broker.stop().await;

    let on = webhooks(&offering(&mock.bootstrap_servers(), TOPIC));
    let broker = Broker::open(&on, clock(), folder).await;
    assert_eq!(broker.post("/v1/events", &event("a-2", json!({ "incident": "after" }))).await.status, 202);
    let folder = broker.stop().await;
    let records = read(&mock.bootstrap_servers(), TOPIC);
    assert!(!records.is_empty() && records.iter().all(|record| record.event["subject"] == "after"), "{records:?}");
    let store = Sqlite::visit(&file(&folder)).expect("opens");
    assert_eq!(once(&records).into_keys().collect::<BTreeSet<_>>(), wanted(&store, before).await);
    drop(store);

    // Off, and on again later: what happened in between is for nobody.
    let broker = Broker::open(&webhooks(""), clock(), folder).await;
    assert_eq!(broker.post("/v1/events", &event("a-3", json!({ "incident": "between" }))).await.status, 202);
    let folder = broker.stop().await;
    let broker = Broker::open(&on, clock(), folder).await;
    broker.stop().await;
    assert_eq!(read(&mock.bootstrap_servers(), TOPIC).len(), records.len());
}
