//! A manifest: the members of one page of one broadcast, and what was decided for each. Whoever is in one without a row of their
//! own is found again after a crash.

use crate::audience::route::{LeftOut, Way};
use crate::audience::{Omission, Subscriber};
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};

#[derive(Debug, Clone)]
pub struct Member {
    pub subscriber: Subscriber,
    /// Whether a broadcast that the selection asks about told them, or may have.
    pub told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestKey {
    pub broadcast: BroadcastId,
    pub shard: u8,
    pub number: i64,
}

/// One page of one broadcast in one shard, decided.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub key: ManifestKey,
    pub at: Time,
    pub epoch: i64,
    pub decided: Vec<Decided>,
    /// The shard has no more members.
    pub end: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub subscriber: SubscriberId,
    pub version: i64,
    pub decision: Decision,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Omitted(Omission),
    /// The ways taken, and those left out with the reason.
    Ways(Vec<Way>, Vec<LeftOut>),
    /// No way for now, for these reasons or because it is quiet; a row at place 0 waits.
    Waits(Vec<LeftOut>),
}

impl Decision {
    pub fn ways(&self) -> &[Way] {
        match self {
            Decision::Ways(ways, _) => ways,
            Decision::Omitted(_) | Decision::Waits(_) => &[],
        }
    }
}

/// A manifest that was open when the process ended: the recipients whose deliveries have no row.
#[derive(Debug, Clone)]
pub struct Unfinished {
    pub key: ManifestKey,
    pub at: Time,
    /// The subscriber as decided for, the way, and whether the address may still be written to today.
    pub missing: Vec<(Subscriber, Way, bool)>,
}
