//! Promise 1. Nothing accepted is lost; every recipient ends as exactly one thing; being unable to send is waiting, not an end.

use std::collections::BTreeMap;
use std::time::Duration;

use loudhailer::id::{BroadcastId, SubscriberId};
use loudhailer::incident::Mode;
use loudhailer::store::{Broadcast, BroadcastState, Counts, Decision, DeliveryState};

use super::Found;
use super::evidence::Evidence;
use crate::simulation::life::PAGE;
use crate::store::noted;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for (id, today, answered) in &evidence.events {
        let same = today
            .as_ref()
            .is_some_and(|today| (today.update, &today.broadcasts) == (answered.update, &answered.broadcasts));
        found.holds(1, same, || format!("event {id} was answered {answered:?}, and is {today:?}"));
    }
    for seen in &evidence.attempts {
        let row = seen.delivery.is_some_and(|id| evidence.rows.contains_key(&id));
        found.holds(1, row, || format!("{} was tried at {:?} and has no row", seen.id, seen.at));
        let decided = seen.delivery.and_then(|id| evidence.decided.get(&(id.broadcast, id.subscriber)));
        let first = decided.is_none_or(|(at, _)| *at <= seen.at + Duration::from_millis(2) + evidence.known.slack());
        found.holds(1, first, || format!("{} begins at {:?}, and was decided later: {decided:?}", seen.id, seen.at));
    }
    for broadcast in evidence.broadcasts.values().filter(|broadcast| broadcast.released.is_some()) {
        everyone(evidence, found, broadcast);
        ends(evidence, found, broadcast);
    }
    let mut in_shard: BTreeMap<(BroadcastId, u8), usize> = BTreeMap::new();
    for (broadcast, who) in evidence.decided.keys() {
        *in_shard.entry((*broadcast, who.shard())).or_default() += 1;
    }
    found.varied[5] += in_shard.values().map(|members| members.saturating_sub(PAGE) as u64).sum::<u64>();
    for broadcast in evidence.known.stuck.iter().chain(&evidence.live) {
        let id = broadcast.id;
        found.holds(1, false, || {
            let (state, counts, shards) = (broadcast.state, evidence.counts.get(&id), broadcast.shards);
            format!("{id} is {state} long after everything was calm: {counts:?}, shards {shards:#x} to read")
        });
    }
    for refused in &evidence.known.fenced {
        found.holds(1, *refused, || "a decision of an owner that had lost its shards was accepted".into());
    }
}

/// Whoever belonged to the audience all the time is decided in a broadcast that is done.
fn everyone(evidence: &Evidence<'_>, found: &mut Found, broadcast: &Broadcast) {
    if broadcast.state != BroadcastState::Done {
        return;
    }
    let always = |who: &SubscriberId| !evidence.known.touched.contains(who);
    for person in evidence.people.iter().filter(|person| always(&person.id)) {
        if person.wanted.audiences.contains(&broadcast.audience) {
            let decided = evidence.decided.contains_key(&(broadcast.id, person.id));
            found.holds(1, decided, || format!("{} is done, and {} was never decided", broadcast.id, person.id));
        }
    }
}

/// The counts are those of the rows, and a broadcast that is done has given nobody up.
fn ends(evidence: &Evidence<'_>, found: &mut Found, broadcast: &Broadcast) {
    let id = broadcast.id;
    let mut best: BTreeMap<SubscriberId, DeliveryState> = BTreeMap::new();
    let from = loudhailer::id::DeliveryId { broadcast: id, subscriber: SubscriberId(0), place: 0 };
    for row in evidence.rows.range(from..).map(|(_, row)| row).take_while(|row| row.id.broadcast == id) {
        let known = best.entry(row.id.subscriber).or_insert(row.state);
        *known = (*known).max(row.state);
    }
    let counted = evidence.counts.get(&id).copied().unwrap_or_default();
    let recounted = recount(evidence, id, &best);
    let every = [
        (counted.selected, recounted.selected),
        (counted.told, recounted.told),
        (counted.unknown, recounted.unknown),
        (counted.unreachable, recounted.unreachable),
        (counted.skipped, recounted.skipped),
    ];
    // Who still had a way to go when the broadcast ended has ended with it, whatever came of other ways.
    let compared = if broadcast.state == BroadcastState::Done { &every[..] } else { &every[..1] };
    found.holds(1, compared.iter().all(|(said, is)| said == is), || {
        format!("{id} ({}) counts {counted:?}, and its rows are {recounted:?}", broadcast.state)
    });
    let followed = noted::counted(&evidence.followed, id, counted.selected);
    found.holds(1, followed == counted, || format!("{id} counts {counted:?}, and the journal says {followed:?}"));
    match broadcast.state {
        BroadcastState::Done => {
            found.holds(1, counted.open() == 0 && broadcast.shards == 0, || format!("{id} is done with {counted:?}"));
            let given_up = |who: &SubscriberId, state: &DeliveryState| match state {
                DeliveryState::Superseded | DeliveryState::Expired => true,
                // Who has left, or was told by nobody before.
                DeliveryState::Cancelled => !evidence.known.touched.contains(who) && !asks_who_was_told(broadcast),
                _ => false,
            };
            let lost = best.iter().find(|(who, state)| given_up(who, state));
            found.holds(1, lost.is_none(), || format!("{id} is done, and gave up {lost:?}"));
        }
        BroadcastState::Expired if broadcast.selection.mode == Mode::Real => {
            found.holds(1, false, || {
                format!(
                    "{id} has expired, though every way was open for hours: {counted:?}, shards {:#x} to read, rows {best:?}",
                    broadcast.shards
                )
            });
        }
        _ => {}
    }
}

/// Whether it is only for those whom an earlier one told, or did not.
fn asks_who_was_told(broadcast: &Broadcast) -> bool {
    let selection = &broadcast.selection;
    selection.only_if_told || !selection.told_by.is_empty() || !selection.untold_by.is_empty()
}

fn recount(evidence: &Evidence<'_>, id: BroadcastId, best: &BTreeMap<SubscriberId, DeliveryState>) -> Counts {
    let mut counts = Counts::default();
    let decided = evidence.decided.range((id, SubscriberId(0))..).take_while(|((of, _), _)| *of == id);
    for ((_, who), (_, decision)) in decided {
        counts.selected += 1;
        match (decision, best.get(who)) {
            (Decision::Omitted(omission), _) if omission.unreachable() => counts.unreachable += 1,
            (Decision::Omitted(_), _) => counts.skipped += 1,
            (_, Some(DeliveryState::Told)) => counts.told += 1,
            (_, Some(DeliveryState::Unknown)) => counts.unknown += 1,
            (_, Some(DeliveryState::Rejected)) => counts.unreachable += 1,
            _ => {}
        }
    }
    counts
}
