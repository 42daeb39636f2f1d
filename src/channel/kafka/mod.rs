//! Records into Kafka, by librdkafka. A parcel becomes a record of the topic that is its address: the event as the value, its incident as
//! the key, so that the updates of one incident stay in order (<https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md>,
//! structured). It is accepted once all replicas in sync have it (`acks=all`).
//!
//! librdkafka does not tell what it has sent from what still waited in it when time was up. So a record is handed to it only while the
//! cluster is known to answer: before the first, and after every failure, it is asked first (`Ready`), and until it has answered
//! parcels are `Deferred`. What was handed over and is not acknowledged in time is `Unknown`.

mod ready;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::ready::Ready;
use super::publish::Settings;
use super::{Driver, Fault, Holds, Outcome, Parcel};

/// Beyond the time after which librdkafka itself gives a record up.
const GRACE: Duration = Duration::from_secs(5);

pub struct Kafka {
    ready: Arc<Ready>,
    patience: Duration,
    /// What may appear in no outcome.
    password: Option<String>,
    room: Semaphore,
}

impl Kafka {
    /// `concurrency` is the number of records that may be under way at one time; further ones wait.
    pub fn new(settings: &Settings, concurrency: usize) -> Result<Kafka, String> {
        let checked = settings::read(settings)?;
        Ok(Kafka {
            ready: Arc::new(Ready::new(checked.client, checked.patience)),
            patience: checked.patience,
            password: checked.password,
            room: Semaphore::new(concurrency.clamp(1, 1024)),
        })
    }

    async fn produce(&self, parcel: &Parcel) -> Outcome {
        // Never closed; and without room the record has not begun.
        let _room = self.room.acquire().await;
        let producer = match self.ready.producer(&parcel.to).await {
            Ok(producer) => producer,
            Err(outcome) => return outcome,
        };
        let text = parcel.filled().text;
        let key = incident(&text);
        let kind = Header { key: "content-type", value: Some("application/cloudevents+json; charset=UTF-8") };
        let mut record = FutureRecord::to(&parcel.to).payload(&text).headers(OwnedHeaders::new().insert(kind));
        record.key = key.as_deref();
        let delivery = match producer.send_result(record) {
            Ok(delivery) => delivery,
            Err((error, _)) => return refused(&error),
        };
        match timeout(self.patience + GRACE, delivery).await {
            Ok(Ok(Ok(delivery))) => {
                Outcome::Accepted { reference: Some(format!("{}:{}", delivery.partition, delivery.offset)) }
            }
            Ok(Ok(Err((error, _)))) => {
                self.ready.doubt(&producer);
                refused(&error)
            }
            Ok(Err(_)) | Err(_) => {
                self.ready.doubt(&producer);
                Outcome::Unknown { detail: "the cluster did not acknowledge it in time".into() }
            }
        }
    }
}

#[async_trait]
impl Driver for Kafka {
    async fn send(&self, parcel: Parcel) -> Outcome {
        let mut outcome = self.produce(&parcel).await;
        outcome.scrub(self.password.as_deref().into_iter().chain([&*parcel.to]));
        outcome
    }
}

/// The subject of the event; none where an operator's own layout writes something else.
fn incident(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Event {
        subject: Option<String>,
    }
    serde_json::from_str::<Event>(text).ok()?.subject
}

/// What an error of a record means. Only what a broker says of this record is known not to be stored.
fn refused(error: &KafkaError) -> Outcome {
    let Some(code) = error.rdkafka_error_code() else {
        return Outcome::Unknown { detail: "librdkafka: the record failed".into() };
    };
    let detail = format!("librdkafka: {code}");
    let rejected = |fault| Outcome::Rejected { fault, detail: detail.clone() };
    let deferred = |holds| Outcome::Deferred { after: None, holds, throttled: false, detail: detail.clone() };
    match code {
        Code::TopicAuthorizationFailed | Code::InvalidTopic => rejected(Fault::Address),
        Code::MessageSizeTooLarge | Code::InvalidRecord | Code::PolicyViolation => rejected(Fault::Message),
        Code::ClusterAuthorizationFailed | Code::SaslAuthenticationFailed | Code::Authentication => {
            rejected(Fault::Channel)
        }
        // Somebody may make the topic.
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => deferred(Holds::Address),
        Code::QueueFull => deferred(Holds::Channel),
        _ => Outcome::Unknown { detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_incident_of_the_event() {
        assert_eq!(incident(r#"{"id":"dlv_1","subject":"web-down"}"#).as_deref(), Some("web-down"));
        assert_eq!((incident("{}"), incident("words"), incident(r#"{"subject":7}"#)), (None, None, None));
    }

    #[test]
    fn an_error_ends_or_holds_what_it_is_about_and_what_may_be_stored_is_unknown() {
        let read = |code| refused(&KafkaError::MessageProduction(code));
        for (code, expected) in [
            (Code::TopicAuthorizationFailed, "Rejected { fault: Address"),
            (Code::MessageSizeTooLarge, "Rejected { fault: Message"),
            (Code::ClusterAuthorizationFailed, "Rejected { fault: Channel"),
            (Code::UnknownTopicOrPartition, "Deferred { after: None, holds: Address"),
            (Code::QueueFull, "Deferred { after: None, holds: Channel"),
            (Code::MessageTimedOut, "Unknown"),
            (Code::RequestTimedOut, "Unknown"),
            (Code::NotEnoughReplicasAfterAppend, "Unknown"),
        ] {
            let shown = format!("{:?}", read(code));
            assert!(shown.starts_with(expected), "{shown}");
        }
    }
}
