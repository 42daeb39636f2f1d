//! The last word of each thread: an incident towards an audience. What is older is never taken up again.

use std::collections::BTreeMap;

use crate::id::IncidentId;
use crate::store::Broadcast;

/// Incidents that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// The newest version released, by incident and audience.
#[derive(Default)]
pub(crate) struct Threads(BTreeMap<IncidentId, BTreeMap<String, i64>>);

impl Threads {
    /// Whether nothing newer has been released in its thread; from now on it is the newest, if so.
    pub fn is_latest(&mut self, broadcast: &Broadcast) -> bool {
        let thread = self.0.entry(broadcast.incident).or_default();
        match thread.get_mut(&broadcast.audience) {
            Some(latest) if *latest > broadcast.version => return false,
            Some(latest) => *latest = broadcast.version,
            None => drop(thread.insert(broadcast.audience.clone(), broadcast.version)),
        }
        if self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
        true
    }
}
