//! The last word of each thread: an incident towards an audience. What is older is never taken up again.

use std::collections::BTreeMap;

use crate::id::IncidentId;

/// Incidents that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;

/// The newest version released, by incident and audience.
#[derive(Default)]
pub(crate) struct Threads(BTreeMap<IncidentId, BTreeMap<String, i64>>);

impl Threads {
    /// Whether nothing newer than this version has been released in its thread; from now on it is the newest, if so.
    pub fn is_latest(&mut self, incident: IncidentId, audience: &str, version: i64) -> bool {
        let thread = self.0.entry(incident).or_default();
        match thread.get_mut(audience) {
            Some(latest) if *latest > version => return false,
            Some(latest) => *latest = version,
            None => drop(thread.insert(audience.to_string(), version)),
        }
        if self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_in_its_thread_is_not_the_latest_and_other_threads_do_not_matter() {
        let mut threads = Threads::default();
        let mut latest = |incident, audience, version| threads.is_latest(IncidentId(incident), audience, version);
        assert!(latest(1, "staff", 2));
        assert!(!latest(1, "staff", 1));
        assert!(latest(1, "staff", 2), "the same is taken up again, as when it is resumed");
        assert!(latest(1, "press", 1), "another audience");
        assert!(latest(2, "staff", 1), "another incident");
        assert!(latest(1, "staff", 3));
        assert!(!latest(1, "staff", 2), "it was the latest once");
    }

    #[test]
    fn the_oldest_incidents_are_forgotten_first() {
        let mut threads = Threads::default();
        let incidents = REMEMBERED as i64 + 1;
        for incident in 1..=incidents {
            assert!(threads.is_latest(IncidentId(incident), "staff", 2));
        }
        assert_eq!(threads.0.len(), REMEMBERED);
        assert!(!threads.is_latest(IncidentId(2), "staff", 1) && !threads.is_latest(IncidentId(incidents), "staff", 1));
        assert!(threads.is_latest(IncidentId(1), "staff", 1));
    }
}
