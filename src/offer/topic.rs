//! The topic, by an idempotent producer of its own: in order, a bounded number of records under way, each acknowledged by all replicas
//! in sync. Whoever has seen it fail gives it up, and with it whatever it still holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::NotOffered;
use super::event::Event;
use crate::clock::Clock;
use crate::config;
use crate::ingest::kafka::{KafkaSetup, Quiet, offering};

/// Records that are not acknowledged yet.
const UNDER_WAY: usize = 1024;

/// For the next acknowledgement; then Kafka is taken to be away.
const PATIENCE: Duration = Duration::from_secs(30);

/// <https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md>, structured.
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

pub struct Topic {
    name: String,
    producer: FutureProducer<Quiet>,
}

impl Topic {
    pub fn new(config: &config::Kafka, clock: Arc<Clock>) -> Result<Topic, KafkaSetup> {
        Ok(Topic { name: config.outcomes.clone(), producer: offering(config, clock)? })
    }

    /// Returns when all are acknowledged.
    pub async fn offer(&self, events: &[Event]) -> Result<(), NotOffered> {
        let mut under_way = VecDeque::with_capacity(UNDER_WAY);
        for event in events {
            if under_way.len() == UNDER_WAY {
                self.acknowledged(under_way.pop_front()).await?;
            }
            loop {
                match self.producer.send_result(self.record(event)) {
                    Ok(delivery) => break under_way.push_back(delivery),
                    // The operator has set a shorter queue.
                    Err((error, _)) if error.rdkafka_error_code() == Some(Code::QueueFull) && !under_way.is_empty() => {
                        self.acknowledged(under_way.pop_front()).await?;
                    }
                    Err((error, _)) => return Err(self.refused(error)),
                }
            }
        }
        while !under_way.is_empty() {
            self.acknowledged(under_way.pop_front()).await?;
        }
        Ok(())
    }

    fn record<'a>(&'a self, event: &'a Event) -> FutureRecord<'a, str, str> {
        let kind = Header { key: "content-type", value: Some(CONTENT_TYPE) };
        FutureRecord::to(&self.name)
            .key(event.key.as_str())
            .payload(event.text.as_str())
            .headers(OwnedHeaders::new().insert(kind))
    }

    async fn acknowledged(&self, delivery: Option<DeliveryFuture>) -> Result<(), NotOffered> {
        let Some(delivery) = delivery else { return Ok(()) };
        match tokio::time::timeout(PATIENCE, delivery).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err((error, _)))) => Err(self.refused(error)),
            Ok(Err(_)) => Err(self.refused(KafkaError::Canceled)),
            Err(_) => Err(NotOffered::Silent(self.name.clone())),
        }
    }

    fn refused(&self, error: KafkaError) -> NotOffered {
        NotOffered::Kafka { topic: self.name.clone(), error }
    }
}
