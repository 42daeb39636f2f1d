//! The occasion: what moment of an incident a message speaks at, as it follows from the facts before and after an event.

use super::{Facts, Status, words};
use crate::ingest::event::Event;

words!(
    /// What moment of an incident a message speaks at.
    Occasion {
        Investigating = "investigating", Acknowledged = "acknowledged", Identified = "identified", Update = "update",
        Restoring = "restoring", Resolved = "resolved", Relapse = "relapse", Scheduled = "scheduled", Started = "started",
        Extended = "extended", Completed = "completed", Correction = "correction", Retraction = "retraction",
        Holding = "holding", Reminder = "reminder", Summary = "summary",
    }
);

pub(super) fn occasion(before: Option<&Facts>, after: &Facts, event: &Event) -> Occasion {
    if event.corrects.is_some() {
        return if event.retracts { Occasion::Retraction } else { Occasion::Correction };
    }
    let was = before.and_then(|facts| facts.status);
    let Some(is) = after.status else { return Occasion::Update };
    let same = was == Some(is);
    match is {
        Status::Investigating if was.is_some_and(Status::ended) => Occasion::Relapse,
        Status::Investigating if !same => Occasion::Investigating,
        Status::Investigating => {
            let first = |said: fn(&Facts) -> bool| said(after) && !before.is_some_and(said);
            match first(|facts| facts.owner.is_some()) || first(|facts| facts.summary.is_some()) {
                true => Occasion::Acknowledged,
                false => Occasion::Update,
            }
        }
        Status::Monitoring => Occasion::Restoring,
        Status::Identified if !same => Occasion::Identified,
        Status::Resolved if !same => Occasion::Resolved,
        Status::Scheduled if !same => Occasion::Scheduled,
        Status::InProgress if !same => Occasion::Started,
        Status::Completed if !same => Occasion::Completed,
        Status::InProgress if before.is_some_and(|facts| facts.ended_at < after.ended_at) => Occasion::Extended,
        Status::Resolved | Status::Completed => Occasion::Summary,
        _ => Occasion::Update,
    }
}
