//! Everything that makes an Event: HTTP, Kafka and the sources. What comes in is parsed here, once, into a value that cannot
//! be wrong; `pipeline::ingest` takes it from there.

use std::time::Duration;

use async_trait::async_trait;

use crate::id::{BroadcastId, IncidentId, UpdateId};
use crate::incident::Mode;
use event::{BadEvent, Event};

/// The Event and its native form.
pub mod event;

/// CloudEvents over HTTP and Kafka, around the same event.
pub mod cloudevents;

/// Events from Kafka topics.
pub mod kafka;

/// Foreign webhooks: a format as a file.
pub mod source;

/// Equal content has an equal digest.
mod digest;

/// The envelope of a CloudEvent: attributes and data.
mod envelope;

/// Values of `ce-` headers.
mod header;

/// JSON in which no key stands twice.
mod json;

/// The fields of an event and what each may hold.
mod fields;
pub use fields::language;
pub(crate) use fields::{quoted, rfc3339};

/// JSON from outside, for whoever else takes some in.
pub fn read_json(body: &[u8]) -> Result<serde_json::Value, BadEvent> {
    json::read(body)
}

/// The text that the value of a `ce-` header stands for.
pub(crate) fn read_header(value: &[u8]) -> Result<String, &'static str> {
    header::decode(value)
}

/// Where events go. When an answer comes, what it says is on disk.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Takes an event in: its update, and every broadcast that it calls for.
    async fn ingest(&self, event: Event) -> Result<Ingested, IngestError>;

    /// Keeps a record that is no event; the same record again is kept once.
    async fn dead(&self, record: DeadRecord) -> Result<(), IngestError>;
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    pub incident: IncidentId,
    /// The incident's key as the source names it.
    pub key: String,
    pub update: Option<UpdateId>,
    pub broadcasts: Vec<BroadcastId>,
    /// The same `(source, id)` with equal content was taken before; the ids are those of then.
    pub duplicate: bool,
    /// A later one of its source was taken before: kept, and draws nothing.
    pub late: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Bad(#[from] BadEvent),
    /// `source` is the event's, not an error's.
    #[error("event {id:?} of {source:?} was taken before with other content")]
    Conflict { r#source: String, id: String },
    #[error("incident {incident:?} is {mode}; its mode is fixed by its first event")]
    ModeConflict { incident: String, mode: Mode },
    #[error("incident {incident:?} is not proposed (any more): there is nothing to confirm or to dismiss")]
    NotProposed { incident: String },
    #[error("the queue is full")]
    Full { retry_after: Duration },
    #[error("the store did not take it: {0}")]
    Store(String),
}

/// A record that can't be an event however often it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRecord {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    /// `None`: a tombstone.
    pub body: Option<Vec<u8>>,
}
