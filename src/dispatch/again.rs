//! Open rows that are due, decided afresh: retries, quiet hours that end, lanes that were full, ways that were down or said no.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decide::{chance, quiet_until};
use super::live::{Delivery, Live};
use super::page::{delivery, down, enter, open_row};
use super::recovery::CUT_OFF;
use super::wordings::{Wordings, without};
use super::{Engine, confirm, follow, lock, recorder};
use crate::audience::route::{Candidate, ChannelId, Routed, Tried, Way, route};
use crate::audience::{Subscriber, select};
use crate::channel::Repeat;
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{BroadcastId, DeliveryId};
use crate::plan::Priority;
use crate::store::{Again, BroadcastState, DeliveryState, Fact, OpenRow, QUIET, UNDECIDED};

/// Open rows decided at one time.
const ROWS: usize = 512;

/// Reads open rows that are due and decides them afresh. False where there was none.
pub(super) async fn rows(
    engine: &Arc<Engine>,
    lane: ChannelId,
    priority: Priority,
    now: Time,
) -> crate::store::Result<bool> {
    // Hint and claims are taken before the store is asked. What is hinted meanwhile stays; and a row that is read open while its
    // attempt ends was claimed here, whatever the recorder has released since: it is not sent again.
    lock(&engine.hints).remove(&(priority, lane));
    let claimed = lock(&engine.claimed).clone();
    let room = engine.lanes.get(&lane).map_or(ROWS, |lane| lane.room(priority).min(ROWS));
    let limit = room + claimed.len();
    let read = async {
        let found = engine.store.due(lane, priority, now, limit).await?;
        crate::store::Result::Ok((found, engine.store.next_due(lane, priority, now).await?))
    };
    let (found, next) = read.await.inspect_err(|_| engine.hint(priority, lane, now))?;
    let full = found.len() == limit;
    let under_way = |row: &OpenRow| claimed.contains(&row.delivery) && !fault::on(Fault::ClaimsIgnored);
    let ours = |row: &OpenRow| engine.adopted(row.delivery.subscriber.shard()).is_some();
    let mut due: Vec<_> = found.into_iter().filter(|row| ours(row) && !under_way(row)).collect();
    // Not every claim is a row of this lane: more may have been found than there is room for.
    let more = full || due.len() > room.max(1);
    due.truncate(room.max(1));
    if more && !due.is_empty() {
        engine.hint(priority, lane, now);
    } else if let Some(next) = next {
        engine.hint(priority, lane, next);
    }
    if due.is_empty() {
        return Ok(false);
    }
    let mut by_broadcast: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in due {
        by_broadcast.entry(row.delivery.broadcast).or_default().push(row);
    }
    for (id, rows) in by_broadcast {
        // What the store could not take is still there, open and due.
        of_one(engine, id, rows).await.inspect_err(|_| engine.hint(priority, lane, now))?;
    }
    Ok(true)
}

async fn of_one(engine: &Arc<Engine>, id: BroadcastId, rows: Vec<OpenRow>) -> crate::store::Result<()> {
    if let Some(live) = engine.live(id) {
        return again(engine, &live, rows).await;
    }
    let broadcast = engine.store.broadcast(id).await?;
    let state = broadcast.map_or(BroadcastState::Cancelled, |broadcast| broadcast.state);
    if !state.live() {
        return over(engine, id, state, rows).await.map(drop);
    }
    // It was done, a bounce has just opened somebody again, and nobody has taken it up yet.
    engine.take_up_again(id).await?;
    if engine.live(id).is_none() {
        return over(engine, id, BroadcastState::Superseded, rows).await.map(drop);
    }
    rows.iter().for_each(|row| engine.hint(row.priority, row.lane, row.due));
    Ok(())
}

fn past_deadline(engine: &Engine, live: &Live) -> bool {
    engine.clock.calendar() >= live.broadcast.deadline
}

/// Rows of a broadcast that has ended derive their state from it, and leave the index of open rows. Answers how many
/// recipients have ended by it.
async fn over(
    engine: &Engine,
    id: BroadcastId,
    ended: BroadcastState,
    rows: Vec<OpenRow>,
) -> crate::store::Result<i64> {
    let state = match ended {
        BroadcastState::Superseded => DeliveryState::Superseded,
        BroadcastState::Expired => DeliveryState::Expired,
        _ => DeliveryState::Cancelled,
    };
    let at = engine.clock.calendar();
    let facts = rows
        .into_iter()
        .map(|row| Fact {
            delivery: row.delivery,
            // Nobody knows whether it had begun.
            state: if row.perhaps { DeliveryState::Unknown } else { state },
            channel: row.channel,
            began: at,
            ended: at,
            tries: row.tries,
            detail: row.perhaps.then(|| CUT_OFF.into()),
            reference: None,
            indexed: false,
            priority: row.priority,
            lane: row.lane,
            due: row.due,
            attempt: None,
            fault: None,
            sole: None,
            suppress: false,
            reopens: false,
            entered: None,
            perhaps: None,
        })
        .collect();
    let ended = engine.store.record(Arc::new(facts), Vec::new()).await?.ended;
    Ok(ended.get(&id).copied().unwrap_or(0))
}

async fn again(engine: &Arc<Engine>, live: &Arc<Live>, rows: Vec<OpenRow>) -> crate::store::Result<()> {
    let ways = engine.ways();
    if past_deadline(engine, live) {
        // The ticker is about to end the broadcast; its open rows end so, too.
        return over(engine, live.broadcast.id, BroadcastState::Expired, rows).await.map(|ended| live.ended(ended));
    }
    if live.state() != BroadcastState::Running {
        // Paused: woken when it resumes.
        let until = engine.clock.steady_at(live.broadcast.deadline);
        let at = engine.clock.calendar();
        let facts = rows.iter().map(|row| {
            let DeliveryId { subscriber, place, .. } = row.delivery;
            let waits = open_row(live, subscriber, place, row.channel, UNDECIDED, until, at);
            Fact { tries: row.tries, perhaps: row.perhaps.then_some(row.channel), ..waits }
        });
        engine.store.record(Arc::new(facts.collect()), Vec::new()).await?;
        engine.waits_written(ways);
        return Ok(());
    }
    let overflows = lock(&engine.changed).overflows;
    let confirmations = lock(&live.confirmed).count();
    let candidates = engine.candidates();
    let down = down(engine, live);
    let mut wordings = Wordings::default();
    let mut room: BTreeMap<ChannelId, usize> =
        engine.lanes.iter().map(|(id, lane)| (*id, lane.room(live.broadcast.priority))).collect();
    let (mut facts, mut deliveries) = (Vec::new(), BTreeMap::<ChannelId, Vec<Delivery>>::new());
    for mut found in engine.store.again(&live.broadcast, rows).await? {
        let (place, way) = (found.row.delivery.place, found.row.channel);
        let mut own = Cow::Borrowed(&candidates[..]);
        let (decision, tries) = loop {
            let (decision, tries) = afresh(engine, live, &found, &own, &down);
            let (Afresh::Ways(ways), Some(subscriber)) = (&decision, &found.subscriber) else {
                break (decision, tries);
            };
            match wordings.missing(engine, live, subscriber, ways).await {
                // Where the message does not render in the format of a way, the next way is theirs.
                Some(channel) => without(own.to_mut(), channel),
                None => break (decision, tries),
            }
        };
        let at = engine.clock.calendar();
        let row =
            |place, channel, lane, due| open_row(live, found.row.delivery.subscriber, place, channel, lane, due, at);
        let faulted = found.fault(place);
        let (tried, perhaps) = (found.row.tries, found.row.perhaps.then_some(found.row.channel));
        let ended = |state| {
            let fact = row(place, found.row.channel, found.row.lane, found.row.due);
            Fact { state, tries: tried, perhaps, fault: faulted.filter(|_| state == DeliveryState::Rejected), ..fact }
        };
        match decision {
            Afresh::End(state) => facts.push(ended(state)),
            Afresh::Wait(lane, due) => {
                facts.push(Fact { tries: tried, perhaps, ..row(place, way, lane, due) });
            }
            Afresh::Ways(ways) => {
                let Some(subscriber) = &mut found.subscriber else { continue };
                let stays = ways.iter().any(|way| way.place == place);
                for way in ways {
                    let Some(lane) = engine.lanes.get(&way.channel) else { continue };
                    let Some(message) = wordings.of(engine, live, subscriber, lane).await else { continue };
                    let free = room.entry(way.channel).or_default();
                    let has_room = *free > 0;
                    *free = free.saturating_sub(1);
                    let own = way.place == place;
                    let tries = if own { tried } else { 0 };
                    let enters = has_room
                        .then(|| delivery(engine, live, subscriber, way, message, at, overflows, tries, None))
                        .flatten();
                    let same = own && way.channel == found.row.channel && found.row.lane == way.channel;
                    if !same || enters.is_some() {
                        facts.push(Fact {
                            tries,
                            reopens: !own,
                            entered: enters.as_ref().map(|delivery| delivery.epoch),
                            perhaps: perhaps.filter(|_| own),
                            ..row(way.place, way.channel, way.channel, engine.clock.steady())
                        });
                    }
                    if let Some(mut delivery) = enters {
                        delivery.confirmations = Some(confirmations);
                        deliveries.entry(way.channel).or_default().push(delivery);
                    }
                }
                if !stays {
                    facts.push(ended(if place == 0 { DeliveryState::Moved } else { tries }));
                }
            }
        }
    }
    for (channel, deliveries) in &mut deliveries {
        follow::look_up(engine, &live.broadcast, *channel, deliveries).await?;
    }
    let hints: Vec<(ChannelId, Time)> =
        facts.iter().filter(|fact| waits(fact)).map(|fact| (fact.lane, fact.due)).collect();
    let unwritten = wordings.unwritten();
    if !unwritten.is_empty() {
        engine.store.word(unwritten).await?;
    }
    wordings.written(live);
    if !facts.is_empty() {
        let ended = engine.store.record(Arc::new(facts), Vec::new()).await?.ended;
        for recipients in ended.values() {
            live.ended(*recipients);
        }
        for (lane, due) in hints {
            engine.hint(live.broadcast.priority, lane, due);
        }
        engine.waits_written(ways);
    }
    enter(engine, deliveries);
    recorder::finish(engine, live).await;
    engine.recorded.notify_waiters();
    Ok(())
}

/// What is open and in no lane is looked for when it is due.
pub(super) fn waits(fact: &Fact) -> bool {
    fact.state == DeliveryState::Open && fact.entered.is_none()
}

enum Afresh {
    Ways(Vec<Way>),
    /// In that lane until then.
    Wait(ChannelId, Time),
    End(DeliveryState),
}

/// Decides one open row afresh, and what its own place ends as if the way leads elsewhere.
fn afresh(
    engine: &Engine,
    live: &Live,
    found: &Again,
    candidates: &[Candidate],
    down: &BTreeSet<String>,
) -> (Afresh, DeliveryState) {
    let place = found.row.delivery.place;
    let mut tried: Vec<Tried> = Vec::new();
    let mut left = DeliveryState::Moved;
    for attempt in &found.attempts {
        let way = Way { place: attempt.place, channel: attempt.channel };
        if attempt.outcome == "replayed" {
            // A person wants it sent again, whatever came of it before.
            tried.retain(|tried| tried.way.place != attempt.place);
            left = if attempt.place == place { DeliveryState::Moved } else { left };
            continue;
        }
        if attempt.gone() {
            continue; // the same way again, as a message of its own
        }
        let unsafe_repeat = engine.lanes.get(&way.channel).is_none_or(|lane| lane.settings.repeat == Repeat::Unsafe);
        let at = match tried.iter().position(|tried| tried.way == way) {
            Some(at) => at,
            None => {
                tried.push(Tried { way, rejected: false, deferrals: 0, served: false });
                tried.len() - 1
            }
        };
        match attempt.outcome.as_str() {
            "rejected" if attempt.fault.as_deref() == Some("channel") => {}
            "rejected" | "unconfirmed" => tried[at].rejected = true,
            "unknown" if unsafe_repeat && !fault::on(Fault::UnknownRepeated) => tried[at].rejected = true,
            // Where a known id is dropped, an unknown is repeated like a deferral, and as seldom.
            "deferred" | "unknown" => tried[at].deferrals += 1,
            _ => {}
        }
        if attempt.place == place {
            left = match attempt.outcome.as_str() {
                "unknown" => DeliveryState::Unknown,
                "rejected" => DeliveryState::Rejected,
                _ => left,
            };
        }
    }
    let routes = &live.broadcast.step.routes[..];
    let named = |id| engine.lanes.get(&id).map(|lane| (&*lane.settings.name, &*lane.settings.kind));
    let unconfirmed = found.attempts.iter().filter(|attempt| attempt.outcome == "unconfirmed");
    let unconfirmed: Vec<(&str, &str)> = unconfirmed.filter_map(|attempt| named(attempt.channel)).collect();
    let own = named(found.row.channel).filter(|_| place != 0);
    let asked = confirm::left(routes, &unconfirmed, own);
    let lapsed = |way: Way| {
        found.attempts.iter().any(|a| a.outcome == "unconfirmed" && way == Way { place: a.place, channel: a.channel })
    };
    for (other, state, channel, confirmed) in found.rows.iter().filter(|(other, ..)| *other != place && *other != 0) {
        let way = Way { place: *other, channel: *channel };
        let known = tried.iter().any(|tried| tried.way == way);
        match state {
            // For want of a confirmation the next route is taken, not another channel of the same; one that came late is one.
            DeliveryState::Open | DeliveryState::Told if *confirmed || !asked.for_want || !lapsed(way) => {
                tried.push(Tried { way, rejected: false, deferrals: 0, served: true });
            }
            // A first try that ended it has no attempt of its own.
            DeliveryState::Unknown | DeliveryState::Rejected if !known => {
                tried.push(Tried { way, rejected: true, deferrals: 0, served: false });
            }
            _ => {}
        }
    }
    // Told by a receipt meanwhile, or by another place: only members of the same route go on.
    // Who is gone, or has left the audience, is not told any more.
    let member = |subscriber: &&Subscriber| {
        subscriber.audiences.contains(&live.broadcast.audience) || fault::on(Fault::LeaversTold)
    };
    let Some(subscriber) = found.subscriber.as_ref().filter(member) else {
        return (Afresh::End(DeliveryState::Cancelled), left);
    };
    if let Err(omission) = select(&live.broadcast.selection, subscriber, found.told) {
        let state = if omission.unreachable() { DeliveryState::Rejected } else { DeliveryState::Cancelled };
        return (Afresh::End(state), left);
    }
    let quiet = quiet_until(live.broadcast.priority, subscriber, engine.clock.calendar());
    // The way that was taken for want of a confirmation is not needed where one has come since.
    if asked.for_want && found.rows.iter().any(|(.., confirmed)| *confirmed) {
        return (Afresh::End(DeliveryState::Moved), left);
    }
    let (routed, _) = route(subscriber, asked.routes, candidates, down, &tried, chance(subscriber.id));
    let decision = match routed {
        Routed::Ways(_) | Routed::Wait if quiet.is_some() => {
            let due = quiet.unwrap_or(live.broadcast.deadline);
            Afresh::Wait(QUIET, engine.clock.steady_at(due))
        }
        Routed::Ways(ways) => {
            // A row that waits for its own retry decides for its own place alone.
            let own: Vec<Way> = ways.iter().copied().filter(|way| way.place == place).collect();
            if own.is_empty() { Afresh::Ways(ways) } else { Afresh::Ways(own) }
        }
        Routed::Wait => Afresh::Wait(UNDECIDED, engine.clock.steady_at(live.broadcast.deadline)),
        Routed::Nowhere(_) if !unconfirmed.is_empty() && (place == 0 || left == DeliveryState::Moved) => {
            Afresh::End(DeliveryState::Moved)
        }
        Routed::Nowhere(_) if place == 0 => Afresh::End(DeliveryState::Rejected),
        Routed::Nowhere(_) if left == DeliveryState::Moved => Afresh::End(DeliveryState::Rejected),
        Routed::Nowhere(_) => Afresh::End(left),
    };
    (decision, left)
}
