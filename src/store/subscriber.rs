//! A subscriber as they are written, and what came of it: by the API one at a time, by an import row by row.

use crate::audience::Subscriber;
use crate::id::SubscriberId;

/// A subscriber as it is written: without ids, versions and places, which the store keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriberDraft {
    /// An existing one, at the version that the draft has (0: any), else by `subscriber.key`, else by its first address.
    pub id: Option<SubscriberId>,
    /// Addresses with place 0 are new or are found again by kind and value. `verified` and `suppressed` of an address that
    /// is there already stay as they are unless `verified` is now true.
    pub subscriber: Subscriber,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upserted {
    Created(SubscriberId),
    Updated(SubscriberId),
    Unchanged(SubscriberId),
    /// It was changed since the version that the draft was made from.
    Stale,
    /// An address belongs to somebody else.
    Taken {
        kind: String,
        place: usize,
    },
}

/// What came of a row of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    Created(SubscriberId),
    /// With the new version.
    Updated(SubscriberId, i64),
    Unchanged(SubscriberId),
    /// An address belongs to somebody else.
    Taken {
        kind: String,
    },
    /// The subscriber has been seen in the same import.
    Twice,
}
