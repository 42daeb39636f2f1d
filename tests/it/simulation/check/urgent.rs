//! Promise 3. The urgent goes first: only what is already on the wire goes before a critical delivery, and a place there is kept for it.

use std::collections::BTreeSet;
use std::time::Duration;

use loudhailer::channel::Fault;
use loudhailer::id::DeliveryId;
use loudhailer::plan::Priority;
use loudhailer::store::Decision;

use super::Found;
use super::evidence::{Evidence, Seen};
use crate::simulation::channels::{CHANNELS, Channel};
use crate::simulation::known::Interval;
use crate::simulation::world::Answer;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for channel in &CHANNELS {
        let seen: Vec<&Seen> = evidence.attempts.iter().filter(|seen| seen.channel == channel.id).collect();
        let nodes: BTreeSet<usize> = seen.iter().map(|seen| seen.node).collect();
        for node in nodes {
            let of: Vec<&Seen> = seen.iter().copied().filter(|seen| seen.node == node).collect();
            kept(evidence, found, channel, &of);
        }
        // Each node chooses among its own.
        if evidence.known.apart.is_none() {
            first(evidence, found, channel, &seen);
        }
    }
}

fn critical(evidence: &Evidence<'_>, seen: &Seen) -> bool {
    evidence.broadcast(seen).is_some_and(|broadcast| broadcast.priority == Priority::Critical)
}

/// When an attempt was no longer on the wire.
fn ended(evidence: &Evidence<'_>, seen: &Seen) -> Duration {
    seen.answered.or(evidence.known.end_after(seen)).unwrap_or(Duration::MAX)
}

/// What is not critical never takes the last places.
fn kept(evidence: &Evidence<'_>, found: &mut Found, channel: &Channel, seen: &[&Seen]) {
    let kept = (channel.concurrency / 8).max(1);
    for (number, begins) in seen.iter().enumerate().filter(|(_, seen)| !critical(evidence, seen)) {
        let others = seen[..number].iter().filter(|other| ended(evidence, other) > begins.at).count();
        found.holds(3, others + kept < channel.concurrency, || {
            format!(
                "{} begins at {:?} beside {others} others of {}, and no place is left",
                begins.id, begins.at, channel.name
            )
        });
    }
}

/// While a critical delivery waits in a lane that could take it, nothing else begins there.
fn first(evidence: &Evidence<'_>, found: &mut Found, channel: &Channel, seen: &[&Seen]) {
    const MOMENT: Duration = Duration::from_millis(2);
    for ((id, who), (decided, decision)) in &evidence.decided {
        let Some(broadcast) = evidence.broadcasts.get(id).filter(|b| b.priority == Priority::Critical) else {
            continue;
        };
        let Decision::Ways(ways, _) = decision else { continue };
        for way in ways.iter().filter(|way| way.channel.0 == channel.id) {
            let delivery = DeliveryId { broadcast: broadcast.id, subscriber: *who, place: way.place };
            let Some(urgent) = seen.iter().find(|seen| seen.delivery == Some(delivery)) else { continue };
            if disturbed(evidence, channel, seen, urgent, *decided) {
                continue;
            }
            let between = seen.iter().filter(|seen| seen.at > *decided + MOMENT && seen.at < urgent.at);
            let passed = between.filter(|seen| !critical(evidence, seen)).find(|other| {
                // One at a time goes to an address, by whichever channel.
                !evidence
                    .attempts
                    .iter()
                    .any(|a| a.to == urgent.to && a.at <= other.at && ended(evidence, a) >= other.at)
            });
            found.holds(3, passed.is_none(), || {
                let other = passed.map(|other| (&other.id, other.at));
                format!("{} waits since {decided:?} until {:?}, and {other:?} goes before it", urgent.id, urgent.at)
            });
        }
    }
}

/// Whether anything kept an urgent delivery from its lane between its decision and its attempt.
fn disturbed(evidence: &Evidence<'_>, channel: &Channel, seen: &[&Seen], urgent: &Seen, decided: Duration) -> bool {
    let (known, to) = (evidence.known, urgent.at);
    let Some(id) = urgent.delivery else { return true };
    let meets = |interval: &Interval| interval.meets(decided, to);
    let failed =
        |seen: &Seen| !matches!(seen.answer, Answer::Accepted | Answer::Rejected(Fault::Address | Fault::Message));
    let within = |seen: &Seen| seen.answered.is_some_and(|at| at >= decided && at <= to);
    // Its breaker may have opened.
    let breaks = |seen: &&&Seen| within(seen) && failed(seen);
    // More than a lane holds wait as rows.
    let others = seen.iter().filter(|other| critical(evidence, other) && other.at > decided && other.at < to).count();
    decided > to
        || known.ended_within(decided, to)
        || known.changed_within(id.subscriber, decided, to)
        || known.paused.iter().any(|(paused, interval)| *paused == id.broadcast && meets(interval))
        || known.down.iter().any(|(_, domain, interval)| channel.is_in(domain) && meets(interval))
        || known.full.iter().any(meets)
        || seen.iter().filter(breaks).count() > 1
        || seen.iter().any(|seen| within(seen) && seen.answer == Answer::Rejected(Fault::Channel))
        || evidence.attempts.iter().any(|a| {
            within(a)
                && a.answer == Answer::Rejected(Fault::Address)
                && a.delivery.is_some_and(|of| of.subscriber == id.subscriber)
        })
        || others > 2
}
