//! Events from Kafka. Enters: records of the topics in `[kafka]`. Leaves: each of them settled once or more, never less: a record
//! is stored, and only then its offset; poison goes to the dead topic, acknowledged, and then its offset. The urgent topics
//! have a consumer, and a group (`<group>.urgent`), of their own, so that they never wait behind the others. While no broker
//! answers the consumers go on trying, and Health says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use clients::{KafkaSetup, Quiet, offering};
use health::Signs;
pub use health::{Health, Status};

use super::Intake;
use crate::clock::Clock;
use crate::config;
use clients::Client;
use consumer::{Consumer, End};
use dead::DeadTopic;
use settle::Settler;

/// librdkafka's clients and their settings.
mod clients;

/// One consumer: polling, lanes, offsets.
mod consumer;

/// The dead topic.
mod dead;

/// Connected or not, and why not.
mod health;

/// Which offset may be stored.
mod progress;

/// One record into an Event.
mod record;

/// What becomes of a record.
mod settle;

/// Between a client that gave up and the next.
const AGAIN: Duration = Duration::from_secs(5);

/// The consumers, made but not yet running.
pub struct Kafka {
    config: config::Kafka,
    clock: Arc<Clock>,
    readers: Vec<Reader>,
    dead: Arc<DeadTopic>,
    health: Health,
}

struct Reader {
    group: String,
    topics: Vec<String>,
    signs: Signs,
    first: Client,
}

impl Kafka {
    /// Makes the clients, which begin to connect. Call it inside the runtime. `None`: no brokers are configured.
    pub fn new(config: &config::Kafka, clock: Arc<Clock>) -> Result<Option<Kafka>, KafkaSetup> {
        if config.brokers.is_empty() {
            return Ok(None);
        }
        clients::check(config)?;
        let urgent = format!("{}.urgent", config.group);
        let kinds = [("urgent", urgent, &config.urgent_topics), ("incidents", config.group.clone(), &config.topics)];
        let mut health = Health { consumers: Vec::new(), clock: clock.clone() };
        let mut readers = Vec::new();
        for (name, group, topics) in kinds.into_iter().filter(|(.., topics)| !topics.is_empty()) {
            let signs = Signs::new(&clock);
            let first = clients::consumer(config, &group, topics, &signs, &clock)?;
            health.consumers.push((name, signs.seen()));
            readers.push(Reader { group, topics: topics.clone(), signs, first });
        }
        let dead = Arc::new(DeadTopic::new(config, clock.clone())?);
        Ok(Some(Kafka { config: config.clone(), clock, readers, dead, health }))
    }

    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Runs until `stop`, then finishes the records in hand and commits their offsets.
    pub async fn run(self, intake: Arc<dyn Intake>, stop: CancellationToken) {
        let settler = Settler { intake, dead: self.dead, clock: self.clock, stop };
        let mut running = JoinSet::new();
        for reader in self.readers {
            running.spawn(reader.run(self.config.clone(), settler.clone()));
        }
        running.join_all().await;
    }
}

impl Reader {
    async fn run(self, config: config::Kafka, settler: Settler) {
        let Reader { group, topics, signs, first } = self;
        let mut next = Some(first);
        loop {
            if let Some(client) = next.take() {
                match (Consumer { client, settler: settler.clone() }.run().await) {
                    End::Stopped => return,
                    End::Fatal(error) => {
                        tracing::error!(error, group, "the Kafka client gave up and is made anew");
                        signs.status.send_replace(Status { last_error: Some(error), ..Status::default() });
                    }
                }
            }
            tokio::select! {
                biased;
                () = settler.stop.cancelled() => return,
                () = settler.clock.sleep(AGAIN) => {}
            }
            match clients::consumer(&config, &group, &topics, &signs, &settler.clock) {
                Ok(fresh) => next = Some(fresh),
                Err(error) => tracing::error!(%error, group, "the Kafka client could not be made"),
            }
        }
    }
}
