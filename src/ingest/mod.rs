//! Everything that makes an Event: HTTP, Kafka and the sources. What comes in is parsed here, once, into a value that cannot
//! be wrong; `pipeline::ingest` takes it from there.

pub mod event;
