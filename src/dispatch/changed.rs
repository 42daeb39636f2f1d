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
            self.versions.clear();
            self.overflows += 1;
        }
        self.versions.insert(id, version);
    }

    pub fn since(&self, id: SubscriberId, version: i64, overflows: u64) -> bool {
        overflows < self.overflows || self.versions.get(&id).is_some_and(|changed| *changed > version)
    }
}

impl Engine {
    /// A subscriber changed: what is in memory for them is decided afresh before it is sent.
    pub fn subscriber_changed(&self, id: SubscriberId, version: i64) {
        lock(&self.changed).note(id, version);
        self.barrier();
    }

    /// The same for many, as an import changes them.
    pub fn subscribers_changed(&self, changed: &[(SubscriberId, i64)]) {
        let mut known = lock(&self.changed);
        changed.iter().for_each(|(id, version)| known.note(*id, *version));
        drop(known);
        self.barrier();
    }
}
