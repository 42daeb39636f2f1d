//! What an event meets in the store and what it leaves there: what was known before, the answer, the update as it was taken; and
//! the tick, by which the clock or a person takes an event's part.

use super::Broadcast;
use crate::clock::Time;
use crate::id::IncidentId;
use crate::incident::{Facts, Incident, Occasion};
use crate::ingest::Ingested;
use crate::plan::{Draw, Thread, Wrong};

/// What is known before an event is applied.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The event itself, if it came before: its digest and what was answered.
    pub seen: Option<([u8; 32], Ingested)>,
    pub incident: Option<Incident>,
    pub threads: Vec<Thread>,
    /// Where the event corrects an update: what was said of it, by audience.
    pub wrong: Vec<Wrong>,
}

#[derive(Debug)]
pub enum Committed {
    /// With the broadcasts that it drew, as they stand.
    Done(Ingested, Vec<Broadcast>),
    /// Someone was faster: decide again.
    Stale,
}

/// An update as it was taken.
#[derive(Debug, Clone, serde::Serialize)]
pub struct UpdateRow {
    pub number: i64,
    pub source: String,
    pub at: Time,
    pub taken: Time,
    pub late: bool,
    pub occasion: Occasion,
    pub said_by: String,
    pub corrects: Option<i64>,
    /// What was true after it.
    pub facts: Facts,
}

/// What is to be drawn or released by the clock or by a person rather than by an event.
#[derive(Debug, Clone)]
pub struct Tick {
    pub incident: IncidentId,
    /// The incident's version read; another is stale.
    pub version: i64,
    pub draws: Vec<Draw>,
}
