//! Apache Kafka: records of librdkafka and of Kafka's own producer, read over each kind of listener.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use loudhailer::config::{self, Config};
use loudhailer::ingest::IngestError;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::node::{Node, Seen, native, section, within};
use crate::peers::{peer, peers};

/// A topic of this run alone; the broker makes it on first use.
fn topic(name: &str) -> String {
    format!("{name}-{:08x}", fastrand::u32(..))
}

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

fn structured(id: &str, incident: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","type":"loudhailer.incident","source":"s","id":"{id}","data":{{"incident":"{incident}"}}}}"#
    )
}

fn binary(id: &str) -> [(&'static str, String); 5] {
    [
        ("ce_specversion", "1.0".into()),
        ("ce_type", "loudhailer.incident".into()),
        ("ce_source", "s".into()),
        ("ce_id", id.into()),
        ("content-type", "application/json".into()),
    ]
}

/// Native, structured and binary, by librdkafka.
async fn produce(brokers: &str, topic: &str) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("producer");
    let records = [
        (vec![], native("native", "i")),
        (vec![("content-type", STRUCTURED.to_string())], structured("structured", "i")),
        (binary("binary").to_vec(), r#"{"incident":"i"}"#.into()),
    ];
    for (headers, value) in records {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let record: FutureRecord<'_, str, str> =
            FutureRecord::to(topic).key("i").payload(value.as_str()).headers(headers);
        within("the delivery", producer.send_result(record).expect("room")).await.expect("alive").expect("delivered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_librdkafka_in_every_form_are_taken_in_order_and_not_again_after_a_stop() {
    let Some(kafka) = peer("kafka") else { return };
    let topic = topic("forms");
    produce(&kafka, &topic).await;
    let settings = [("topic.metadata.refresh.interval.ms", "1000")];
    let mut node = Node::start(&section(&kafka, &topic, &settings), &[], &[]);
    assert_eq!(node.taken(3).await, ["native", "structured", "binary"]);
    node.stop().await;

    produce(&kafka, &format!("{topic}.urgent")).await;
    let mut node = Node::start(&section(&kafka, &topic, &settings), &[], &[]);
    assert_eq!(node.taken(3).await, ["native", "structured", "binary"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_not_taken_when_the_node_dies_comes_to_the_next_one() {
    let Some(kafka) = peer("kafka") else { return };
    let topic = topic("death");
    produce(&kafka, &topic).await;
    let settings = [("session.timeout.ms", "6000")];
    let mut node = Node::start(&section(&kafka, &topic, &settings), &["native"], &[]);
    assert_eq!(node.next().await, Seen::Began("native".into()));
    node.kill().await;

    let mut node = Node::start(&section(&kafka, &topic, &settings), &[], &[]);
    assert_eq!(node.taken(3).await, ["native", "structured", "binary"]);
    node.stop().await;
}

/// Of these ids, by keys that fall into every partition.
async fn produce_everywhere(brokers: &str, topic: &str, ids: impl Iterator<Item = String>) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("producer");
    let mut sent = Vec::new();
    for id in ids {
        let value = native(&id, &id);
        let record: FutureRecord<'_, str, str> = FutureRecord::to(topic).key(id.as_str()).payload(value.as_str());
        sent.push(producer.send_result(record).expect("room"));
    }
    for delivery in sent {
        within("the delivery", delivery).await.expect("alive").expect("delivered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_comes_back_is_read_though_it_was_paused_when_it_went() {
    let Some(kafka) = peer("kafka") else { return };
    let topic = topic("paused");
    produce_everywhere(&kafka, &topic, (0..2_000).map(|n| format!("bulk-{n}"))).await;
    let section = section(&kafka, &topic, &[]);
    let mut stays = Node::start(&section, &["bulk"], &[]);
    within("the pause", stays.health.until("incidents", |status| status.paused && status.partitions == 3)).await;
    let goes = Node::start(&section, &[], &[]);
    within("its share", goes.health.until("incidents", |status| status.partitions > 0)).await;
    stays.held.send_replace(Default::default());
    within("the resumption", stays.health.until("incidents", |status| !status.paused)).await;
    goes.stop().await;
    within("all again", stays.health.until("incidents", |status| status.partitions == 3)).await;
    let later: std::collections::BTreeSet<String> = (0..30).map(|n| format!("later-{n}")).collect();
    produce_everywhere(&kafka, &topic, later.iter().cloned()).await;
    let mut taken = std::collections::BTreeSet::new();
    while !taken.is_superset(&later) {
        taken.extend(stays.taken(1).await);
    }
    stays.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_kafkas_own_producer_are_taken_over_sasl_and_poison_is_buried() {
    let names = ["kafka_sasl", "kafka_user", "kafka_password", "kafka_produce"];
    let Some([kafka, user, password, produce]) = peers(names) else { return };
    let topic = topic("second");
    let headers: Vec<String> = binary("second").iter().map(|(key, value)| format!("{key}={value}")).collect();
    let lines = [
        format!("{}\ti\t{{\"incident\":\"i\"}}\n", headers.join("|")),
        format!("content-type={STRUCTURED}\ti\t{}\n", structured("wrapped", "i")),
        "a=b\ti\tno event\n".into(),
    ];
    let mut child = Command::new(produce).arg(&topic).stdin(Stdio::piped()).spawn().expect("producer");
    child.stdin.take().expect("input").write_all(lines.concat().as_bytes()).expect("written");
    assert!(child.wait().expect("ends").success());

    let settings = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", user.as_str()),
        ("sasl.password", password.as_str()),
    ];
    let mut node = Node::start(&section(&kafka, &topic, &settings), &[], &[]);
    let (mut taken, mut dead) = (Vec::new(), None);
    while taken.len() < 2 || dead.is_none() {
        match node.next().await {
            Seen::Taken(id) => taken.push(id),
            Seen::Dead(record) => dead = Some(record.reason),
            Seen::Began(_) => {}
        }
    }
    assert_eq!(taken, ["second", "wrapped"]);
    assert_eq!(dead.as_deref(), Some("is not JSON: expected ident at line 1 column 2"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_by_health_and_ends_nothing() {
    let Some([kafka, user]) = peers(["kafka_sasl", "kafka_user"]) else { return };
    let settings = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", user.as_str()),
        ("sasl.password", "not-the-password"),
    ];
    let node = Node::start(&section(&kafka, &topic("wrong"), &settings), &[], &[]);
    let told = |error: &String| error.contains("uthentication") && !error.contains("not-the-password");
    let refused = node.health.until("incidents", |status| status.last_error.as_ref().is_some_and(told));
    within("the refusal", refused).await;
    assert!(!node.health.ready());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_settings_pass_through() {
    let Some([plain, kafka, authority]) = peers(["kafka", "kafka_tls", "ca"]) else { return };
    let topic = topic("tls");
    produce(&plain, &topic).await;
    let settings = [("security.protocol", "ssl"), ("ssl.ca.location", authority.as_str())];
    let failures = [("structured", vec![IngestError::Store("disk".into())])];
    let mut node = Node::start(&section(&kafka, &topic, &settings), &[], &failures);
    assert_eq!(node.taken(3).await, ["native", "structured", "binary"]);
    node.stop().await;
}

/// The section as docs/CONFIGURATION.md shows it for a broker that wants TLS and a login.
fn secured(brokers: &str, topic: &str, authority: &Path, user: &str, password: &Path) -> config::Kafka {
    let text = format!(
        "[kafka]\nbrokers = {brokers:?}\ngroup = \"loudhailer-{topic}\"\ntopics = [{topic:?}]\nurgent_topics = []\n\
         [kafka.settings]\n\"security.protocol\" = \"SASL_SSL\"\n\"ssl.ca.location\" = {authority:?}\n\
         \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\"sasl.username\" = {user:?}\n\
         \"sasl.password\" = {{ file = {password:?} }}\n"
    );
    Config::from_toml(&text, "loudhailer.toml", std::iter::empty()).expect("a configuration").kafka
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_taken_over_tls_with_a_login_by_scram_sha_512() {
    let names = ["kafka", "kafka_sasl_tls", "ca", "kafka_user", "kafka_password"];
    let Some([plain, kafka, authority, user, password]) = peers(names) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{password}\n")).expect("written");
    let topic = topic("both");
    produce(&plain, &topic).await;
    let mut node = Node::start(&secured(&kafka, &topic, Path::new(&authority), &user, &file), &[], &[]);
    assert_eq!(node.taken(3).await, ["native", "structured", "binary"]);
    within("the connection", node.health.until("incidents", |status| status.connected)).await;
    assert!(node.health.ready());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_wrong_authority_and_a_wrong_password_are_told_by_health_and_end_nothing() {
    let names = ["kafka_sasl_tls", "ca", "kafka_user", "kafka_password"];
    let Some([kafka, authority, user, password]) = peers(names) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).expect("a certificate");
    let other = written("other.pem", &other.cert.pem());
    let (right, wrong) = (written("right", &password), written("wrong", "not-the-password"));
    let authority = Path::new(&authority);
    for (authority, password, why) in
        [(other.as_path(), right.as_path(), "certificate verify failed"), (authority, wrong.as_path(), "uthentication")]
    {
        let node = Node::start(&secured(&kafka, &topic("refused"), authority, &user, password), &[], &[]);
        let told = |error: &String| error.contains(why) && !error.contains("not-the-password");
        let refused = node.health.until("incidents", |status| status.last_error.as_ref().is_some_and(told));
        within("the refusal", refused).await;
        assert!(!node.health.ready() && node.runs(), "{why}");
        node.stop().await;
    }
}
