//! The machine's door, as timelines: this comes in, that goes out.

mod docs;
mod door;
mod events;
mod held;
mod looks;
pub mod schema;
mod sending;
mod subscribers;
