//! What open incidents say is down. Events that are answered at one moment may be heard of in any order: the later version counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::IncidentId;

/// Incidents of whom nothing is down are remembered up to so many, for events of theirs that may still be on their way here.
const REMEMBERED: usize = 1024;

#[derive(Default)]
pub struct Down(BTreeMap<IncidentId, (i64, BTreeSet<String>)>);

impl Down {
    /// Whether the incident says something else than before.
    pub fn note(&mut self, incident: IncidentId, version: i64, platforms: BTreeSet<String>) -> bool {
        let (known, before) = self.0.entry(incident).or_default();
        if *known > version {
            return false;
        }
        *known = version;
        let changed = *before != platforms;
        *before = platforms;
        if self.0.len() > REMEMBERED {
            self.0.retain(|known, (_, platforms)| *known == incident || !platforms.is_empty());
        }
        changed
    }

    /// Those that have said something of late.
    pub fn incidents(&self) -> Vec<IncidentId> {
        self.0.keys().copied().collect()
    }

    pub fn platforms(&self) -> BTreeSet<String> {
        self.0.values().flat_map(|(_, platforms)| platforms).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_heard_of_late_changes_nothing() {
        let set = |platforms: &[&str]| platforms.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        let mut down = Down::default();
        assert!(!down.note(IncidentId(1), 3, set(&[])));
        assert!(!down.note(IncidentId(1), 2, set(&["sms-net"])));
        assert_eq!(down.platforms(), set(&[]));
        assert!(down.note(IncidentId(2), 1, set(&["hook"])));
        assert!(down.note(IncidentId(1), 4, set(&["sms-net"])));
        assert!(!down.note(IncidentId(1), 5, set(&["sms-net"])), "as it was");
        assert_eq!(down.platforms(), set(&["hook", "sms-net"]));
        for other in 0..2 * REMEMBERED as i64 {
            down.note(IncidentId(10 + other), 1, set(&[]));
        }
        assert_eq!(down.platforms(), set(&["hook", "sms-net"]));
        assert!(down.0.len() <= REMEMBERED + 1);
    }
}
