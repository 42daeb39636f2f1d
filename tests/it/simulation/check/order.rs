//! Promise 5. Never stale, never backwards: once a newer broadcast of a thread is released no try of an older one begins, and tries at one
//! address go one at a time, in the order of the updates.

use std::collections::BTreeMap;
use std::time::Duration;

use loudhailer::id::IncidentId;
use loudhailer::plan::Held;
use loudhailer::store::{Broadcast, BroadcastState, DeliveryState, LEASE};

use super::Found;
use super::evidence::{Evidence, Seen, since_start};
use crate::simulation::known::LINGERS;
use crate::simulation::nodes::link::CUT;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    one_at_a_time(evidence, found);
    forwards(evidence, found);
    never_stale(evidence, found);
    superseded(evidence, found);
}

fn one_at_a_time(evidence: &Evidence<'_>, found: &mut Found) {
    let mut last: BTreeMap<&str, &Seen> = BTreeMap::new();
    for seen in &evidence.attempts {
        if let Some(earlier) = last.insert(&seen.to, seen) {
            let died = evidence.known.end_after(earlier);
            // Where its node has lost its shards, another goes on before it is answered.
            let lost = died.filter(|_| evidence.known.apart.is_some());
            let ended = lost.into_iter().chain(earlier.answered).min().or(died);
            found.holds(5, ended.is_some_and(|ended| seen.at >= ended), || {
                format!(
                    "{} begins at {:?}, and {} has been under way since {:?}",
                    seen.id, seen.at, earlier.id, earlier.at
                )
            });
        }
    }
}

fn forwards(evidence: &Evidence<'_>, found: &mut Found) {
    let mut last: BTreeMap<(&str, IncidentId, &str), (i64, Duration)> = BTreeMap::new();
    for seen in &evidence.attempts {
        let Some(broadcast) = evidence.broadcast(seen) else { continue };
        let of = (seen.to.as_str(), broadcast.incident, broadcast.audience.as_str());
        if let Some((before, at)) = last.insert(of, (broadcast.version, seen.at)) {
            found.holds(5, broadcast.version >= before, || {
                format!("{} hears version {} at {:?} after {before} at {at:?}", seen.to, broadcast.version, seen.at)
            });
        }
    }
}

fn never_stale(evidence: &Evidence<'_>, found: &mut Found) {
    let known = evidence.known;
    let mut threads: BTreeMap<(IncidentId, &str), Vec<(i64, Duration)>> = BTreeMap::new();
    for broadcast in evidence.broadcasts.values() {
        let Some(mut released) = broadcast.released.map(since_start) else { continue };
        if known.apart.is_some() {
            // By the calendar of one of the nodes; and the others obey when it is answered. Where nobody is answered, who released it may
            // have been cut off before it knew.
            let answers = known.events.iter().filter(|(_, taken, _)| taken.broadcasts.contains(&broadcast.id));
            let answered = answers.map(|(_, _, at)| *at).filter(|at| released <= *at + known.slack()).min();
            let obeyed = released + known.slack() + LEASE + CUT + Duration::from_secs(5);
            released = answered.filter(|_| broadcast.held == Held::Not).unwrap_or(obeyed);
        }
        // Nobody was answered where the disk stopped at the release.
        let lingers = if known.died_within(released, released + LINGERS) { LINGERS } else { Duration::ZERO };
        let from = released + lingers + Duration::from_millis(2);
        threads.entry((broadcast.incident, &broadcast.audience)).or_default().push((broadcast.version, from));
    }
    for seen in &evidence.attempts {
        let Some(broadcast) = evidence.broadcast(seen) else { continue };
        let newer = threads.get(&(broadcast.incident, broadcast.audience.as_str())).into_iter().flatten();
        let stale = newer.filter(|(version, _)| *version > broadcast.version).find(|(_, from)| seen.at > *from);
        found
            .holds(5, stale.is_none(), || format!("{} begins at {:?}, after {stale:?} was released", seen.id, seen.at));
    }
}

/// What ends superseded does so by something newer of its own thread.
fn superseded(evidence: &Evidence<'_>, found: &mut Found) {
    let newer = |old: &Broadcast| {
        let same =
            |b: &&Broadcast| (b.incident, &b.audience) == (old.incident, &old.audience) && b.version > old.version;
        evidence.broadcasts.values().any(|b| same(&b))
    };
    for broadcast in evidence.broadcasts.values().filter(|b| b.state == BroadcastState::Superseded) {
        found.holds(5, newer(broadcast), || format!("{} is superseded by nothing of its thread", broadcast.id));
    }
    for row in evidence.rows.values().filter(|row| row.state == DeliveryState::Superseded) {
        let state = evidence.broadcasts.get(&row.id.broadcast).map(|broadcast| broadcast.state);
        found.holds(5, state == Some(BroadcastState::Superseded), || {
            format!("{:?} is superseded, and its broadcast is {state:?}", row.id)
        });
    }
}
