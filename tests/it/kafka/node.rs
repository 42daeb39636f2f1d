//! A node's Kafka consumers, running with an intake that records what it is given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::clock::Clock;
use loudhailer::config;
use loudhailer::id::IncidentId;
use loudhailer::ingest::event::Event;
use loudhailer::ingest::kafka::{Health, Kafka};
use loudhailer::ingest::{DeadRecord, IngestError, Ingested, Intake};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the intake saw, in the order in which it did.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Began(String),
    Taken(String),
    Dead(DeadRecord),
}

/// An intake that records, holds events back by id while told to, and fails as told.
struct Recorder {
    seen: mpsc::UnboundedSender<Seen>,
    held: watch::Receiver<BTreeSet<String>>,
    failures: Mutex<BTreeMap<String, VecDeque<IngestError>>>,
}

#[async_trait]
impl Intake for Recorder {
    async fn ingest(&self, event: Event) -> Result<Ingested, IngestError> {
        self.seen.send(Seen::Began(event.id.clone())).expect("test listens");
        let mut held = self.held.clone();
        let name = event.id.split('-').next().unwrap_or_default().to_string();
        held.wait_for(|held| !held.contains(&name)).await.expect("test holds");
        let failure = self.failures.lock().expect("lock").get_mut(&event.id).and_then(VecDeque::pop_front);
        if let Some(error) = failure {
            return Err(error);
        }
        self.seen.send(Seen::Taken(event.id)).expect("test listens");
        Ok(Ingested {
            incident: IncidentId(1),
            key: event.incident,
            update: None,
            broadcasts: vec![],
            duplicate: false,
            late: false,
        })
    }

    async fn dead(&self, record: DeadRecord) -> Result<(), IngestError> {
        self.seen.send(Seen::Dead(record)).expect("test listens");
        Ok(())
    }
}

/// The consumers of one node, running.
pub struct Node {
    seen: mpsc::UnboundedReceiver<Seen>,
    pub held: watch::Sender<BTreeSet<String>>,
    pub health: Health,
    pub stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Node {
    pub fn start(config: &config::Kafka, hold: &[&str], failures: &[(&str, Vec<IngestError>)]) -> Node {
        Node::by(Arc::new(Clock::system()), config, hold, failures)
    }

    pub fn by(clock: Arc<Clock>, config: &config::Kafka, hold: &[&str], failures: &[(&str, Vec<IngestError>)]) -> Node {
        let kafka = Kafka::new(config, clock).expect("settings").expect("brokers");
        let (seen_by, seen) = mpsc::unbounded_channel();
        let (held, holding) = watch::channel(hold.iter().map(|id| id.to_string()).collect());
        let failures = failures.iter().map(|(id, errors)| (id.to_string(), errors.clone().into())).collect();
        let recorder = Recorder { seen: seen_by, held: holding, failures: Mutex::new(failures) };
        let (health, stop) = (kafka.health(), CancellationToken::new());
        let running = tokio::spawn(kafka.run(Arc::new(recorder), stop.clone()));
        Node { seen, held, health, stop, running }
    }

    pub async fn next(&mut self) -> Seen {
        within("the next record", self.seen.recv()).await.expect("the intake lives")
    }

    /// The ids taken, in their order, until `count` have been.
    pub async fn taken(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            match self.next().await {
                Seen::Taken(id) => ids.push(id),
                Seen::Began(_) => {}
                Seen::Dead(record) => panic!("dead: {record:?}"),
            }
        }
        ids
    }

    /// Its consumers have not ended.
    pub fn runs(&self) -> bool {
        !self.running.is_finished()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        within("the stop", self.running).await.expect("no panic");
    }

    /// Ends it as a crash does: nothing is finished.
    pub async fn kill(self) {
        self.running.abort();
        assert!(within("the end", self.running).await.expect_err("aborted").is_cancelled());
    }
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The section of a node that reads these topics.
pub fn section(brokers: &str, topic: &str, settings: &[(&str, &str)]) -> config::Kafka {
    config::Kafka {
        brokers: brokers.into(),
        group: format!("loudhailer-{topic}"),
        topics: vec![topic.into()],
        urgent_topics: vec![format!("{topic}.urgent")],
        dead_suffix: ".dead".into(),
        outcomes: String::new(),
        settings: settings.iter().map(|(key, value)| (key.to_string(), config::Secret::new(*value))).collect(),
    }
}

pub fn native(id: &str, incident: &str) -> String {
    format!(r#"{{"id":"{id}","source":"s","incident":"{incident}","status":"investigating"}}"#)
}
