//! What stands on a topic, and what can be said of it as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use loudhailer::api::asyncapi;
use loudhailer::store::{OUTCOMES, Store};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::api::schema::wrong;
use crate::peers::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Record {
    pub key: String,
    pub headers: BTreeMap<String, String>,
    pub text: String,
    pub event: Value,
}

impl Record {
    fn id(&self) -> String {
        self.event["id"].as_str().expect("an id").to_string()
    }

    /// The row of the journal and the place in it.
    fn at(&self) -> (i64, usize) {
        let id = self.id();
        let parts: Vec<&str> = id.split('-').collect();
        (parts[0].parse().expect("a row"), parts[2].parse().expect("a place"))
    }
}

/// Everything on the topic, each partition in its order.
pub fn read(brokers: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "reader").create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let (mut all, mut count) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).expect("watermarks");
        count += high - low;
        all.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("assigned");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (0..count)
        .map(|_| {
            let record = eventually(|| consumer.poll(Duration::from_millis(50))).expect("a record").expect("read");
            let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
            let payload = text(record.payload().expect("a value"));
            Record {
                key: text(record.key().expect("a key")),
                headers: headers.map(|header| (header.key.into(), text(header.value.unwrap_or_default()))).collect(),
                event: serde_json::from_str(&payload).expect("JSON"),
                text: payload,
            }
        })
        .collect()
}

/// By id. What comes again is the same to the letter.
pub fn once(records: &[Record]) -> BTreeMap<String, &Record> {
    let mut once: BTreeMap<String, &Record> = BTreeMap::new();
    for record in records {
        let first = once.entry(record.id()).or_insert(record);
        assert_eq!((&first.key, &first.text), (&record.key, &record.text));
    }
    once
}

/// What is new comes in the order of the journal, in each incident.
pub fn in_order(records: &[Record]) {
    let mut last: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in records.iter().filter(|record| seen.insert(record.id())) {
        assert_eq!(record.event["partitionkey"], record.key.as_str());
        assert_eq!(record.event["data"]["incident"], record.key.as_str());
        let before = last.insert(&record.key, record.at());
        assert!(before.is_none_or(|before| before < record.at()), "{} after {before:?}", record.text);
    }
}

/// The ids that the journal calls for after a row.
pub async fn wanted(store: &dyn Store, after: i64) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    let mut last = after;
    loop {
        let rows = store.journal(last, 1000, true).await.expect("read");
        let Some(end) = rows.last() else { return wanted };
        last = end.sequence;
        for row in &rows {
            let count = match row.kind.as_str() {
                OUTCOMES => row.body["outcomes"].as_array().expect("a list").len(),
                "update" | "broadcast" | "receipt" | "replayed" => 1,
                _ => 0,
            };
            wanted.extend((0..count).map(|place| format!("{}-{}-{place}", row.sequence, row.at.0)));
        }
    }
}

/// How each recipient of each broadcast stands in the end.
pub fn stands(records: &[Record]) -> BTreeMap<(String, String), String> {
    let mut ordered: Vec<&Record> = once(records).into_values().collect();
    ordered.sort_by_key(|record| record.at());
    let text = |value: &Value| value.as_str().map(str::to_string);
    let said = ordered.iter().map(|record| &record.event["data"]);
    said.filter_map(|data| Some(((text(&data["broadcast"])?, text(&data["subscriber"])?), text(&data["recipient"])?)))
        .collect()
}

/// Nothing of these is in a record, whole as it is.
pub fn private(records: &[Record], secrets: &[&str]) {
    for record in records {
        let whole = format!("{} {:?} {}", record.key, record.headers, record.text);
        let found = secrets.iter().find(|secret| whole.contains(**secret));
        assert!(found.is_none(), "{found:?} stands in {whole}");
    }
}

/// Each is one message of the document, by a look of our own.
pub fn fits(records: &[Record]) {
    let document = asyncapi::document();
    let messages = document["channels"]["outcomes"]["messages"].as_object().expect("messages");
    for record in records {
        let by = |name: &String| {
            let message = &document["components"]["messages"][name];
            let mut found = wrong(document, &message["payload"], &record.event);
            found.extend(wrong(document, &message["headers"], &json!(record.headers)));
            found
        };
        let tries: Vec<Vec<String>> = messages.keys().map(by).collect();
        assert_eq!(tries.iter().filter(|wrong| wrong.is_empty()).count(), 1, "{}: {tries:?}", record.text);
    }
}

/// What others' programs find wrong with the document, and with records by it; `asyncapi` is the peer.
pub fn judged(asyncapi: &str, records: &[Record]) -> Vec<Value> {
    let mut child = Command::new(asyncapi).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    for Record { key, headers, event, .. } in records {
        let line = json!({ "channel": "outcomes", "key": key, "headers": headers, "payload": event });
        writeln!(input, "{line}").expect("written");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let by_record = said["records"].as_array().expect("a list");
    assert_eq!(by_record.len(), records.len());
    let all = said["document"].as_array().expect("a list").iter();
    all.chain(by_record.iter().flat_map(|one| one.as_array().expect("a list"))).cloned().collect()
}
