//! The explanation in plain sentences.

use super::next::{is_unconfirmed, is_unread};
use super::{Channels, Compared, Recomputed, Try, channels, decision, released};
use crate::audience::{self, Omission, Subscriber};
use crate::id::SubscriberId;
use crate::store::PERHAPS;
use crate::store::{Decision, DeliveryRow, DeliveryState, Recipient};

/// What the broadcast is.
pub fn broadcast(recipient: &Recipient) -> String {
    let of = &recipient.broadcast;
    let routes: Vec<String> = of.step.routes.iter().map(|route| route.clone().into()).collect();
    format!(
        "{} tells {} of update {} of {} (step {}/{}, {}), by {}; it is {}.",
        of.id,
        of.audience,
        of.number,
        of.incident_key,
        of.plan,
        of.step.name,
        of.priority,
        routes.join(", then "),
        of.state
    )
}

/// What was decided for them, in one sentence.
pub fn because(recipient: &Recipient, channels: &Channels, who: SubscriberId) -> String {
    let Some((at, decided)) = &recipient.decided else { return undecided(recipient, who) };
    let what = match &decided.decision {
        Decision::Omitted(omission) => {
            let verb = if omission.unreachable() { "could not be told" } else { "was left out" };
            let why = omitted(*omission, recipient).map(|why| format!(": {why}")).unwrap_or_default();
            format!("{verb}: {}{why}", word(*omission))
        }
        Decision::Waits(_) => match recipient.then.as_ref().is_some_and(|then| decision::quiet(recipient, then, *at)) {
            true => "was selected and has to wait: it was within their quiet hours".into(),
            false => "was selected and has to wait: no way to them worked".into(),
        },
        Decision::Ways(ways, _) => {
            let ways: Vec<String> = ways.iter().map(|way| channels.way(recipient, *way)).collect();
            format!("was selected, by {}", ways.join(" and "))
        }
    };
    format!("{who} {what}; decided {at} for version {} of them", decided.version)
}

fn word(omission: Omission) -> String {
    omission.word().replace('_', " ")
}

fn undecided(recipient: &Recipient, who: SubscriberId) -> String {
    let of = &recipient.broadcast;
    match recipient.member_since {
        None => format!("{who} was not selected: not a member of {}, whom the broadcast is for", of.audience),
        Some(since) if since > released(recipient) => {
            format!("{who} was not selected: in {} since {since}, after the broadcast was released", of.audience)
        }
        Some(_) if is_unread(recipient, who) && of.state.live() => {
            format!("nothing is decided for {who} yet: the broadcast is {}", of.state)
        }
        Some(_) if is_unread(recipient, who) => {
            let by = recipient.newer.map(|newer| format!(" by {newer}")).unwrap_or_default();
            format!("nothing was decided for {who}: the broadcast was {}{by} before their page was read", of.state)
        }
        Some(_) => format!("{who} was not selected: no member of {} when its members were read", of.audience),
    }
}

/// What exactly kept them out.
fn omitted(omission: Omission, recipient: &Recipient) -> Option<String> {
    let selection = &recipient.broadcast.selection;
    let then = recipient.then.as_ref()?;
    let list = |words: &std::collections::BTreeSet<String>| match words.is_empty() {
        true => String::from("all"),
        false => words.iter().cloned().collect::<Vec<_>>().join(" "),
    };
    Some(match omission {
        Omission::NotInterested => format!(
            "it is about {} in {}, and they asked for {} in {}",
            list(&selection.components),
            list(&selection.regions),
            list(&then.components),
            list(&then.regions)
        ),
        Omission::BelowSeverity => {
            format!("it is {}, and they asked for {} and more", selection.severity, then.severity)
        }
        Omission::ToldElsewhere => match audience::owner(selection, then) {
            Some(owner) => {
                let by = recipient.beside.iter().find(|(_, audience)| *audience == owner.audience);
                let by = by.map(|(id, _)| format!(", by {id}")).unwrap_or_default();
                format!("they are told as one of {}{by}", owner.audience)
            }
            None => "an earlier message about this had told them already".into(),
        },
        Omission::NotTold => "no earlier message that this one follows had reached them".into(),
        Omission::NoAddress => {
            let kinds: Vec<&str> = then.addresses.iter().map(|address| address.kind.as_str()).collect();
            match kinds.is_empty() {
                true => "they have none".into(),
                false => format!("they have {} only", kinds.join(" and ")),
            }
        }
        Omission::Unverified => format!("{} not confirmed", unusable(then, |address| !address.verified)),
        Omission::Suppressed => format!("{} suppressed", unusable(then, |address| address.suppressed)),
        Omission::NotEnrolled | Omission::Withdrawn | Omission::NotListed | Omission::Rejected | Omission::NoWords => {
            return None;
        }
    })
}

fn unusable(then: &Subscriber, which: impl Fn(&audience::Address) -> bool) -> String {
    let places: Vec<String> = then
        .addresses
        .iter()
        .filter(|address| which(address))
        .map(|address| format!("{}, place {}", address.kind, address.place))
        .collect();
    format!("{} {}", places.join("; "), if places.len() == 1 { "is" } else { "are" })
}

/// Why they are among those meant, where they are.
pub fn selection(recipient: &Recipient) -> Option<String> {
    let (_, decided) = recipient.decided.as_ref()?;
    if matches!(decided.decision, Decision::Omitted(omission) if !omission.unreachable()) {
        return None;
    }
    let of = &recipient.broadcast;
    let selection = &of.selection;
    let meant = if !selection.listed.is_empty() {
        "one of their addresses is named in it"
    } else if !selection.told_by.is_empty() {
        "the message that it corrects reached them, or may have"
    } else if selection.only_if_told {
        "an earlier message about this reached them, or may have"
    } else if !selection.untold_by.is_empty() {
        "the message that it corrects had not reached them"
    } else {
        "its components, regions and severity are among those that they asked for"
    };
    Some(format!("They are in {}, and {meant}.", of.audience))
}

/// The ways not taken, with the reason of each.
pub fn left_out(recipient: &Recipient, channels: &Channels) -> Vec<String> {
    let decided = recipient.decided.iter().flat_map(|(_, decided)| decision::left_out(&decided.decision));
    decided
        .map(|left| format!("Not by {}: {}.", channels.way(recipient, left.way), left.why.word().replace('_', " ")))
        .collect()
}

pub fn recomputed(recomputed: &Recomputed) -> String {
    let why = recomputed.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match recomputed.result {
        Compared::Equal => format!("Decided once more from what is stored, it comes out the same{why}."),
        Compared::NothingRecorded => "There is no decision to compare with.".into(),
        Compared::NotPossible => format!("It can't be decided once more{why}."),
        Compared::Differs => format!("Decided once more, it DIFFERS{why}."),
    }
}

pub fn delivery(recipient: &Recipient, row: &DeliveryRow, channels: &Channels) -> String {
    let kind = channels::address(recipient, row.id.place).map_or("an address that is gone", |a| a.kind.as_str());
    let tries = match row.tries {
        1 => "1 try".into(),
        tries => format!("{tries} tries"),
    };
    let mut line = format!("Place {} ({kind}) by {}: {}", row.id.place, channels.name(row.channel), row.state);
    match row.state {
        DeliveryState::Open => line.push_str(&format!(" after {tries}")),
        DeliveryState::Superseded if recipient.newer.is_some() => {
            let by = recipient.newer.map(|newer| newer.to_string()).unwrap_or_default();
            line.push_str(&format!(" by {by} at {} after {tries}", row.ended));
        }
        _ => line.push_str(&format!(" at {} after {tries}", row.ended)),
    }
    match &row.receipt {
        Some(_) if is_unconfirmed(row) => line.push_str("; no receipt came in time"),
        Some(receipt) => line.push_str(&format!("; the platform reported: {receipt}")),
        None => {}
    }
    line.push('.');
    line
}

pub fn attempt(one: &Try) -> String {
    if one.outcome == "replayed" || one.outcome == PERHAPS {
        return format!("{} {}", one.began, one.then);
    }
    let fault = one.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
    let detail = one.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let mut line = format!(
        "{} try {} by {}: {}{fault}{detail}. Then: {}",
        one.began, one.number, one.channel, one.outcome, one.then
    );
    if let (Compared::Differs | Compared::NotPossible, Some(why)) = (one.recomputed.result, &one.recomputed.why) {
        line.push_str(&format!(". {}: {why}", one.recomputed.result.word().replace('_', " ")));
    }
    line
}
