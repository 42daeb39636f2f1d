//! What follows from an event that was taken, decided without asking the store: what is answered and noted, what it promises, what
//! of an earlier update it withdraws, and what was said of that.

use serde_json::{Value, json};

use super::BroadcastState;
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId, UpdateId};
use crate::incident::{Change, Occasion};
use crate::ingest::Ingested;
use crate::plan::{Held, Selection, Step, Wrong};

/// A broadcast of an update that is wrong.
pub struct Said {
    pub id: i64,
    pub plan: String,
    pub step: Step,
    pub selection: Selection,
    pub state: BroadcastState,
    pub held: Held,
}

/// What was said of an update, one entry an audience.
pub fn by_audience(said: Vec<Said>) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = Vec::new();
    for Said { id, plan, step, selection, state, held } in said {
        let unfinished = matches!(state, BroadcastState::Running | BroadcastState::Paused | BroadcastState::Cancelled);
        let at = wrong.iter().position(|entry| entry.step.audience == step.audience).unwrap_or(wrong.len());
        if at == wrong.len() {
            wrong.push(Wrong { plan, step, broadcasts: Vec::new(), unfinished: None, held: None });
        }
        match state {
            BroadcastState::Held => wrong[at].held = Some((held, selection)),
            _ => {
                wrong[at].broadcasts.push(id);
                wrong[at].unfinished = unfinished.then_some(selection);
            }
        }
    }
    wrong
}

/// The update whose held broadcasts are not released any more, since it is wrong, and how they end.
pub fn withdrawn(change: &Change) -> Option<(i64, BroadcastState)> {
    let wrong = change.update.corrects.filter(|_| !change.update.late)?;
    match change.occasion {
        Occasion::Retraction => Some((wrong, BroadcastState::Cancelled)),
        _ => Some((wrong, BroadcastState::Superseded)),
    }
}

/// When the next update was promised by.
pub fn promised(change: &Change) -> Option<Time> {
    change.after.next_update_at.filter(|due| *due > change.at && change.incident.closed.is_none())
}

/// Its row of the journal.
pub fn noted(change: &Change, incident: IncidentId, broadcasts: &[BroadcastId]) -> Value {
    json!({ "incident": incident, "key": change.incident.key, "number": change.update.number, "mode": change.incident.mode, "status": change.after.status,
            "severity": change.after.severity, "occasion": change.occasion, "late": change.update.late, "broadcasts": broadcasts })
}

pub fn answered(change: &Change, incident: IncidentId, broadcasts: Vec<BroadcastId>) -> Ingested {
    Ingested {
        incident,
        key: change.incident.key.clone(),
        update: Some(UpdateId { incident, number: change.update.number }),
        broadcasts,
        duplicate: false,
        late: change.update.late,
    }
}
