//! A page: the next members of a broadcast, decided into a manifest for each shard. Who, by which way and in which words is on
//! disk before anything enters a lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::again::waits;
use super::decide::{decide, quiet_from, quiet_until};
use super::live::{Delivery, Live, OpenManifest};
use super::wordings::Wordings;
use super::{Engine, lock, recorder};
use crate::audience::route::{ChannelId, Way};
use crate::audience::{Omission, Subscriber};
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::incident::Mode;
use crate::render::message::Message;
use crate::store::{Cursor, Decided, Decision, DeliveryState, Fact, Manifest, ManifestKey, QUIET, UNDECIDED};

/// What one recipient's decision turns into.
struct Plotted {
    decided: Decided,
    rows: Vec<Fact>,
    deliveries: Vec<(ChannelId, Delivery)>,
}

/// The part of a page that lies in one shard: a manifest.
struct Part {
    shard: u8,
    cursor: Cursor,
    epoch: i64,
    open: Arc<OpenManifest>,
    plotted: Vec<Plotted>,
}

impl Part {
    fn new(broadcast: BroadcastId, (shard, cursor): (u8, Cursor), epoch: i64) -> Part {
        let key = ManifestKey { broadcast, shard, number: cursor.manifests };
        let open = Arc::new(OpenManifest { key, remaining: AtomicU32::new(0) });
        Part { shard, cursor, epoch, open, plotted: Vec::new() }
    }

    /// Where its shard stands when this is on disk, and whom that leaves outstanding.
    fn moved(&self) -> (Cursor, i64) {
        let selected = self.plotted.len() as i64;
        let omitted = |plotted: &&Plotted| matches!(plotted.decided.decision, Decision::Omitted(_));
        let ended = self.plotted.iter().filter(omitted).count() as i64;
        let after = self.plotted.last().map_or(self.cursor.after, |last| last.decided.subscriber.0);
        let cursor = Cursor {
            after,
            selected: self.cursor.selected + selected,
            ended: self.cursor.ended + ended,
            manifests: self.cursor.manifests + i64::from(selected > 0),
        };
        (cursor, selected - ended)
    }
}

/// Decides the next members in some shards, of which all but the first are still to be begun, and puts that on disk; then its
/// deliveries enter their lanes.
pub async fn page(engine: &Arc<Engine>, live: &Arc<Live>, shards: Vec<(u8, Cursor)>) -> crate::store::Result<()> {
    let broadcast = &live.broadcast;
    let (Some((first, cursor)), Some((last, _))) = (shards.first(), shards.last()) else { return Ok(()) };
    let overflows = lock(&engine.changed).overflows;
    let (members, end) = engine.store.page(broadcast, *first..=*last, cursor.after, engine.settings.page).await?;
    // Where more is to be read, it may be in the shard of the last one.
    let read = members.last().filter(|_| !end).map_or(u8::MAX, |last| last.subscriber.id.shard());
    let part = |shard: (u8, Cursor)| Some(Part::new(broadcast.id, shard, engine.adopted(shard.0)?));
    let mut parts: Vec<Part> = shards.into_iter().filter(|(shard, _)| *shard <= read).filter_map(part).collect();
    let ways = engine.ways();
    let candidates = engine.candidates();
    let down = down(engine, live);
    let at = engine.clock.calendar();
    let mut wordings = Wordings::default();
    let mut room: BTreeMap<ChannelId, usize> =
        engine.lanes.iter().map(|(id, lane)| (*id, lane.room(broadcast.priority))).collect();
    let roomy: BTreeSet<ChannelId> =
        engine.lanes.iter().filter(|(_, lane)| lane.roomy(broadcast.priority)).map(|(id, _)| *id).collect();
    let mut of = parts.iter_mut().peekable();
    for member in members {
        let shard = member.subscriber.id.shard();
        while of.next_if(|part| part.shard < shard).is_some() {}
        // Who has joined a shard that had no members at the release gets the next broadcast.
        let Some(part) = of.peek_mut().filter(|part| part.shard == shard) else { continue };
        let decision = decide(broadcast, &member.subscriber, member.told, &candidates, &down, at);
        let mut entry = Plotted {
            decided: Decided { subscriber: member.subscriber.id, version: member.subscriber.version, decision },
            rows: Vec::new(),
            deliveries: Vec::new(),
        };
        plot(engine, live, &member.subscriber, &part.open, at, overflows, &mut wordings, &mut room, &mut entry).await;
        part.plotted.push(entry);
    }
    let mut moved = Vec::with_capacity(parts.len());
    let mut lanes: BTreeSet<ChannelId> = BTreeSet::new();
    let (mut manifests, mut rows, mut deliveries) = (Vec::with_capacity(parts.len()), Vec::new(), Vec::new());
    for part in parts {
        let end = part.shard < read || fault::on(Fault::HalfReadShardEnded);
        moved.push((part.shard, part.moved(), end));
        let in_memory = part.plotted.iter().filter(|p| p.rows.is_empty()).map(|p| p.deliveries.len() as u32).sum();
        part.open.remaining.store(in_memory, Ordering::Release);
        let mut decided = Vec::with_capacity(part.plotted.len());
        for entry in part.plotted {
            lanes.extend(entry.decided.decision.ways().iter().map(|way| way.channel));
            decided.push(entry.decided);
            rows.extend(entry.rows);
            deliveries.extend(entry.deliveries);
        }
        manifests.push(Manifest { key: part.open.key, at, epoch: part.epoch, decided, end });
    }
    let hints: Vec<(ChannelId, Time)> = rows.iter().filter(|row| waits(row)).map(|row| (row.lane, row.due)).collect();
    let waits = rows.iter().any(|row| row.lane == UNDECIDED);
    engine.store.decide(manifests, rows, wordings.unwritten()).await?;
    wordings.written(live);
    if waits {
        engine.waits_written(ways);
    }
    for (shard, (cursor, outstanding), end) in moved {
        // Counted first: the last shard to be read may make it complete.
        live.decided(outstanding);
        live.page_decided(shard, cursor, end);
    }
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

/// Turns a decision into rows and deliveries. A recipient with one way whose lane has room lives in the manifest alone.
#[allow(clippy::too_many_arguments)]
async fn plot(
    engine: &Engine,
    live: &Arc<Live>,
    subscriber: &Subscriber,
    manifest: &Arc<OpenManifest>,
    at: Time,
    overflows: u64,
    wordings: &mut Wordings,
    room: &mut BTreeMap<ChannelId, usize>,
    entry: &mut Plotted,
) {
    let now = || engine.clock.steady();
    let ways = match &entry.decided.decision {
        Decision::Omitted(_) => return,
        Decision::Waits(_) => {
            let (lane, due) = match quiet_until(live.broadcast.priority, subscriber, at) {
                Some(end) => (QUIET, end),
                None => (UNDECIDED, live.broadcast.deadline),
            };
            let due = engine.clock.steady_at(due);
            entry.rows.push(open_row(live, subscriber.id, 0, UNDECIDED, lane, due, at));
            return;
        }
        Decision::Ways(ways, _) => ways.clone(),
    };
    let alone = ways.len() == 1;
    for way in ways {
        let Some(lane) = engine.lanes.get(&way.channel) else { continue };
        let Some(message) = wordings.of(engine, live, subscriber, lane).await else {
            entry.rows.clear();
            entry.deliveries.clear();
            entry.decided.decision = Decision::Omitted(Omission::NoWords);
            return;
        };
        let free = room.entry(way.channel).or_default();
        let has_room = *free > 0;
        *free = free.saturating_sub(1);
        if !alone || !has_room {
            let row = open_row(live, subscriber.id, way.place, way.channel, way.channel, now(), at);
            let entered = engine.adopted(subscriber.id.shard()).filter(|_| has_room);
            entry.rows.push(Fact { entered, ..row });
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
        epoch: engine.adopted(subscriber.id.shard())?,
        live: live.clone(),
        subscriber: subscriber.id,
        version: subscriber.version,
        overflows,
        confirmations: None,
        place: way.place,
        to: address.value.as_str().into(),
        secrets: address.secrets.clone().into(),
        name: subscriber.name.as_deref().map(Into::into),
        message,
        tries,
        quiet_from: subscriber
            .quiet
            .and_then(|_| quiet_from(live.broadcast.priority, subscriber, engine.clock.calendar())),
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
        sole: None,
        suppress: false,
        reopens: false,
        entered: None,
        perhaps: None,
    }
}
