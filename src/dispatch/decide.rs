//! Who, and by which way: one recipient's decision, purely from what is known. Decided here when a page is read, and once more when
//! somebody asks why (`explain`).

use std::collections::BTreeSet;

use crate::audience::route::{Candidate, Routed, route};
use crate::audience::{Subscriber, select};
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::plan::Priority;
use crate::store::{Broadcast, Decision};

pub fn decide(
    broadcast: &Broadcast,
    subscriber: &Subscriber,
    told: bool,
    candidates: &[Candidate],
    down: &BTreeSet<String>,
    at: Time,
) -> Decision {
    if let Err(omission) = select(&broadcast.selection, subscriber, told) {
        return Decision::Omitted(omission);
    }
    let (routed, left_out) = route(subscriber, &broadcast.step.routes, candidates, down, &[], chance(subscriber.id));
    match routed {
        Routed::Nowhere(omission) => Decision::Omitted(omission),
        _ if quiet_until(broadcast.priority, subscriber, at).is_some() => Decision::Waits(left_out),
        Routed::Wait => Decision::Waits(left_out),
        Routed::Ways(ways) => Decision::Ways(ways, left_out),
    }
}

/// When this person may be written to again, if they want quiet now. What is critical does not ask.
pub fn quiet_until(priority: Priority, subscriber: &Subscriber, now: Time) -> Option<Time> {
    if priority == Priority::Critical {
        return None;
    }
    subscriber.quiet.and_then(|quiet| quiet.ends(&subscriber.zone, now))
}

/// From when on that person wants quiet: `now`, if they do already. `None`: never, or this does not ask.
pub fn quiet_from(priority: Priority, subscriber: &Subscriber, now: Time) -> Option<Time> {
    if priority == Priority::Critical {
        return None;
    }
    subscriber.quiet.and_then(|quiet| quiet.begins(&subscriber.zone, now))
}

/// The recipient's own, so that the same recipient gets the same channel again.
pub fn chance(id: SubscriberId) -> u64 {
    let mut n = (id.0 as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
