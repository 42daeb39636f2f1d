//! Promise 7. Only who wants it: nothing begins after the answer to a stop, a pause, a suppression or a withdrawal, nor before a person has
//! approved what is held for that, nothing goes to an address that nobody has verified, nor in somebody's quiet hours what is not critical,
//! and whoever joins later gets the next update.

use loudhailer::clock::Time;
use loudhailer::plan::{Held, Priority};

use super::Found;
use super::evidence::{Evidence, Seen, since_start};
use crate::simulation::world::START;

const MOMENT: std::time::Duration = std::time::Duration::from_millis(2);

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    let known = evidence.known;
    let (mut for_quiet, mut approvals) = (0, 0);
    for seen in &evidence.attempts {
        let Some(id) = seen.delivery else { continue };
        let mut holds = |forbidden: bool, why: &str| {
            found.holds(7, !forbidden, || format!("{} to {} begins at {:?}, and {why}", seen.id, seen.to, seen.at));
        };
        let stopped = known.stopped.iter().filter(|(of, _)| *of == id.broadcast);
        stopped.for_each(|(_, at)| holds(seen.at > *at, "it was stopped before"));
        let held = evidence.broadcast(seen).is_some_and(|of| of.held == Held::Approval);
        let approved = known.approved.iter().any(|(of, at)| *of == id.broadcast && *at <= seen.at);
        holds(held && !approved, "nobody has approved it");
        approvals += u64::from(held);
        let paused = known.paused.iter().filter(|(of, _)| *of == id.broadcast);
        paused.for_each(|(_, pause)| holds(pause.holds(seen.at), "it is paused"));
        let silent = known.silent.iter().filter(|(address, _)| *address == seen.to);
        silent.for_each(|(_, at)| holds(seen.at > *at, "its address wants nothing any more"));
        let withdrawn = known.withdrawn.iter().filter(|(who, _)| *who == id.subscriber);
        withdrawn.for_each(|(_, at)| holds(seen.at > *at, "they have withdrawn"));
        if let Some(until) = known.unverified.get(&seen.to) {
            holds(until.is_none_or(|until| seen.at < until), "nobody has verified the address");
        }
        let quiet = quiet(evidence, seen);
        for_quiet += quiet.len() as u64;
        quiet.into_iter().for_each(|quiet| holds(quiet, "they want quiet"));
        left(evidence, seen).into_iter().for_each(|away| holds(away, "they have left the audience"));
    }
    found.varied[1] += for_quiet;
    found.varied[3] += approvals;
    late_joiners(evidence, found);
}

/// For each time that its recipient left the audience of an attempt: whether they were away when it began.
fn left(evidence: &Evidence<'_>, seen: &Seen) -> Vec<bool> {
    let (Some(broadcast), Some(id)) = (evidence.broadcast(seen), seen.delivery) else { return Vec::new() };
    let of = evidence
        .known
        .left
        .iter()
        .filter(|(who, audience, _)| *who == id.subscriber && *audience == broadcast.audience);
    of.map(|(_, _, away)| away.holds(seen.at)).collect()
}

/// For each wish of its recipient, while it was theirs: whether an attempt that is not critical began in their quiet hours.
fn quiet(evidence: &Evidence<'_>, seen: &Seen) -> Vec<bool> {
    if evidence.broadcast(seen).is_none_or(|of| of.priority == Priority::Critical) {
        return Vec::new();
    }
    let now = Time(START).plus(seen.at);
    let of = evidence.known.quiet.iter().filter(|(who, ..)| seen.delivery.is_some_and(|id| id.subscriber == *who));
    let wanted = of.filter(|(.., wanted)| wanted.holds(seen.at));
    wanted.map(|(_, quiet, zone, _)| quiet.ends(zone, now).is_some()).collect()
}

fn late_joiners(evidence: &Evidence<'_>, found: &mut Found) {
    for (who, audience, asked) in &evidence.known.joined {
        let member = evidence.person(*who).is_some_and(|person| person.wanted.audiences.contains(audience));
        let first = evidence.known.joined.iter().find(|(other, what, _)| (other, what) == (who, audience));
        if member || first.is_some_and(|(.., at)| at != asked) {
            continue; // what was decided may be from when they belonged to it before
        }
        for broadcast in evidence.broadcasts.values().filter(|broadcast| broadcast.audience == *audience) {
            let before = broadcast
                .released
                .is_some_and(|released| since_start(released) + MOMENT + evidence.known.slack() * 2 < *asked);
            if before {
                let told = evidence.decided.contains_key(&(broadcast.id, *who));
                found.holds(7, !told, || {
                    format!("{who} joined at {asked:?} and is told {}, which is older", broadcast.id)
                });
            }
        }
    }
}
