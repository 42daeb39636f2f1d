//! Events on topics of Kafka, and what has to have become of them: each is one update, of which each of the press hears once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loudhailer::id::BroadcastId;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use tokio::task::JoinHandle;

use super::process::until;
use super::{PRESS, happening};
use crate::harness::Database;

/// What each incident says, one after the other.
const STATES: [&str; 3] = ["investigating", "identified", "monitoring"];

#[derive(Clone)]
pub struct Flow {
    producer: FutureProducer,
    topic: String,
    incidents: Arc<AtomicUsize>,
}

impl Flow {
    pub fn on(brokers: &str, topic: &str) -> Flow {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
        let producer = config.create().expect("a producer");
        Flow { producer, topic: topic.into(), incidents: Arc::default() }
    }

    /// The configuration of a node that takes them, and offers what happens. Nobody waits long for one that has gone.
    pub fn section(&self, brokers: &str) -> String {
        let topic = &self.topic;
        format!(
            "[kafka]\nbrokers = {brokers:?}\ngroup = {topic:?}\ntopics = [{topic:?}]\nurgent_topics = [\"{topic}.urgent\"]\n\
             outcomes = \"{topic}.outcomes\"\n[kafka.settings]\n\"session.timeout.ms\" = \"6000\"\n\
             \"heartbeat.interval.ms\" = \"500\"\n"
        )
    }

    pub fn groups(&self) -> [String; 2] {
        [self.topic.clone(), format!("{}.urgent", self.topic)]
    }

    /// So many incidents, every fourth of them urgent. Ends when all is acknowledged, which has to come.
    pub fn incidents(&self, count: usize) -> JoinHandle<()> {
        let flow = self.clone();
        tokio::spawn(async move {
            for _ in 0..count {
                flow.incident(flow.incidents.fetch_add(1, Ordering::SeqCst)).await;
            }
        })
    }

    async fn incident(&self, number: usize) {
        let key = format!("{}-{number}", self.topic);
        let topic = &self.groups()[usize::from(number.is_multiple_of(4))];
        for (place, state) in STATES.into_iter().enumerate() {
            let mut event = happening(&key, "minor");
            event["id"] = json!(format!("{key}-{place}"));
            event["source"] = json!(self.topic);
            event["sequence"] = json!(place + 1);
            event["status"] = json!(state);
            let text = event.to_string();
            let record: FutureRecord<'_, str, str> = FutureRecord::to(topic).key(key.as_str()).payload(text.as_str());
            let delivery = self.producer.send_result(record).expect("room");
            delivery.await.expect("it lives").expect("acknowledged");
        }
    }

    fn records(&self) -> usize {
        self.incidents.load(Ordering::SeqCst) * STATES.len()
    }

    pub async fn taken(&self, database: &Database) {
        let taken = format!("SELECT count(*) FROM event WHERE source = '{}'", self.topic);
        until("every record was taken", async || {
            (database.number(&taken).await == self.records() as i64).then_some(())
        })
        .await;
    }

    /// Each record is one update, in its place; each of the press was told of the last of each incident, under one id, and of none
    /// before it any more. Answers how many came again.
    pub async fn held_against(&self, database: &Database, caught: &[(String, String)]) -> usize {
        let count = async |what: &str| {
            let said = format!("SELECT count(*) FROM incident_update WHERE source = '{}' {what}", self.topic);
            database.number(&said).await
        };
        assert_eq!(count("").await, self.records() as i64, "updates");
        assert_eq!(count("AND (number <> sequence OR late)").await, 0, "in another order than they were produced");
        assert_eq!(database.number("SELECT count(*) FROM dead_record").await, 0);

        let rows = database.rows("SELECT id, incident, number FROM broadcast WHERE audience = 'press'").await;
        let of: BTreeMap<i64, (i64, i64)> = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        let mut last: BTreeMap<(&str, i64), (i64, &str)> = BTreeMap::new();
        for (to, id) in caught {
            let broadcast = id.strip_prefix("dlv_").and_then(|id| id.split('_').next()).unwrap_or_default();
            let BroadcastId(broadcast) = format!("brd_{broadcast}").parse().expect("an id");
            let (incident, number) = of[&broadcast];
            let (before, named) = last.entry((to, incident)).or_insert((number, id));
            assert!(*before <= number, "{to} heard update {number} of {incident} after {before}");
            assert!(*before < number || named == id, "{to} heard one update under two ids");
            (*before, *named) = (number, id);
        }
        assert_eq!(last.len(), self.records() / STATES.len() * PRESS, "somebody was not told of an incident");
        assert!(last.values().all(|(number, _)| *number == STATES.len() as i64), "somebody does not know the latest");
        caught.len() - caught.iter().collect::<BTreeSet<_>>().len()
    }
}
