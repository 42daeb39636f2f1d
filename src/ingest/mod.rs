//! Everything that makes an Event: HTTP, Kafka and the sources. What comes in is parsed here, once, into a value that cannot
//! be wrong; `pipeline::ingest` takes it from there.

/// The Event and its native form.
pub mod event;

/// The fields of an event and what each may hold.
mod fields;
