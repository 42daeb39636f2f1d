use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use loudhailer::channel::{Fault, Holds, Outcome};
use loudhailer::store::DeliveryState;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::{crowd, driver, outage_of, parcel, sent, states};
use crate::peers::{eventually, peers};

/// Each customer has a topic, and a topic takes a while to make.
const FEW: usize = 12;
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything in these topics: topic, key, header, id in the event.
fn records<'a>(consumer: &BaseConsumer, topics: impl Iterator<Item = &'a String>) -> Vec<[String; 4]> {
    let (mut all, mut count) = (TopicPartitionList::new(), 0);
    for topic in topics {
        for partition in 0..3 {
            let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("watermarks");
            count += high - low;
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
        }
    }
    consumer.assign(&all).expect("assigned");
    (0..count)
        .map(|_| {
            let record = eventually(|| consumer.poll(Duration::from_millis(50))).expect("a record").expect("read");
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text");
            let event: Value = serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
            let header = record.headers().map(|headers| text(headers.get(0).value)).unwrap_or_default();
            let id = event["id"].as_str().unwrap_or_default().to_string();
            [record.topic().to_string(), text(record.key()), header, id]
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_one_record_in_every_topic_under_the_key_of_its_incident() {
    let Some([kafka, tls, ca]) = peers(["kafka", "kafka_tls", "ca"]) else { return };
    let prefix = format!("out-{:08x}-", fastrand::u32(..));
    let pairs = [("brokers", tls.as_str()), ("tls", "required"), ("ca_file", &ca)];
    let (_plans, broker, addresses) = crowd(FEW, "kafka", "kafka", &prefix, "", &pairs).await;
    let broadcast = outage_of(&broker).await;
    broker.settled().await;
    let states: BTreeMap<String, DeliveryState> = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), FEW);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");
    broker.stop().await;

    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &kafka).set("group.id", &prefix).create().expect("a consumer");
    let records = records(&consumer, states.keys());
    assert_eq!(records.len(), FEW);
    let (mut topics, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for [topic, key, header, id] in records {
        assert_eq!((key.as_str(), header.as_str()), ("web-down", "application/cloudevents+json; charset=UTF-8"));
        assert!(id.starts_with("dlv_"), "{id}");
        assert!(topics.insert(topic) && ids.insert(id), "one record in each");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_or_certificate_ends_the_channel() {
    let names = ["kafka_sasl", "kafka_tls", "kafka_user", "kafka_password"];
    let Some([sasl, tls, user, password]) = peers(names) else { return };
    let topic = format!("login-{:08x}", fastrand::u32(..));
    let to = |password| driver("kafka", &[("brokers", &sasl), ("user", &user), ("password", password)]);
    let right = sent("kafka", &*to(&password), parcel("dlv_1", &topic, "{}"), &[]).await;
    assert!(matches!(&right, Outcome::Accepted { reference: Some(_) }), "{right:?}");
    let stranger = driver("kafka", &[("brokers", &tls), ("tls", "required")]);
    for (wrong, begins) in [(to("hunter2"), "the login was refused"), (stranger, "TLS: ")] {
        let outcome = sent("kafka", &*wrong, parcel("dlv_1", &topic, "{}"), &["hunter2"]).await;
        let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
        assert!(detail.starts_with(begins), "{detail}");
    }
}

/// By librdkafka's own mock cluster, which goes down when it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_that_goes_away_may_have_is_unknown_and_what_comes_later_waits() {
    let mock = MockCluster::new(1).expect("a cluster");
    mock.create_topic("alerts", 1, 1).expect("a topic");
    let brokers = mock.bootstrap_servers();
    let driver = driver("kafka", &[("brokers", &brokers), ("timeout", "2s")]);
    let send = async || sent("kafka", &*driver, parcel("dlv_1", "alerts", "{}"), &[]).await;
    assert!(matches!(send().await, Outcome::Accepted { .. }));

    mock.broker_down(-1).expect("down");
    let outcome = send().await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    for outcome in futures_util::future::join_all((0..5).map(|_| send())).await {
        assert!(matches!(outcome, Outcome::Deferred { holds: Holds::Channel, .. }), "{outcome:?}");
    }

    mock.broker_up(-1).expect("up");
    let mut outcome = send().await;
    // librdkafka waits a while between its attempts to connect.
    while !matches!(outcome, Outcome::Accepted { .. }) {
        assert!(matches!(outcome, Outcome::Deferred { .. }), "{outcome:?}");
        outcome = send().await;
    }
}
