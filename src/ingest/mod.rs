//! Everything that makes an Event: HTTP, Kafka and the sources. What comes in is parsed here, once, into a value that cannot
//! be wrong; `pipeline::ingest` takes it from there.

/// The Event and its native form.
pub mod event;

/// CloudEvents over HTTP and Kafka, around the same event.
pub mod cloudevents;

/// The envelope of a CloudEvent: attributes and data.
mod envelope;

/// Values of `ce-` headers.
mod header;

/// JSON in which no key stands twice.
mod json;

/// The fields of an event and what each may hold.
mod fields;
