//! Promises 1 and 2, of what is to be confirmed: where no report comes in time, the next route is taken, too; and whoever has
//! confirmed is not told again by it.

use std::time::Duration;

use loudhailer::plan::Step;
use loudhailer::store::BroadcastState;

use super::Found;
use super::evidence::{Evidence, Seen};
use crate::simulation::channels::{CHANNELS, Channel};
use crate::simulation::world::Answer;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for seen in &evidence.attempts {
        let Some(broadcast) = evidence.broadcast(seen).filter(|of| of.step.confirm_within.is_some()) else { continue };
        let channel = Channel::of(seen.channel);
        let Some(route) = route_of(&broadcast.step, channel).filter(|_| seen.was(Answer::Accepted)) else { continue };
        if !channel.confirms(&evidence.variety) || route + 1 == broadcast.step.routes.len() {
            continue;
        }
        confirmed(evidence, found, seen, &broadcast.step, route);
        if broadcast.state == BroadcastState::Done {
            unconfirmed(evidence, found, seen, &broadcast.step, route);
        }
    }
}

fn route_of(step: &Step, channel: &Channel) -> Option<usize> {
    step.routes.iter().position(|route| route.0.iter().any(|member| member == channel.name || member == channel.kind))
}

/// The attempts for the same person by a later route.
fn later<'a>(evidence: &'a Evidence<'_>, seen: &Seen, step: &Step, route: usize) -> Vec<&'a Seen> {
    let same = |other: &&Seen| match (other.delivery, seen.delivery) {
        (Some(other), Some(of)) => (other.broadcast, other.subscriber) == (of.broadcast, of.subscriber),
        _ => false,
    };
    let by_later = |other: &&Seen| route_of(step, Channel::of(other.channel)).is_some_and(|other| other > route);
    evidence.attempts.iter().filter(same).filter(by_later).collect()
}

/// Once it is confirmed, no later route begins.
fn confirmed(evidence: &Evidence<'_>, found: &mut Found, seen: &Seen, step: &Step, route: usize) {
    let Some(id) = seen.delivery else { return };
    let known = evidence.known;
    let of_theirs = |of: loudhailer::id::DeliveryId| (of.broadcast, of.subscriber) == (id.broadcast, id.subscriber);
    let again = known.reported.iter().any(|report| report.bounced && of_theirs(report.id))
        || known.replayed.iter().any(|(of, _)| of_theirs(*of));
    // By the platform's own reference a report is about one attempt; that of an attempt whose answer was lost is known to nobody.
    let of_this = |began: Duration| began == seen.at || !Channel::of(seen.channel).by_reference;
    let report =
        known.reported.iter().find(|report| (report.id, report.channel) == (id, seen.channel) && of_this(report.began));
    let Some(at) = report.and_then(|report| report.answered).filter(|_| !again && !known.lost(seen)) else {
        return;
    };
    let begun = later(evidence, seen, step, route).into_iter().find(|other| other.at > at);
    found.holds(2, begun.is_none(), || {
        let begun = begun.map(|seen| (&seen.id, seen.at));
        format!("{} was confirmed at {at:?}, and {begun:?} begins by a later route", seen.id)
    });
}

/// Where nobody confirms it, a later route is taken before the broadcast is done.
fn unconfirmed(evidence: &Evidence<'_>, found: &mut Found, seen: &Seen, step: &Step, route: usize) {
    let (Some(id), Some(answered)) = (seen.delivery, seen.answered) else { return };
    let known = evidence.known;
    let reported = known
        .reported
        .iter()
        .any(|report| (report.id.broadcast, report.id.subscriber) == (id.broadcast, id.subscriber));
    let changed = known.changed_within(id.subscriber, Duration::ZERO, Duration::MAX)
        || known.silent.iter().any(|(address, _)| *address == seen.to);
    if reported || changed || known.lost(seen) {
        return;
    }
    let Some(person) = evidence.person(id.subscriber) else { return };
    let refused = |address: &str| {
        let mut to = evidence.attempts.iter().filter(|other| other.to == address);
        to.any(|other| matches!(other.answer, Answer::Rejected(loudhailer::channel::Fault::Address)))
    };
    let open = person.wanted.addresses.iter().any(|address| {
        let reaches = |channel: &&Channel| {
            channel.address_kind == address.kind && route_of(step, channel).is_some_and(|of| of > route)
        };
        address.verified && !refused(&address.value) && CHANNELS.iter().any(|channel| reaches(&channel))
    });
    if open {
        found.varied[4] += 1;
        let taken = !later(evidence, seen, step, route).is_empty();
        found.holds(1, taken, || {
            format!("{} was accepted at {answered:?} and never confirmed, and no later route was taken", seen.id)
        });
    }
}
