//! Promise 7. Only who wants it: nothing begins after the answer to a stop, a pause, a suppression or a withdrawal, nothing goes to an address
//! that nobody has verified, and whoever joins later gets the next update.

use super::Found;
use super::evidence::{Evidence, Seen, since_start};

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    let known = evidence.known;
    for seen in &evidence.attempts {
        let Some(id) = seen.delivery else { continue };
        let mut holds = |forbidden: bool, why: &str| {
            found.holds(7, !forbidden, || format!("{} to {} begins at {:?}, and {why}", seen.id, seen.to, seen.at));
        };
        let stopped = known.stopped.iter().filter(|(of, _)| *of == id.broadcast);
        stopped.for_each(|(_, at)| holds(seen.at > *at, "it was stopped before"));
        let paused = known.paused.iter().filter(|(of, _)| *of == id.broadcast);
        paused.for_each(|(_, pause)| holds(pause.holds(seen.at), "it is paused"));
        let silent = known.silent.iter().filter(|(address, _)| *address == seen.to);
        silent.for_each(|(_, at)| holds(seen.at > *at, "its address wants nothing any more"));
        let withdrawn = known.withdrawn.iter().filter(|(who, _)| *who == id.subscriber);
        withdrawn.for_each(|(_, at)| holds(seen.at > *at, "they have withdrawn"));
        if let Some(until) = known.unverified.get(&seen.to) {
            holds(until.is_none_or(|until| seen.at < until), "nobody has verified the address");
        }
        left(evidence, seen).into_iter().for_each(|away| holds(away, "they have left the audience"));
    }
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
                .is_some_and(|released| since_start(released) + std::time::Duration::from_millis(2) < *asked);
            if before {
                let told = evidence.decided.contains_key(&(broadcast.id, *who));
                found.holds(7, !told, || {
                    format!("{who} joined at {asked:?} and is told {}, which is older", broadcast.id)
                });
            }
        }
    }
}
