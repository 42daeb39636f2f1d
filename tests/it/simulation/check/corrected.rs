//! Promise 5, of what was wrong: a correction reaches exactly those whom the wrong words reached or may have, and the true state, in an
//! ordinary update, only the others.

use std::collections::BTreeSet;

use loudhailer::audience::Omission;
use loudhailer::id::{BroadcastId, SubscriberId};
use loudhailer::store::{Broadcast, Decision, DeliveryState};

use super::Found;
use super::evidence::{Evidence, Seen, since_start};
use crate::simulation::world::Answer;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    let corrections = evidence.known.events.iter().filter(|(_, taken, _)| !taken.late);
    for (wrong, taken, at) in
        corrections.filter_map(|(event, taken, at)| Some((event["corrects"].as_i64()?, taken, at)))
    {
        let of = evidence.broadcasts.values().filter(|of| (of.incident, of.number) == (taken.incident, wrong));
        let released = of
            .filter_map(|of| Some((of.id, since_start(of.released?))))
            .find(|(_, released)| *released > *at + evidence.known.slack());
        found.holds(5, released.is_none(), || {
            format!("update {wrong} was corrected at {at:?}, and {released:?} is released")
        });
    }
    for broadcast in evidence.broadcasts.values().filter(|broadcast| broadcast.released.is_some()) {
        let (id, selection) = (broadcast.id, &broadcast.selection);
        if !selection.told_by.is_empty() {
            found.varied[2] += 1;
            let maybe = told(evidence, &selection.told_by, |seen| may_have_told(evidence, seen));
            let mut others = evidence.attempts.iter().filter_map(|seen| seen.delivery);
            let other = others.find(|of| of.broadcast == id && !maybe.contains(&of.subscriber));
            found.holds(5, other.is_none(), || format!("{id} corrects what {other:?} was never told"));
            for who in surely(evidence, broadcast, &selection.told_by) {
                let decided = evidence.decided.get(&(id, who)).map(|(_, decision)| decision);
                let left_out = decided == Some(&Decision::Omitted(Omission::NotTold));
                found.holds(5, !left_out, || format!("{who} was told what {id} corrects, and does not hear of it"));
            }
        }
        for who in surely(evidence, broadcast, &selection.untold_by) {
            let told = evidence
                .attempts
                .iter()
                .find(|seen| seen.delivery.is_some_and(|of| (of.broadcast, of.subscriber) == (id, who)));
            found.holds(5, told.is_none(), || {
                format!("{who} is to hear a correction, and hears {id}, which is for the others")
            });
        }
    }
}

/// Whom an attempt of these broadcasts that fits was made for; and whom nobody knows of.
fn told(evidence: &Evidence<'_>, by: &[i64], fits: impl Fn(&Seen) -> bool) -> BTreeSet<SubscriberId> {
    let seen = evidence.attempts.iter().filter(|seen| fits(seen)).filter_map(|seen| seen.delivery);
    let unknown = evidence.rows.values().filter(|row| row.state == DeliveryState::Unknown).map(|row| row.id);
    let perhaps = evidence.perhaps.iter().copied();
    seen.chain(unknown).chain(perhaps).filter(|id| by.contains(&id.broadcast.0)).map(|id| id.subscriber).collect()
}

fn may_have_told(evidence: &Evidence<'_>, seen: &Seen) -> bool {
    let decided = seen.delivery.and_then(|id| evidence.decided.get(&(id.broadcast, id.subscriber)));
    // What was begun before an end, nobody knows.
    decided.is_some_and(|(at, _)| evidence.known.ended_within(*at, seen.at))
        || matches!(seen.answer, Answer::Accepted | Answer::Unknown)
        || evidence.known.lost(seen)
}

/// Whom one of these broadcasts told before another was released, and nothing was reported about that: also where the process died
/// before it knew.
fn surely(evidence: &Evidence<'_>, before: &Broadcast, by: &[i64]) -> BTreeSet<SubscriberId> {
    let Some(released) = before.released.map(since_start) else { return BTreeSet::new() };
    let reported = |of: BroadcastId, who: SubscriberId| {
        evidence.known.reported.iter().any(|report| (report.id.broadcast, report.id.subscriber) == (of, who))
    };
    let seen = evidence.attempts.iter().filter(|seen| {
        seen.was(Answer::Accepted) && seen.answered.is_some_and(|at| at + evidence.known.slack() <= released)
    });
    let told = seen.filter_map(|seen| seen.delivery).filter(|id| by.contains(&id.broadcast.0));
    told.filter(|id| !reported(id.broadcast, id.subscriber)).map(|id| id.subscriber).collect()
}
