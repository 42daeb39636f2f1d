//! A broadcast as it is drawn and as it is released, decided without asking the store.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broadcast, BroadcastState};
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::plan::{Draw, Priority, Selection};

/// Releases of a thread that `at_most` looks back on.
const REMEMBERED_RELEASES: usize = 64;

/// Where in an incident a broadcast is drawn.
pub struct Drawn<'a> {
    pub incident: IncidentId,
    pub key: &'a str,
    pub number: i64,
    pub version: i64,
    pub templates: [u8; 32],
    pub now: Time,
}

impl Drawn<'_> {
    /// Held, until it is released.
    pub fn broadcast(&self, draw: &Draw, id: BroadcastId, shards: u64, code: String) -> Broadcast {
        Broadcast {
            id,
            incident: self.incident,
            incident_key: self.key.into(),
            audience: draw.step.audience.clone(),
            number: self.number,
            version: self.version,
            plan: draw.plan.clone(),
            priority: draw.step.priority,
            step: draw.step.clone(),
            purpose: draw.purpose,
            occasion: draw.occasion,
            state: BroadcastState::Held,
            selection: draw.selection.clone(),
            held: draw.held,
            created: self.now,
            released: None,
            ended: None,
            deadline: draw.deadline,
            templates: self.templates,
            facts: draw.facts.clone(),
            code,
            shards,
            progress: BTreeMap::new(),
        }
    }
}

/// Whom an older broadcast of the thread still had to tell, this one tells: filters united, at the higher priority. Not where one
/// of them is for whom another told.
pub fn inherit(broadcast: &mut Broadcast, older: &Selection, rank: u8) {
    if !broadcast.selection.told_by.is_empty() || !older.told_by.is_empty() {
        return;
    }
    let selection = &mut broadcast.selection;
    let unite = |own: &mut BTreeSet<String>, older: &BTreeSet<String>| match own.is_empty() || older.is_empty() {
        true => own.clear(), // empty means everyone
        false => own.extend(older.iter().cloned()),
    };
    unite(&mut selection.components, &older.components);
    unite(&mut selection.regions, &older.regions);
    selection.severity = selection.severity.max(older.severity);
    broadcast.priority = Priority::from_rank(broadcast.priority.rank().min(rank));
}

/// Released: it runs, or is done where its audience has nobody.
pub fn runs_from(broadcast: &mut Broadcast, now: Time) {
    let empty = broadcast.shards == 0;
    broadcast.state = if empty { BroadcastState::Done } else { BroadcastState::Running };
    broadcast.released = Some(now);
    broadcast.ended = empty.then_some(now);
}

/// The releases of its thread, with this one.
pub fn remembered(now: Time, before: Vec<Time>) -> Vec<Time> {
    std::iter::once(now).chain(before).take(REMEMBERED_RELEASES).collect()
}

/// When to remind, where the plan asks for it and it is not over.
pub fn reminder(broadcast: &Broadcast, now: Time) -> Option<Time> {
    let open = broadcast.facts.status.is_some_and(|status| !status.ended());
    broadcast.step.at_least.filter(|_| open).map(|span| now.plus(span.0))
}
