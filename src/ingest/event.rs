//! The Event: what came in. Parsed from native JSON or the `data` of a CloudEvent.

use serde_json::{Map, Value};

use crate::clock::Time;
use crate::incident::Mode;

/// A checked event. `(source, id)` is its idempotency key, `digest` tells equal content from other content.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub source: String,
    pub id: String,
    pub digest: [u8; 32],
    /// The incident's key as the source names it.
    pub incident: String,
    pub at: Time,
    pub sequence: Option<i64>,
    /// `None`: as the incident has it, `real` for a new one.
    pub mode: Option<Mode>,
    /// What the event says, field by field, checked and flattened one level (`impact.users`, `cause.text`). An absent field
    /// is unchanged; `null` clears.
    pub says: Map<String, Value>,
    /// The wrong update's number that this event corrects.
    pub corrects: Option<i64>,
    /// The wrong update is withdrawn altogether.
    pub retracts: bool,
    /// Whose token sent it: a person's name may confirm a cause, a machine's may not.
    pub by: Principal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Machine(String),
    Person(String),
}
