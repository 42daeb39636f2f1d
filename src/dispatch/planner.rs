//! The planner: the most urgent work first, one unit at a time. Open rows that are due are decided afresh; pages of running
//! broadcasts are decided into manifests, as far as some lane they can use has room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::lane::Lane;
use super::live::{Delivery, Live, OpenManifest};
use super::{Engine, lock, recorder};
use crate::audience::route::{Candidate, ChannelId, Routed, Tried, Way, route};
use crate::audience::{Omission, Subscriber, select};
use crate::channel::Repeat;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::plan::Priority;
use crate::render::message::Message;
use crate::store::{
    Again, BroadcastState, Cursor, Decided, Decision, DeliveryState, Fact, Manifest, ManifestKey, Member, OpenRow,
    Wording, WordingKey,
};

/// Open rows decided at one time.
const ROWS: usize = 512;

pub async fn run(engine: Arc<Engine>) {
    super::recovery::run(&engine).await;
    loop {
        let woken = engine.plan.notified();
        tokio::pin!(woken);
        let next = tokio::select! {
            biased;
            () = engine.stop.cancelled() => return,
            next = unit(&engine) => next,
        };
        match next {
            Ok(Next::More) => tokio::task::yield_now().await,
            Ok(Next::Wait(due)) => {
                let sleep = async {
                    match due {
                        Some(due) => engine.clock.sleep(due.since(engine.clock.steady())).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = engine.stop.cancelled() => return,
                    () = woken => {}
                    () = sleep => {}
                }
            }
            Err(error) => {
                tracing::error!(%error, "planning failed; trying again");
                tokio::select! {
                    biased;
                    () = engine.stop.cancelled() => return,
                    () = engine.clock.sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }
}

enum Next {
    More,
    /// Nothing to do before that time, or before somebody wakes the planner.
    Wait(Option<Time>),
}

/// One unit of the most urgent work.
async fn unit(engine: &Arc<Engine>) -> crate::store::Result<Next> {
    let mut next_due: Option<Time> = None;
    for priority in Priority::ALL.iter().rev().copied() {
        let now = engine.clock.steady();
        for (lane, due) in lanes_with_rows(engine, priority) {
            if due > now {
                next_due = Some(next_due.map_or(due, |next| next.min(due)));
            } else if engine.lanes.get(&lane).is_none_or(|lane| lane.roomy(priority))
                && rows(engine, lane, priority, now).await?
            {
                return Ok(Next::More);
            }
        }
        if let Some(live) = next_broadcast(engine, priority)
            && let Some((shard, cursor)) = live.next_page()
        {
            crate::pipeline::plan_page(engine, &live, shard, cursor).await?;
            return Ok(Next::More);
        }
    }
    Ok(Next::Wait(next_due))
}

fn lanes_with_rows(engine: &Engine, priority: Priority) -> Vec<(ChannelId, Time)> {
    let hints = lock(&engine.hints);
    let of = hints.range((priority, ChannelId(0))..=(priority, ChannelId(u16::MAX)));
    of.map(|((_, lane), due)| (*lane, *due)).collect()
}

/// The oldest running broadcast of this priority with a page left and a lane with room.
fn next_broadcast(engine: &Engine, priority: Priority) -> Option<Arc<Live>> {
    let live = lock(&engine.live);
    let ready = |live: &&Arc<Live>| {
        live.broadcast.priority == priority
            && live.state() == BroadcastState::Running
            && !live.paged()
            && !asks_about_attempts(engine, live)
            && lanes_of(engine, live).any(|lane| lane.roomy(priority))
    };
    live.values().find(ready).cloned()
}

/// Whom an earlier broadcast told is known once its last attempts are recorded.
fn asks_about_attempts(engine: &Engine, live: &Live) -> bool {
    let selection = &live.broadcast.selection;
    if !selection.only_if_told && selection.told_by.is_empty() {
        return false;
    }
    lock(&engine.attempting).keys().any(|id| *id < live.broadcast.id)
}

fn lanes_of<'a>(engine: &'a Engine, live: &'a Live) -> impl Iterator<Item = &'a Arc<Lane>> {
    let names = || live.broadcast.step.routes.iter().flat_map(|route| &route.0);
    let used: Vec<&Arc<Lane>> = engine
        .lanes
        .values()
        .filter(move |lane| names().any(|name| *name == lane.settings.kind || *name == lane.settings.name))
        .collect();
    // Without any lane of its routes everyone is unreachable: any lane will do to say so.
    if used.is_empty() { engine.lanes.values().collect::<Vec<_>>().into_iter() } else { used.into_iter() }
}

/// What one recipient's decision turns into.
struct Plotted {
    decided: Decided,
    rows: Vec<Fact>,
    deliveries: Vec<(ChannelId, Delivery)>,
}

/// Decides a page and puts it on disk; then its deliveries enter their lanes.
pub async fn page(engine: &Arc<Engine>, live: &Arc<Live>, shard: u8, cursor: Cursor) -> crate::store::Result<()> {
    let broadcast = &live.broadcast;
    let overflows = lock(&engine.changed).overflows;
    let (members, end) = engine.store.page(broadcast, shard, cursor.after, engine.settings.page).await?;
    let candidates = engine.candidates();
    let down = down(engine, live);
    let at = engine.clock.calendar();
    let mut wordings = BTreeMap::new();
    let mut room: BTreeMap<ChannelId, usize> =
        engine.lanes.iter().map(|(id, lane)| (*id, lane.room(broadcast.priority))).collect();
    let key = ManifestKey { broadcast: broadcast.id, shard, number: cursor.manifests };
    let manifest = Arc::new(OpenManifest { key, remaining: AtomicU32::new(0) });
    let mut plotted = Vec::with_capacity(members.len());
    for member in members {
        let decision = decide(engine, live, &member, &candidates, &down);
        let mut entry = Plotted {
            decided: Decided { subscriber: member.subscriber.id, version: member.subscriber.version, decision },
            rows: Vec::new(),
            deliveries: Vec::new(),
        };
        plot(engine, live, &member.subscriber, &manifest, at, overflows, &mut wordings, &mut room, &mut entry).await;
        plotted.push(entry);
    }
    let in_memory = plotted.iter().filter(|p| p.rows.is_empty()).map(|p| p.deliveries.len() as u32).sum();
    manifest.remaining.store(in_memory, std::sync::atomic::Ordering::Release);
    let after = plotted.last().map_or(cursor.after, |last| last.decided.subscriber.0);
    let outstanding = plotted.iter().filter(|p| !matches!(p.decided.decision, Decision::Omitted(_))).count() as i64;
    let wordings: Vec<Wording> = wordings.into_values().flatten().map(|(wording, _)| wording).collect();
    let (mut decided, mut rows, mut deliveries) = (Vec::new(), Vec::new(), Vec::new());
    for entry in plotted {
        decided.push(entry.decided);
        rows.extend(entry.rows);
        deliveries.extend(entry.deliveries);
    }
    let selected = decided.len() as i64;
    let hints: Vec<(ChannelId, Time)> = rows.iter().map(|row| (row.lane, row.due)).collect();
    let claims: Vec<DeliveryId> =
        deliveries.iter().filter(|(_, d)| d.manifest.is_none()).map(|(_, d)| d.id()).collect();
    lock(&engine.claimed).extend(claims);
    let manifest = Manifest { key, at, epoch: engine.epoch, decided, end };
    engine.store.decide(manifest, rows, wordings).await?;
    let moved = Cursor {
        after,
        selected: cursor.selected + selected,
        ended: cursor.ended + selected - outstanding,
        manifests: cursor.manifests + i64::from(selected > 0),
    };
    live.page_decided(shard, moved, end, outstanding);
    for (lane, due) in hints {
        engine.hint(broadcast.priority, lane, due);
    }
    enter(engine, deliveries);
    recorder::finish(engine, live).await;
    engine.happened();
    Ok(())
}

fn down(engine: &Engine, live: &Live) -> BTreeSet<String> {
    let mut down = engine.platforms_down();
    down.extend(live.broadcast.facts.platforms_down.iter().cloned());
    down
}

fn enter(engine: &Engine, deliveries: Vec<(ChannelId, Delivery)>) {
    let mut by_lane: BTreeMap<ChannelId, Vec<Delivery>> = BTreeMap::new();
    for (lane, delivery) in deliveries {
        by_lane.entry(lane).or_default().push(delivery);
    }
    for (lane, deliveries) in by_lane {
        if let Some(lane) = engine.lanes.get(&lane) {
            lane.put(deliveries);
        }
    }
}

/// Who, and by which way: purely from what is known.
fn decide(
    engine: &Engine,
    live: &Live,
    member: &Member,
    candidates: &[Candidate],
    down: &BTreeSet<String>,
) -> Decision {
    let broadcast = &live.broadcast;
    let Member { subscriber, told } = member;
    if let Err(omission) = select(&broadcast.selection, subscriber, *told) {
        return Decision::Omitted(omission);
    }
    let (routed, left_out) = route(subscriber, &broadcast.step.routes, candidates, down, &[], chance(subscriber.id));
    match routed {
        Routed::Nowhere(omission) => Decision::Omitted(omission),
        _ if quiet_until(engine, live, subscriber).is_some() => Decision::Waits,
        Routed::Wait => Decision::Waits,
        Routed::Ways(ways) => Decision::Ways(ways, left_out),
    }
}

fn quiet_until(engine: &Engine, live: &Live, subscriber: &Subscriber) -> Option<Time> {
    if live.broadcast.priority == Priority::Critical {
        return None;
    }
    subscriber.quiet.and_then(|quiet| quiet.ends(&subscriber.zone, engine.clock.calendar()))
}

/// The recipient's own, so that the same recipient gets the same channel again.
fn chance(id: SubscriberId) -> u64 {
    let mut n = (id.0 as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

type Words = BTreeMap<WordingKey, Option<(Wording, Arc<Message>)>>;

/// Turns a decision into rows and deliveries. A recipient with one way whose lane has room lives in the manifest alone.
#[allow(clippy::too_many_arguments)]
async fn plot(
    engine: &Engine,
    live: &Arc<Live>,
    subscriber: &Subscriber,
    manifest: &Arc<OpenManifest>,
    at: Time,
    overflows: u64,
    wordings: &mut Words,
    room: &mut BTreeMap<ChannelId, usize>,
    entry: &mut Plotted,
) {
    let now = engine.clock.steady();
    let ways = match &entry.decided.decision {
        Decision::Omitted(_) => return,
        Decision::Waits => {
            let due = quiet_until(engine, live, subscriber).unwrap_or(live.broadcast.deadline);
            let due = engine.clock.steady_at(due);
            entry.rows.push(open_row(live, subscriber.id, 0, ChannelId(0), ChannelId(0), due, at));
            return;
        }
        Decision::Ways(ways, _) => ways.clone(),
    };
    let alone = ways.len() == 1;
    for way in ways {
        let Some(lane) = engine.lanes.get(&way.channel) else { continue };
        let Some(message) = words(engine, live, subscriber, lane, wordings).await else {
            entry.rows.clear();
            entry.deliveries.clear();
            entry.decided.decision = Decision::Omitted(Omission::NoWords);
            return;
        };
        let free = room.entry(way.channel).or_default();
        let has_room = *free > 0;
        *free = free.saturating_sub(1);
        if !alone || !has_room {
            entry.rows.push(open_row(live, subscriber.id, way.place, way.channel, way.channel, now, at));
        }
        if has_room {
            let manifest = alone.then(|| manifest.clone());
            if let Some(delivery) = delivery(engine, live, subscriber, way, message, at, overflows, 0, manifest) {
                entry.deliveries.push((way.channel, delivery));
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn delivery(
    engine: &Engine,
    live: &Arc<Live>,
    subscriber: &Subscriber,
    way: Way,
    message: Arc<Message>,
    at: Time,
    overflows: u64,
    tries: u32,
    manifest: Option<Arc<OpenManifest>>,
) -> Option<Delivery> {
    let address = subscriber.addresses.iter().find(|address| address.place == way.place)?;
    Some(Delivery {
        live: live.clone(),
        subscriber: subscriber.id,
        version: subscriber.version,
        overflows,
        place: way.place,
        to: address.value.as_str().into(),
        secrets: address.secrets.clone().into(),
        name: subscriber.name.as_deref().map(Into::into),
        message,
        tries,
        at,
        queued: engine.clock.monotonic(),
        manifest,
        recovered: false,
    })
}

fn open_row(
    live: &Live,
    subscriber: SubscriberId,
    place: u16,
    channel: ChannelId,
    lane: ChannelId,
    due: Time,
    at: Time,
) -> Fact {
    Fact {
        delivery: DeliveryId { broadcast: live.broadcast.id, subscriber, place },
        state: DeliveryState::Open,
        channel,
        began: at,
        ended: at,
        tries: 0,
        detail: None,
        reference: None,
        indexed: false,
        priority: live.broadcast.priority,
        lane,
        due,
        attempt: None,
        sole: false,
        suppress: false,
    }
}

pub fn wording_key(subscriber: &Subscriber, lane: &Lane) -> WordingKey {
    WordingKey {
        locale: subscriber.locale.clone(),
        zone: subscriber.zone.clone(),
        format: lane.settings.format,
        markup: lane.settings.markup,
    }
}

/// The message in this recipient's language and format: from memory, from the store, or rendered now at first need.
async fn words(
    engine: &Engine,
    live: &Live,
    subscriber: &Subscriber,
    lane: &Lane,
    fresh: &mut Words,
) -> Option<Arc<Message>> {
    let key = wording_key(subscriber, lane);
    if let Some(message) = lock(&live.words).get(&key) {
        return Some(message.clone());
    }
    if let Some(known) = fresh.get(&key) {
        return known.as_ref().map(|(_, message)| message.clone());
    }
    if let Some(message) = stored_words(engine, live, &key).await {
        return Some(message);
    }
    match engine.words.message(&live.broadcast, &key).await {
        Ok(message) => {
            let bytes = message.to_bytes();
            let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
            let digest = digest.as_ref().try_into().unwrap_or([0; 32]);
            let message = Arc::new(message);
            let wording = Wording { broadcast: live.broadcast.id, key: key.clone(), digest, bytes };
            fresh.insert(key.clone(), Some((wording, message.clone())));
            lock(&live.words).insert(key, message.clone());
            Some(message)
        }
        Err(error) => {
            tracing::error!(broadcast = %live.broadcast.id, locale = key.locale, format = %key.format, error, "a message does not render");
            fresh.insert(key, None);
            None
        }
    }
}

pub(super) async fn stored_words(engine: &Engine, live: &Live, key: &WordingKey) -> Option<Arc<Message>> {
    if let Some(message) = lock(&live.words).get(key) {
        return Some(message.clone());
    }
    let bytes = engine.store.wording(live.broadcast.id, key).await.ok().flatten()?;
    let message = Arc::new(Message::from_bytes(&bytes).ok()?);
    lock(&live.words).insert(key.clone(), message.clone());
    Some(message)
}

/// Reads open rows that are due and decides them afresh. False where there was none.
async fn rows(engine: &Arc<Engine>, lane: ChannelId, priority: Priority, now: Time) -> crate::store::Result<bool> {
    // Hint and claims are taken before the store is asked. What is hinted meanwhile stays; and a row that is read open while its
    // attempt ends was claimed here, whatever the recorder has released since: it is not sent again.
    lock(&engine.hints).remove(&(priority, lane));
    let claimed = lock(&engine.claimed).clone();
    let room = engine.lanes.get(&lane).map_or(ROWS, |lane| lane.room(priority).min(ROWS));
    let limit = room + claimed.len();
    let read = async {
        let found = engine.store.due(lane, priority, now, limit).await?;
        Ok((found, engine.store.next_due(lane, priority, now).await?))
    };
    let (found, next) = read.await.inspect_err(|_| engine.hint(priority, lane, now))?;
    let more = found.len() == limit;
    let due: Vec<_> = found.into_iter().filter(|row| !claimed.contains(&row.delivery)).take(room.max(1)).collect();
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
        match engine.live(id) {
            Some(live) => again(engine, &live, rows).await?,
            None => {
                let ended =
                    engine.store.broadcast(id).await?.map_or(BroadcastState::Cancelled, |broadcast| broadcast.state);
                over(engine, id, ended, rows).await?;
            }
        }
    }
    Ok(true)
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
            state,
            channel: row.channel,
            began: at,
            ended: at,
            tries: row.tries,
            detail: None,
            reference: None,
            indexed: false,
            priority: row.priority,
            lane: row.lane,
            due: row.due,
            attempt: None,
            sole: false,
            suppress: false,
        })
        .collect();
    let ended = engine.store.record(facts, Vec::new()).await?;
    Ok(ended.get(&id).copied().unwrap_or(0))
}

async fn again(engine: &Arc<Engine>, live: &Arc<Live>, rows: Vec<OpenRow>) -> crate::store::Result<()> {
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
            Fact { tries: row.tries, ..open_row(live, subscriber, place, row.channel, ChannelId(0), until, at) }
        });
        return engine.store.record(facts.collect(), Vec::new()).await.map(drop);
    }
    let overflows = lock(&engine.changed).overflows;
    let candidates = engine.candidates();
    let down = down(engine, live);
    let mut wordings = Words::new();
    let mut room: BTreeMap<ChannelId, usize> =
        engine.lanes.iter().map(|(id, lane)| (*id, lane.room(live.broadcast.priority))).collect();
    let (mut facts, mut deliveries) = (Vec::new(), Vec::new());
    for found in engine.store.again(&live.broadcast, rows).await? {
        let (place, way) = (found.row.delivery.place, found.row.channel);
        let (decision, tries) = afresh(engine, live, &found, &candidates, &down);
        let at = engine.clock.calendar();
        let row =
            |place, channel, lane, due| open_row(live, found.row.delivery.subscriber, place, channel, lane, due, at);
        let ended = |state| {
            let mut fact = row(place, found.row.channel, found.row.lane, found.row.due);
            fact.state = state;
            fact.tries = found.row.tries;
            fact
        };
        match decision {
            Afresh::End(state) => facts.push(ended(state)),
            Afresh::Wait(due) => {
                let mut fact = row(place, way, ChannelId(0), due);
                fact.tries = found.row.tries;
                facts.push(fact);
            }
            Afresh::Ways(ways) => {
                let Some(subscriber) = &found.subscriber else { continue };
                let stays = ways.iter().any(|way| way.place == place);
                for way in ways {
                    let Some(lane) = engine.lanes.get(&way.channel) else { continue };
                    let Some(message) = words(engine, live, subscriber, lane, &mut wordings).await else {
                        facts.push(ended(DeliveryState::Rejected));
                        continue;
                    };
                    let free = room.entry(way.channel).or_default();
                    let has_room = *free > 0;
                    *free = free.saturating_sub(1);
                    let tries = if way.place == place { found.row.tries } else { 0 };
                    let mut fact = row(way.place, way.channel, way.channel, engine.clock.steady());
                    fact.tries = tries;
                    let same = way.place == place && way.channel == found.row.channel && found.row.lane == way.channel;
                    if !same {
                        facts.push(fact);
                    }
                    if has_room
                        && let Some(delivery) = delivery(
                            engine,
                            live,
                            subscriber,
                            way,
                            message,
                            live.broadcast.released.unwrap_or(at),
                            overflows,
                            tries,
                            None,
                        )
                    {
                        deliveries.push((way.channel, delivery));
                    }
                }
                if !stays {
                    facts.push(ended(if place == 0 { DeliveryState::Moved } else { tries }));
                }
            }
        }
    }
    let hints: Vec<(ChannelId, Time)> =
        facts.iter().filter(|fact| fact.state == DeliveryState::Open).map(|fact| (fact.lane, fact.due)).collect();
    lock(&engine.claimed).extend(deliveries.iter().map(|(_, delivery)| delivery.id()));
    let wordings: Vec<Wording> = wordings.into_values().flatten().map(|(wording, _)| wording).collect();
    if !wordings.is_empty() {
        engine.store.word(wordings).await?;
    }
    if !facts.is_empty() {
        let ended = engine.store.record(facts, Vec::new()).await?;
        for recipients in ended.values() {
            live.ended(*recipients);
        }
        for (lane, due) in hints {
            engine.hint(live.broadcast.priority, lane, due);
        }
    }
    enter(engine, deliveries);
    recorder::finish(engine, live).await;
    engine.recorded.notify_waiters();
    Ok(())
}

enum Afresh {
    Ways(Vec<Way>),
    Wait(Time),
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
            "rejected" => tried[at].rejected = true,
            "unknown" if unsafe_repeat => tried[at].rejected = true,
            "deferred" => tried[at].deferrals += 1,
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
    for (other, state, channel) in found.rows.iter().filter(|(other, ..)| *other != place && *other != 0) {
        if matches!(state, DeliveryState::Open | DeliveryState::Told) {
            tried.push(Tried {
                way: Way { place: *other, channel: *channel },
                rejected: false,
                deferrals: 0,
                served: true,
            });
        }
    }
    // Told by a receipt meanwhile, or by another place: only members of the same route go on.
    let Some(subscriber) = &found.subscriber else { return (Afresh::End(DeliveryState::Cancelled), left) };
    if let Err(omission) = select(&live.broadcast.selection, subscriber, found.told) {
        let state = if omission.unreachable() { DeliveryState::Rejected } else { DeliveryState::Cancelled };
        return (Afresh::End(state), left);
    }
    let (routed, _) = route(subscriber, &live.broadcast.step.routes, candidates, down, &tried, chance(subscriber.id));
    let decision = match routed {
        Routed::Ways(_) | Routed::Wait if quiet_until(engine, live, subscriber).is_some() => {
            let due = quiet_until(engine, live, subscriber).unwrap_or(live.broadcast.deadline);
            Afresh::Wait(engine.clock.steady_at(due))
        }
        Routed::Ways(ways) => {
            // A row that waits for its own retry decides for its own place alone.
            let own: Vec<Way> = ways.iter().copied().filter(|way| way.place == place).collect();
            if own.is_empty() { Afresh::Ways(ways) } else { Afresh::Ways(own) }
        }
        Routed::Wait => Afresh::Wait(engine.clock.steady_at(live.broadcast.deadline)),
        Routed::Nowhere(_) if place == 0 => Afresh::End(DeliveryState::Rejected),
        Routed::Nowhere(_) if left == DeliveryState::Moved => Afresh::End(DeliveryState::Rejected),
        Routed::Nowhere(_) => Afresh::End(left),
    };
    (decision, left)
}
