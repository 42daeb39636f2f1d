//! The Kafka consumer against librdkafka's own mock cluster: real sockets and the real protocol, with brokers that go down when
//! told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use loudhailer::config;
use loudhailer::ingest::IngestError;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};

use node::{Node, Seen, native, section, within};

mod application;

/// The same against Apache Kafka.
mod broker;

mod node;

struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
}

impl Cluster {
    fn new() -> Cluster {
        let mock = MockCluster::new(1).expect("mock cluster");
        for topic in ["incidents", "incidents.urgent", "incidents.dead"] {
            mock.create_topic(topic, 1, 1).expect("topic");
        }
        let producer =
            ClientConfig::new().set("bootstrap.servers", mock.bootstrap_servers()).create().expect("producer");
        Cluster { mock, producer }
    }

    /// The mock keeps a group waiting for almost a session's length after a member has left it.
    fn section(&self) -> config::Kafka {
        let settings = [("session.timeout.ms", "4000"), ("heartbeat.interval.ms", "500")];
        section(&self.mock.bootstrap_servers(), "incidents", &settings)
    }

    async fn produce(&self, topic: &str, headers: &[(&str, &str)], value: Option<&str>) {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        });
        let mut record: FutureRecord<'_, str, str> = FutureRecord::to(topic).key("k").headers(headers);
        record.payload = value;
        within("the delivery", self.producer.send_result(record).expect("room"))
            .await
            .expect("alive")
            .expect("delivered");
    }

    async fn event(&self, topic: &str, id: &str, incident: &str) {
        self.produce(topic, &[], Some(&native(id, incident))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_not_yet_taken_when_the_node_dies_are_read_again() {
    let cluster = Cluster::new();
    // Names that fall into different lanes, so that the one that is held holds up none of the others.
    for (id, incident) in [("0", "a"), ("1", "b"), ("2", "c"), ("3", "d")] {
        cluster.event("incidents", id, incident).await;
    }
    // Nothing below the first is done, so no offset may be stored; then none above the first.
    for (held, others) in [("0", ["1", "2", "3"]), ("1", ["0", "2", "3"])] {
        let mut node = Node::start(&cluster.section(), &[held], &[]);
        let taken: BTreeSet<String> = node.taken(3).await.into_iter().collect();
        assert_eq!(taken, others.map(String::from).into());
        node.kill().await;
    }
    let mut node = Node::start(&cluster.section(), &[], &[]);
    let mut again = BTreeSet::new();
    while !again.is_superset(&["1", "2", "3"].map(String::from).into()) {
        again.extend(node.taken(1).await);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_the_records_in_hand_and_nothing_is_read_twice() {
    let cluster = Cluster::new();
    for id in ["0", "1", "2"] {
        cluster.event("incidents", id, id).await;
    }
    let mut node = Node::start(&cluster.section(), &["2"], &[]);
    let (mut taken, mut began) = (0, false);
    while taken < 2 || !began {
        match node.next().await {
            Seen::Taken(_) => taken += 1,
            Seen::Began(id) => began |= id == "2",
            Seen::Dead(record) => panic!("dead: {record:?}"),
        }
    }
    node.stop.cancel();
    node.held.send_replace(BTreeSet::new());
    assert_eq!(node.taken(1).await, ["2"]);
    node.stop().await;

    cluster.event("incidents", "3", "3").await;
    let mut node = Node::start(&cluster.section(), &[], &[]);
    assert_eq!(node.taken(1).await, ["3"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_goes_to_table_and_dead_topic_and_the_consumer_goes_on() {
    let cluster = Cluster::new();
    cluster.produce("incidents", &[], None).await;
    cluster.produce("incidents", &[("trace", "x")], Some("{")).await;
    cluster.event("incidents", "known", "i").await;
    cluster.event("incidents", "good", "j").await;
    let conflict = IngestError::Conflict { source: "s".into(), id: "known".into() };
    let mut node = Node::start(&cluster.section(), &[], &[("known", vec![conflict])]);
    let (mut dead, mut taken) = (BTreeMap::new(), Vec::new());
    while dead.len() < 3 || taken.is_empty() {
        match node.next().await {
            Seen::Dead(record) => drop(dead.insert(record.offset, record)),
            Seen::Taken(id) => taken.push(id),
            Seen::Began(_) => {}
        }
    }
    assert_eq!(taken, ["good"]);
    let reasons: Vec<&str> = dead.values().map(|record| record.reason.as_str()).collect();
    let expected = [
        "is a tombstone: a record without a value",
        "is not JSON: EOF while parsing an object at line 1 column 1",
        "event \"known\" of \"s\" was taken before with other content",
    ];
    assert_eq!(reasons, expected);
    assert_eq!((dead[&0].body.as_deref(), dead[&1].body.as_deref()), (None, Some(&b"{"[..])));

    let reader: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.mock.bootstrap_servers())
        .set("group.id", "gravedigger")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("consumer");
    reader.subscribe(&["incidents.dead"]).expect("subscribes");
    let mut graves = BTreeMap::new();
    for _ in 0..3 {
        let grave = within("a dead record", reader.recv()).await.expect("record");
        let headers: BTreeMap<String, String> = grave
            .headers()
            .expect("headers")
            .iter()
            .map(|header| (header.key.into(), String::from_utf8_lossy(header.value.unwrap_or_default()).into()))
            .collect();
        assert_eq!((grave.key(), headers["loudhailer-topic"].as_str()), (Some(&b"k"[..]), "incidents"));
        let value = grave.payload().map(|value| String::from_utf8_lossy(value).into_owned());
        graves.insert(headers["loudhailer-offset"].clone(), (headers, value));
    }
    for (offset, reason) in ["0", "1", "2"].into_iter().zip(expected) {
        assert_eq!(graves[offset].0["loudhailer-reason"], reason);
    }
    assert_eq!(graves["0"].1, None);
    assert_eq!((graves["1"].1.as_deref(), graves["1"].0["trace"].as_str()), (Some("{"), "x"));
    node.stop().await;

    cluster.event("incidents", "later", "i").await;
    let mut node = Node::start(&cluster.section(), &[], &[]);
    assert_eq!(node.next().await, Seen::Began("later".into()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_the_store_does_not_take_is_tried_again_before_the_next_of_its_incident() {
    let cluster = Cluster::new();
    for id in ["0", "1", "2"] {
        cluster.event("incidents", id, "i").await;
    }
    let failures = vec![
        IngestError::Store("disk".into()),
        IngestError::Full { retry_after: Duration::from_millis(1) },
        IngestError::Store("disk".into()),
    ];
    let mut node = Node::start(&cluster.section(), &[], &[("0", failures)]);
    let mut seen = Vec::new();
    while seen.len() < 9 {
        match node.next().await {
            Seen::Began(id) => seen.push(format!("began {id}")),
            Seen::Taken(id) => seen.push(format!("taken {id}")),
            Seen::Dead(record) => panic!("dead: {record:?}"),
        }
    }
    let expected = ["began 0", "began 0", "began 0", "began 0", "taken 0", "began 1", "taken 1", "began 2", "taken 2"];
    assert_eq!(seen, expected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_broker_goes_away_health_says_so_and_reading_goes_on_once_it_is_back() {
    let cluster = Cluster::new();
    cluster.event("incidents", "0", "i").await;
    let mut node = Node::start(&cluster.section(), &[], &[]);
    assert_eq!(node.taken(1).await, ["0"]);
    within("the connection", node.health.until("incidents", |status| status.connected)).await;
    within("the connection", node.health.until("urgent", |status| status.connected)).await;
    assert!(node.health.ready());

    cluster.mock.broker_down(-1).expect("down");
    within("the loss", node.health.until("incidents", |status| !status.connected && status.last_error.is_some())).await;
    assert!(!node.health.ready());

    cluster.mock.broker_up(-1).expect("up");
    cluster.event("incidents", "1", "i").await;
    assert_eq!(node.taken(1).await, ["1"]);
    within("the return", node.health.until("incidents", |status| status.connected)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_events_pass_while_the_others_wait_for_the_store_and_none_of_those_is_lost() {
    let cluster = Cluster::new();
    let many = 1500;
    let sent: Vec<_> = (0..many)
        .map(|n| {
            let value = native(&format!("bulk-{n}"), &n.to_string());
            cluster.producer.send_result(FutureRecord::<str, str>::to("incidents").payload(&value)).expect("room")
        })
        .collect();
    for delivery in sent {
        within("the delivery", delivery).await.expect("alive").expect("delivered");
    }
    let mut node = Node::start(&cluster.section(), &["bulk"], &[]);
    within("the pause", node.health.until("incidents", |status| status.paused)).await;
    cluster.event("incidents.urgent", "urgent", "u").await;
    assert_eq!(node.taken(1).await, ["urgent"]);

    node.held.send_replace(BTreeSet::new());
    let mut taken = node.taken(many).await;
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), many);
    within("the resumption", node.health.until("incidents", |status| !status.paused)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_polls_no_more_is_not_ready_whatever_it_said_last() {
    let (cluster, clock) = (Cluster::new(), Arc::new(Clock::manual(Time(0))));
    let node = Node::by(clock.clone(), &cluster.section(), &[], &[]);
    let health = node.health.clone();
    for name in ["incidents", "urgent"] {
        within("the connection", health.until(name, |status| status.connected)).await;
    }
    clock.advance(Duration::from_secs(60));
    // Its statistics come every second, and say that it polls.
    within("a poll", async {
        while !health.ready() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    node.kill().await;
    clock.advance(Duration::from_secs(60));
    assert!(health.statuses().iter().all(|(_, status)| status.connected) && !health.ready());
}
