//! Subscribers that changed while something for them may be in memory: it is decided afresh before it is sent.

use std::collections::BTreeMap;

use super::{Engine, lock};
use crate::id::SubscriberId;

/// At most so many changed subscribers are remembered one by one; past it everything in memory is decided afresh.
const REMEMBERED_CHANGES: usize = 100_000;

#[derive(Default)]
pub(crate) struct Changed {
    versions: BTreeMap<SubscriberId, i64>,
    /// Deliveries decided before this many overflows are decided afresh.
    pub overflows: u64,
}

impl Changed {
    pub fn note(&mut self, id: SubscriberId, version: i64) {
        if self.versions.len() >= REMEMBERED_CHANGES {
            self.overflow();
        }
        // Whoever read an earlier version may come to say so later.
        let known = self.versions.entry(id).or_insert(version);
        *known = version.max(*known);
    }

    pub fn overflow(&mut self) {
        self.versions.clear();
        self.overflows += 1;
    }

    pub fn since(&self, id: SubscriberId, version: i64, overflows: u64) -> bool {
        overflows < self.overflows || self.versions.get(&id).is_some_and(|changed| *changed > version)
    }
}

impl Engine {
    /// A subscriber changed: when this returns, what is in memory for them is decided afresh before it is sent, on every node.
    pub async fn subscriber_changed(&self, id: SubscriberId, version: i64) {
        self.subscribers_changed(&[(id, version)]).await;
    }

    /// The same for many, as an import changes them.
    pub async fn subscribers_changed(&self, changed: &[(SubscriberId, i64)]) {
        {
            let mut known = lock(&self.changed);
            changed.iter().for_each(|(id, version)| known.note(*id, *version));
        }
        self.barrier();
        self.store.obeyed().await;
    }

    /// The same for what this node has in memory.
    pub(super) fn note_changed(&self, id: SubscriberId, version: i64) {
        lock(&self.changed).note(id, version);
        self.barrier();
    }

    /// More have changed than anybody counts.
    pub(super) fn everyone_changed(&self) {
        lock(&self.changed).overflow();
        self.barrier();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_version_counts_whoever_says_it_first_and_nobody_is_sure_of_any_after_an_overflow() {
        let mut changed = Changed::default();
        let who = SubscriberId(7);
        changed.note(who, 3);
        changed.note(who, 2);
        assert!(changed.since(who, 2, 0) && !changed.since(who, 3, 0), "an earlier version that is said later");
        changed.overflow();
        assert!(changed.since(who, 3, 0) && !changed.since(who, 3, 1));
    }
}
