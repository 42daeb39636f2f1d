//! Incidents: facts folded from events into numbered updates. `apply` decides, purely, what an event changes.

mod apply;
mod facts;
mod occasion;
mod state;
mod words;

use serde_json::Value;

pub use self::apply::{Refused, apply};
pub use self::facts::{Cause, CauseCategory, Clearance, DataEffect, Facts, Impact, Kind, Mode, Severity, Status, Text};
pub use self::occasion::Occasion;
pub use self::state::State;
pub(crate) use self::words::words;
use crate::clock::Time;
use crate::id::IncidentId;

/// An incident as it is kept: its facts with, for each, who said so and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub id: IncidentId,
    pub key: String,
    /// Counts commits; a commit that read another version is stale.
    pub version: i64,
    pub mode: Mode,
    pub state: State,
    pub opened: Time,
    pub closed: Option<Time>,
    pub last_number: i64,
}

/// One numbered update, as an event made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub number: i64,
    pub source: String,
    pub sequence: Option<i64>,
    pub at: Time,
    /// Came after a younger one of its source, or was older than the configuration allows: kept, and draws nothing.
    pub late: bool,
    pub says: serde_json::Map<String, Value>,
    pub by: String,
    pub corrects: Option<i64>,
}

/// What an event does to an incident.
#[derive(Debug, Clone)]
pub struct Change {
    pub incident: Incident,
    pub update: Update,
    /// `None`: a new incident.
    pub before: Option<Facts>,
    pub after: Facts,
    pub occasion: Occasion,
    pub at: Time,
}
