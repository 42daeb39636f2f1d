//! Promise 2. Nobody is told twice without need: the same event is one update, a person of several audiences is told once unless the plan says
//! `also`, and a try is repeated only after `Deferred` or `Unknown`, with the same id and the same bytes.

use std::collections::BTreeMap;

use loudhailer::audience::Omission;
use loudhailer::channel::Fault;
use loudhailer::id::{BroadcastId, SubscriberId};
use loudhailer::store::{Broadcast, Decision};

use super::Found;
use super::evidence::{Evidence, Seen};
use crate::simulation::world::Answer;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for (event, same) in &evidence.known.repeated {
        found.holds(2, *same, || format!("{event} was taken again, with another answer"));
    }
    let mut tries: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    let mut names: BTreeMap<(BroadcastId, &str), &str> = BTreeMap::new();
    for seen in &evidence.attempts {
        let before = tries.entry(&seen.id).or_default();
        for earlier in before.iter() {
            tried_again(evidence, found, earlier, seen);
        }
        before.push(seen);
        let unleased = evidence.known.unleased.iter().find(|(node, lost)| *node == seen.node && lost.holds(seen.at));
        found.holds(2, unleased.is_none(), || {
            format!(
                "{} begins at {:?} on node {}, whose shards are others' by now: {unleased:?}",
                seen.id, seen.at, seen.node
            )
        });
        let ours = evidence.broadcast(seen).map(|broadcast| broadcast.id);
        found.holds(2, ours.is_some(), || format!("{} is no id of ours", seen.id));
        if let Some(broadcast) = ours {
            let first = *names.entry((broadcast, &seen.to)).or_insert(&seen.id);
            found.holds(2, first == seen.id, || format!("{} hears {broadcast} as {first} and as {}", seen.to, seen.id));
        }
    }
    told_once(evidence, found);
    for ((id, who), (_, decision)) in &evidence.decided {
        // The true state is only for those whom the wrong words had not reached.
        let also = |of: &Broadcast| of.step.also && of.selection.untold_by.is_empty();
        if evidence.broadcasts.get(id).is_some_and(also) {
            let kept = *decision != Decision::Omitted(Omission::ToldElsewhere);
            found.holds(2, kept, || format!("{id} tells its audience also, and {who} is left to another step"));
        }
    }
}

fn tried_again(evidence: &Evidence<'_>, found: &mut Found, earlier: &Seen, later: &Seen) {
    if earlier.channel == later.channel {
        let same = (earlier.dated, &earlier.body) == (later.dated, &later.body);
        found.holds(2, same, || format!("{} has other bytes at a later try, at {:?}", later.id, later.at));
    }
    let known = evidence.known;
    let again = later.delivery.is_some_and(|id| known.asked_again(id, earlier.at, later.at));
    if again || known.lost(earlier) {
        return;
    }
    let ended = match earlier.answer {
        Answer::Accepted => true,
        // The way has ended, and others have not.
        Answer::Rejected(Fault::Address | Fault::Message) => earlier.channel == later.channel,
        Answer::Rejected(Fault::Channel | Fault::Gone) | Answer::Deferred | Answer::Unknown => false,
    };
    found.holds(2, !ended, || {
        format!("{} was {:?} at {:?} and is tried again at {:?}", later.id, earlier.answer, earlier.at, later.at)
    });
}

/// Of the steps of one update, one tells a person.
fn told_once(evidence: &Evidence<'_>, found: &mut Found) {
    let mut updates: BTreeMap<BroadcastId, usize> = BTreeMap::new();
    for (number, (_, _, answered)) in evidence.events.iter().enumerate() {
        updates.extend(answered.broadcasts.iter().map(|id| (*id, number)));
    }
    let mut by: BTreeMap<(usize, SubscriberId), BroadcastId> = BTreeMap::new();
    for seen in &evidence.attempts {
        let (Some(broadcast), Some(id)) = (evidence.broadcast(seen), seen.delivery) else { continue };
        let Some(update) = updates.get(&broadcast.id).filter(|_| !broadcast.step.also) else { continue };
        if evidence.known.touched.contains(&id.subscriber) {
            continue;
        }
        let first = *by.entry((*update, id.subscriber)).or_insert(broadcast.id);
        found.holds(2, first == broadcast.id, || {
            format!("{} hears one update by {first} and by {}", id.subscriber, broadcast.id)
        });
    }
}
