//! What an event meets in the store and what it leaves there: what was known before, the answer, the update as it was taken; and
//! the tick, by which the clock or a person takes an event's part.

use super::Broadcast;
use crate::clock::Time;
use crate::id::IncidentId;
use crate::incident::{Change, Facts, Incident, Occasion};
use crate::ingest::{IngestError, Ingested};
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

/// An event applied to what is known: the change, and the broadcasts it calls for with the templates that they freeze.
pub struct Applied {
    pub change: Change,
    pub draws: Vec<Draw>,
    pub templates: [u8; 32],
}

/// Applies an event, purely: the store may ask more than once.
pub type Apply = Box<dyn Fn(Known) -> Result<Applied, IngestError> + Send + Sync>;

pub enum Committed {
    /// With the broadcasts that it drew, as they stand.
    Done { ingested: Ingested, drawn: Vec<Broadcast>, change: Box<Change> },
    /// It came before: its digest, and what was answered.
    Seen { digest: [u8; 32], ingested: Ingested },
    /// It does not apply, and nothing of it is kept.
    Refused(IngestError),
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
