//! A page: the next members of a broadcast in one shard, decided into a manifest. Who, by which way and in which words is on
//! disk before anything enters a lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::decide::{decide, quiet_until};
use super::lane::Lane;
use super::live::{Delivery, Live, OpenManifest};
use super::{Engine, lock, recorder};
use crate::audience::route::{ChannelId, Way};
use crate::audience::{Omission, Subscriber};
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{DeliveryId, SubscriberId};
use crate::incident::Mode;
use crate::render::message::Message;
use crate::store::{Cursor, Decided, Decision, DeliveryState, Fact, Manifest, ManifestKey, Wording, WordingKey};

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
    let ways = engine.ways();
    let candidates = engine.candidates();
    let down = down(engine, live);
    let at = engine.clock.calendar();
    let mut wordings = BTreeMap::new();
    let mut room: BTreeMap<ChannelId, usize> =
        engine.lanes.iter().map(|(id, lane)| (*id, lane.room(broadcast.priority))).collect();
    let roomy: BTreeSet<ChannelId> =
        engine.lanes.iter().filter(|(_, lane)| lane.roomy(broadcast.priority)).map(|(id, _)| *id).collect();
    let key = ManifestKey { broadcast: broadcast.id, shard, number: cursor.manifests };
    let manifest = Arc::new(OpenManifest { key, remaining: AtomicU32::new(0) });
    let mut plotted = Vec::with_capacity(members.len());
    for member in members {
        let decision = decide(broadcast, &member.subscriber, member.told, &candidates, &down, at);
        let mut entry = Plotted {
            decided: Decided { subscriber: member.subscriber.id, version: member.subscriber.version, decision },
            rows: Vec::new(),
            deliveries: Vec::new(),
        };
        plot(engine, live, &member.subscriber, &manifest, at, overflows, &mut wordings, &mut room, &mut entry).await;
        plotted.push(entry);
    }
    let lanes: BTreeSet<ChannelId> =
        plotted.iter().flat_map(|p| p.decided.decision.ways()).map(|w| w.channel).collect();
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
    let manifest = Manifest { key, at, epoch: engine.epoch, decided, end };
    let waits = rows.iter().any(|row| row.lane == ChannelId(0));
    engine.store.decide(manifest, rows, wordings).await?;
    if waits {
        engine.waits_written(ways);
    }
    let moved = Cursor {
        after,
        selected: cursor.selected + selected,
        ended: cursor.ended + selected - outstanding,
        manifests: cursor.manifests + i64::from(selected > 0),
    };
    live.page_decided(shard, moved, end, outstanding);
    lock(&live.feeds).fed(&lanes, &roomy, engine.clock.monotonic());
    for (lane, due) in hints {
        engine.hint(broadcast.priority, lane, due);
    }
    enter(engine, deliveries);
    recorder::finish(engine, live).await;
    engine.happened();
    Ok(())
}

/// What is down now. What an exercise plays to be down is so for its own broadcasts alone.
pub(super) fn down(engine: &Engine, live: &Live) -> BTreeSet<String> {
    let mut down = engine.platforms_down();
    if live.broadcast.selection.mode == Mode::Exercise || fault::on(Fault::RecoveredPlatformUnnoticed) {
        down.extend(live.broadcast.facts.platforms_down.iter().cloned());
    }
    down
}

/// Once it is on disk, what has a row is claimed, so that nobody else takes the row up, and enters its lane.
pub(super) fn enter(engine: &Engine, deliveries: Vec<(ChannelId, Delivery)>) {
    let with_rows = deliveries.iter().filter(|(_, delivery)| delivery.manifest.is_none());
    lock(&engine.claimed).extend(with_rows.map(|(_, delivery)| delivery.id()));
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

pub(super) type Words = BTreeMap<WordingKey, Option<(Wording, Arc<Message>)>>;

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
        Decision::Waits(_) => {
            let due = quiet_until(live.broadcast.priority, subscriber, at).unwrap_or(live.broadcast.deadline);
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
        // Whichever way it came here: a later try is the same mail.
        at: live.broadcast.released.unwrap_or(at),
        queued: engine.clock.monotonic(),
        manifest,
        recovered: false,
    })
}

pub(super) fn open_row(
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
        reopens: false,
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
pub(super) async fn words(
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
