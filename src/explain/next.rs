//! How a person has ended in a broadcast, and if they have not, what comes next.

use serde::Serialize;

use super::{Channels, Ended, released};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::incident::words;
use crate::plan::Held;
use crate::store::{
    Broadcast, BroadcastState, CONFIRMS, Decision, DeliveryRow, DeliveryState, QUIET, Recipient, UNDECIDED,
};

words!(
    /// What somebody waits for.
    What {
        Approval = "approval", Release = "release", Resumption = "resumption", Decision = "decision", Quiet = "quiet_hours_end",
        Way = "way", Attempt = "attempt", Retry = "retry", Confirmation = "confirmation",
    }
);

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Next {
    /// Of which address; 0: of the recipient as a whole.
    pub place: u16,
    pub what: What,
    /// When it is due; null: as soon as it may.
    pub at: Option<Time>,
    pub channel: Option<String>,
    pub says: String,
}

pub fn ended(recipient: &Recipient, who: SubscriberId) -> Ended {
    let broadcast = &recipient.broadcast;
    let decision = recipient.decided.as_ref().map(|(_, decided)| &decided.decision);
    match decision {
        None if is_unread(recipient, who) => with(broadcast),
        None => Ended::NotSelected,
        // One who was reached and bounced, or was sent to again, has rows; nobody else who was left out has.
        Some(Decision::Omitted(omission)) if omission.unreachable() => Ended::Unreachable,
        Some(Decision::Omitted(_)) => Ended::Skipped,
        Some(Decision::Ways(..) | Decision::Waits(_)) => {
            // Who is told stays told, whatever else is under way.
            let told = |row: &DeliveryRow| row.state == DeliveryState::Told || is_unconfirmed(row);
            if recipient.rows.iter().any(told) {
                return Ended::Told;
            }
            let states = recipient.rows.iter().map(|row| row.state);
            let open = recipient.rows.iter().any(|row| row.state == DeliveryState::Open);
            match states.max().filter(|_| !open) {
                None | Some(DeliveryState::Open | DeliveryState::Moved) => with(broadcast),
                Some(DeliveryState::Expired) => Ended::Expired,
                Some(DeliveryState::Cancelled) => Ended::Cancelled,
                Some(DeliveryState::Superseded) => Ended::Superseded,
                Some(DeliveryState::Rejected) => Ended::Unreachable,
                Some(DeliveryState::Unknown) => Ended::Unknown,
                Some(DeliveryState::Told) => Ended::Told,
            }
        }
    }
}

/// No receipt came in time: marked, and the next route was taken, too.
pub fn is_unconfirmed(row: &DeliveryRow) -> bool {
    row.receipt.as_deref() == Some("unconfirmed")
}

/// Who is still to be told when a broadcast ends, ends as it does.
fn with(broadcast: &Broadcast) -> Ended {
    match broadcast.state {
        BroadcastState::Held | BroadcastState::Running | BroadcastState::Paused => Ended::Open,
        BroadcastState::Done | BroadcastState::Cancelled => Ended::Cancelled,
        BroadcastState::Superseded => Ended::Superseded,
        BroadcastState::Expired => Ended::Expired,
    }
}

/// A member, since before the release, whose page has not been read.
pub fn is_unread(recipient: &Recipient, who: SubscriberId) -> bool {
    let broadcast = &recipient.broadcast;
    let in_time = recipient.member_since.is_some_and(|since| since <= released(recipient));
    let paged = broadcast.progress.get(&who.shard()).is_some_and(|cursor| cursor.after >= who.0);
    in_time && broadcast.shards & 1 << who.shard() != 0 && !paged
}

pub fn next(recipient: &Recipient, channels: &Channels) -> Vec<Next> {
    let broadcast = &recipient.broadcast;
    let who = recipient.today.as_ref().or(recipient.then.as_ref()).map(|subscriber| subscriber.id);
    let under_way =
        |row: &DeliveryRow| broadcast.state.live() && (row.state == DeliveryState::Open || row.lane == CONFIRMS);
    if who.is_none_or(|who| ended(recipient, who) != Ended::Open) && !recipient.rows.iter().any(under_way) {
        return Vec::new();
    }
    let whole = |what, at, says: String| vec![Next { place: 0, what, at, channel: None, says }];
    match (broadcast.state, broadcast.held) {
        (BroadcastState::Held, Held::Approval) => {
            return whole(What::Approval, None, "somebody releases the broadcast, or does not".into());
        }
        (BroadcastState::Held, Held::Until(due)) => {
            return whole(What::Release, Some(due), format!("the broadcast is released at {due}"));
        }
        (BroadcastState::Held, Held::Not) => {
            return whole(What::Release, None, "the broadcast is released".into());
        }
        (BroadcastState::Paused, _) => {
            return whole(
                What::Resumption,
                None,
                "the broadcast is paused; it goes on when somebody resumes it".into(),
            );
        }
        _ => {}
    }
    let open: Vec<&DeliveryRow> = recipient.rows.iter().filter(|row| under_way(row)).collect();
    if !open.is_empty() {
        return open.into_iter().map(|row| of_row(recipient, row, channels)).collect();
    }
    let Some((_, decided)) = &recipient.decided else {
        return whole(What::Decision, None, "their page is read, and it is decided who is told and how".into());
    };
    // One way whose lane had room: it lives in memory alone until there is an answer.
    decided.decision.ways().iter().map(|way| attempt(way.place, way.channel, None, 0, channels)).collect()
}

fn of_row(recipient: &Recipient, row: &DeliveryRow, channels: &Channels) -> Next {
    let broadcast = &recipient.broadcast;
    if row.lane == CONFIRMS {
        let says = format!(
            "a receipt of {} is waited for until {}, else the next route is taken, too",
            channels.name(row.channel),
            row.due
        );
        let channel = Some(channels.name(row.channel));
        return Next { place: row.id.place, what: What::Confirmation, at: Some(row.due), channel, says };
    }
    if row.lane != UNDECIDED && row.lane != QUIET {
        return attempt(row.id.place, row.lane, Some(row.due), row.tries, channels);
    }
    let (what, says) = if row.lane == QUIET {
        (What::Quiet, format!("their quiet hours end at {}; then it is decided again which way", row.due))
    } else if row.due >= broadcast.deadline {
        (What::Way, format!("a way that is open to them works again; none does now. It ends at {}", broadcast.deadline))
    } else {
        (What::Decision, format!("it is decided again which way, due {}", row.due))
    };
    Next { place: row.id.place, what, at: Some(row.due), channel: None, says }
}

fn attempt(place: u16, by: ChannelId, due: Option<Time>, tries: u32, channels: &Channels) -> Next {
    let name = channels.name(by);
    let when = due.map_or(String::from("as soon as its turn comes"), |due| format!("due {due}"));
    let (what, says) = match tries {
        0 => (What::Attempt, format!("it is sent by {name}, {when}")),
        1 => (What::Retry, format!("it is tried again by {name}, {when}, after 1 try")),
        _ => (What::Retry, format!("it is tried again by {name}, {when}, after {tries} tries")),
    };
    Next { place, what, at: due, channel: Some(name), says }
}
