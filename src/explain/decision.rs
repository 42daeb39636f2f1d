//! Who and by which way, decided once more. What only that moment knew, which channels were blocked and whom earlier messages had
//! reached, is taken from what the decision says was left out; all else from what is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Channels, Compared, Recomputed};
use crate::audience::route::{Blocked, Candidate, ChannelId, LeftOut, Way};
use crate::audience::{Omission, Subscriber};
use crate::clock::Time;
use crate::dispatch::decide::{decide, quiet_until};
use crate::store::{Decided, Decision, Recipient};

pub fn recomputed(recipient: &Recipient, channels: &Channels) -> Recomputed {
    let Some((at, decided)) = &recipient.decided else {
        return Recomputed::of(Compared::NothingRecorded, "nothing was decided for them");
    };
    let Some(then) = &recipient.then else {
        return Recomputed::of(
            Compared::NotPossible,
            format!("they have changed since, and version {} of them is no longer kept", decided.version),
        );
    };
    if let Some(gone) = named(&decided.decision).into_iter().find(|id| channels.repeat(*id).is_none()) {
        return Recomputed::of(Compared::NotPossible, format!("{} is not set up any more", channels.name(gone)));
    }
    let candidates = blocked_as(left_out(&decided.decision), channels.candidates());
    let once_more = |told| decide(&recipient.broadcast, then, told, &candidates, &BTreeSet::new(), *at);
    let today = once_more(recipient.told);
    if same(&decided.decision, &today) {
        return Recomputed::equal();
    }
    if same(&decided.decision, &once_more(!recipient.told)) {
        let why = match recipient.told {
            true => "what reached them earlier was not known when it was decided",
            false => "what was thought to have reached them earlier is known not to have",
        };
        return Recomputed::of(Compared::Equal, why);
    }
    let chosen: Vec<ChannelId> = decided.decision.ways().iter().map(|way| way.channel).collect();
    let weighed = candidates
        .iter()
        .cloned()
        .map(|candidate| Candidate { weight: u32::from(chosen.contains(&candidate.id)), ..candidate });
    let weighed: Vec<Candidate> = weighed.collect();
    if [recipient.told, !recipient.told].iter().any(|told| {
        same(&decided.decision, &decide(&recipient.broadcast, then, *told, &weighed, &BTreeSet::new(), *at))
    }) {
        return Recomputed::of(
            Compared::Equal,
            "the channels of one kind had other weights then than they are set up with",
        );
    }
    if matches!(&decided.decision, Decision::Waits(left_out) if left_out.is_empty()) && !quiet(recipient, then, *at) {
        return Recomputed::of(Compared::NotPossible, "what stood in their way then was not written down");
    }
    Recomputed::of(
        Compared::Differs,
        format!("decided today, for them as they were, it would be: {}", in_short(&today, recipient, channels)),
    )
}

/// Whether they wanted quiet when it was decided.
pub fn quiet(recipient: &Recipient, then: &Subscriber, at: Time) -> bool {
    quiet_until(recipient.broadcast.priority, then, at).is_some()
}

/// Words that do not render are found out after the ways were chosen.
fn same(recorded: &Decision, again: &Decision) -> bool {
    match recorded {
        Decision::Omitted(Omission::NoWords) => matches!(again, Decision::Ways(..)),
        recorded => recorded == again,
    }
}

pub fn left_out(decision: &Decision) -> &[LeftOut] {
    match decision {
        Decision::Ways(_, left_out) | Decision::Waits(left_out) => left_out,
        Decision::Omitted(_) => &[],
    }
}

fn named(decision: &Decision) -> BTreeSet<ChannelId> {
    let left_out = left_out(decision).iter().map(|left| left.way.channel);
    decision.ways().iter().map(|way| way.channel).chain(left_out).collect()
}

/// The channels in the state that the decision says they had.
fn blocked_as(left_out: &[LeftOut], candidates: Vec<Candidate>) -> Vec<Candidate> {
    let of_channels = |left: &&LeftOut| {
        matches!(left.why, Blocked::PlatformDown | Blocked::BreakerOpen | Blocked::Paused | Blocked::NoWords)
    };
    let blocked: BTreeMap<ChannelId, Blocked> =
        left_out.iter().filter(of_channels).map(|left| (left.way.channel, left.why)).collect();
    let mut candidates = candidates;
    candidates.iter_mut().for_each(|candidate| candidate.blocked = blocked.get(&candidate.id).copied());
    candidates
}

fn in_short(decision: &Decision, recipient: &Recipient, channels: &Channels) -> String {
    match decision {
        Decision::Omitted(omission) => format!("left out, {}", omission.word().replace('_', " ")),
        Decision::Waits(_) => "to wait".into(),
        Decision::Ways(ways, _) => {
            let ways: Vec<String> = ways.iter().map(|way| channels.way(recipient, *way)).collect();
            format!("by {}", ways.join(" and "))
        }
    }
}

pub fn shown(recipient: &Recipient, channels: &Channels, recomputed: &Recomputed) -> Option<Value> {
    let (at, Decided { version, decision, .. }) = recipient.decided.as_ref()?;
    let way = |way: &Way| {
        let kind = super::channels::address(recipient, way.place).map(|address| &address.kind);
        json!({ "place": way.place, "kind": kind, "channel": channels.name(way.channel) })
    };
    let left_out = left_out(decision).iter().map(|left| {
        let mut shown = way(&left.way);
        shown["why"] = json!(left.why);
        shown
    });
    let (what, omission) = match decision {
        Decision::Omitted(omission) => ("left_out", Some(*omission)),
        Decision::Waits(_) => ("waits", None),
        Decision::Ways(..) => ("selected", None),
    };
    Some(json!({
        "at": at, "version": version, "what": what, "why": omission,
        "ways": decision.ways().iter().map(way).collect::<Vec<_>>(), "left_out": left_out.collect::<Vec<_>>(),
        "recomputed": recomputed.result, "recomputed_why": recomputed.why,
    }))
}
