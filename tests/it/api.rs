//! The machine's door, as timelines: this comes in, that goes out.

mod door;
mod events;
mod looks;
mod sending;
mod subscribers;
