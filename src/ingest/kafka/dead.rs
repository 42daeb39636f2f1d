//! The dead topic. Enters: a record that can't be an event, and why. Leaves: the same record in `<topic>.dead` with the reason in
//! its headers, acknowledged by the brokers.

use std::sync::{Arc, Mutex};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::clients::{self, KafkaSetup, Quiet, lock};
use super::record::Record;
use crate::clock::Clock;
use crate::config;

/// Bytes of the reason that travel in a header.
const REASON: usize = 1024;

pub(super) struct DeadTopic {
    config: config::Kafka,
    clock: Arc<Clock>,
    producer: Mutex<FutureProducer<Quiet>>,
}

pub(super) enum NotBuried {
    /// Trying again can help.
    Passing(KafkaError),
    /// It can't: no such topic, no right to write to it, too large.
    ForEver(KafkaError),
}

impl DeadTopic {
    pub fn new(config: &config::Kafka, clock: Arc<Clock>) -> Result<DeadTopic, KafkaSetup> {
        let producer = Mutex::new(clients::producer(config, clock.clone())?);
        Ok(DeadTopic { config: config.clone(), clock, producer })
    }

    pub async fn bury(&self, record: &Record, reason: &str) -> Result<(), NotBuried> {
        let topic = format!("{}{}", record.topic, self.config.dead_suffix);
        let mut grave: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).headers(headers(record, reason));
        grave.key = record.key.as_deref();
        grave.payload = record.value.as_deref();
        grave.timestamp = record.at.map(|at| at.0);
        let producer = lock(&self.producer).clone();
        let sent = match producer.send_result(grave) {
            Ok(delivery) => match delivery.await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err((error, _))) => error,
                Err(_) => KafkaError::Canceled,
            },
            Err((error, _)) => error,
        };
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::error!(%code, "the producer of dead records has to be made anew: {reason}");
            if let Ok(fresh) = clients::producer(&self.config, self.clock.clone()) {
                *lock(&self.producer) = fresh;
            }
        }
        Err(sort(sent))
    }
}

fn sort(error: KafkaError) -> NotBuried {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::MessageSizeTooLarge
            | Code::PolicyViolation
            | Code::InvalidRecord,
        ) => NotBuried::ForEver(error),
        _ => NotBuried::Passing(error),
    }
}

/// The record's own headers, then where it came from and why it is here.
fn headers(record: &Record, reason: &str) -> OwnedHeaders {
    let own = record
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
    let end = reason.floor_char_boundary(REASON);
    let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
    let about = [
        ("loudhailer-reason", &reason[..end]),
        ("loudhailer-topic", record.topic.as_str()),
        ("loudhailer-partition", &partition),
        ("loudhailer-offset", &offset),
    ];
    about.into_iter().fold(own, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;

    #[test]
    fn a_dead_record_keeps_its_headers_and_tells_where_it_came_from_and_why() {
        let record = Record {
            topic: "incidents".into(),
            partition: 3,
            offset: 41,
            key: None,
            headers: vec![("ce_id".into(), Some(b"1".to_vec())), ("empty".into(), None)],
            value: None,
            at: None,
        };
        let long = "é".repeat(600);
        let headers = headers(&record, &long);
        let read: Vec<(&str, Option<&[u8]>)> = headers.iter().map(|header| (header.key, header.value)).collect();
        let short = "é".repeat(512);
        assert_eq!(
            read,
            [
                ("ce_id", Some(&b"1"[..])),
                ("empty", None),
                ("loudhailer-reason", Some(short.as_bytes())),
                ("loudhailer-topic", Some(b"incidents")),
                ("loudhailer-partition", Some(b"3")),
                ("loudhailer-offset", Some(b"41")),
            ]
        );
    }
}
