//! A page: the next members of a broadcast, decided into a manifest for each shard. Who, by which way and in which words is on
//! disk before anything enters a lane.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::again::waits;
use super::decide::{decide, quiet_from, quiet_until};
use super::live::{Delivery, Live, OpenManifest};
use super::wordings::{Wordings, without};
use super::{Engine, follow, lock, recorder};
use crate::audience::Subscriber;
use crate::audience::route::{Candidate, ChannelId, Way};
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::incident::Mode;
use crate::render::message::Message;
use crate::store::{Cursor, Decided, Decision, DeliveryState, Fact, Manifest, ManifestKey, Member, QUIET, UNDECIDED};

/// The part of a page that lies in one shard: a manifest.
struct Part {
    shard: u8,
    cursor: Cursor,
    epoch: i64,
    open: Arc<OpenManifest>,
    decided: Vec<Decided>,
    /// How many of them are left out.
    omitted: i64,
}

impl Part {
    fn new(broadcast: BroadcastId, (shard, cursor): (u8, Cursor), epoch: i64) -> Part {
        let key = ManifestKey { broadcast, shard, number: cursor.manifests };
        let open = Arc::new(OpenManifest { key, remaining: AtomicU32::new(0) });
        Part { shard, cursor, epoch, open, decided: Vec::new(), omitted: 0 }
    }

    /// Where its shard stands when this is on disk, and whom that leaves outstanding.
    fn moved(&self) -> (Cursor, i64) {
        let selected = self.decided.len() as i64;
        let after = self.decided.last().map_or(self.cursor.after, |last| last.subscriber.0);
        let cursor = Cursor {
            after,
            selected: self.cursor.selected + selected,
            ended: self.cursor.ended + self.omitted,
            manifests: self.cursor.manifests + i64::from(selected > 0),
        };
        (cursor, selected - self.omitted)
    }
}

/// What the decisions of a page lead to.
struct Plot<'a> {
    engine: &'a Engine,
    live: &'a Arc<Live>,
    at: Time,
    overflows: u64,
    wordings: Wordings,
    /// How many each lane takes.
    room: BTreeMap<ChannelId, usize>,
    rows: Vec<Fact>,
    deliveries: BTreeMap<ChannelId, Vec<Delivery>>,
    /// That somebody is to be told by, whether there was room in them or not.
    lanes: BTreeSet<ChannelId>,
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
    let mut plot = Plot {
        engine,
        live,
        at,
        overflows,
        wordings: Wordings::default(),
        room: engine.lanes.iter().map(|(id, lane)| (*id, lane.room(broadcast.priority))).collect(),
        rows: Vec::new(),
        deliveries: BTreeMap::new(),
        lanes: BTreeSet::new(),
    };
    let roomy: BTreeSet<ChannelId> =
        engine.lanes.iter().filter(|(_, lane)| lane.roomy(broadcast.priority)).map(|(id, _)| *id).collect();
    let mut of = parts.iter_mut().peekable();
    for member in members {
        let shard = member.subscriber.id.shard();
        while of.next_if(|part| part.shard < shard).is_some() {}
        // Who has joined a shard that had no members at the release gets the next broadcast.
        let Some(part) = of.peek_mut().filter(|part| part.shard == shard) else { continue };
        let decision = decided(engine, live, &member, &candidates, &down, at, &mut plot.wordings).await;
        let decided = Decided { subscriber: member.subscriber.id, version: member.subscriber.version, decision };
        plot.add(member.subscriber, &decided.decision, &part.open).await;
        part.omitted += i64::from(matches!(decided.decision, Decision::Omitted(_)));
        part.decided.push(decided);
    }
    let Plot { mut wordings, rows, mut deliveries, lanes, .. } = plot;
    for (channel, deliveries) in &mut deliveries {
        follow::look_up(engine, broadcast, *channel, deliveries).await?;
    }
    let mut moved = Vec::with_capacity(parts.len());
    let mut manifests = Vec::with_capacity(parts.len());
    for part in parts {
        let end = part.shard < read || fault::on(Fault::HalfReadShardEnded);
        moved.push((part.shard, part.moved(), end));
        manifests.push(Manifest { key: part.open.key, at, epoch: part.epoch, decided: part.decided, end });
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

/// Decides for one member. Where the message does not render in the format of a way, the next way is theirs.
async fn decided(
    engine: &Engine,
    live: &Live,
    member: &Member,
    candidates: &[Candidate],
    down: &BTreeSet<String>,
    at: Time,
    wordings: &mut Wordings,
) -> Decision {
    let mut candidates = Cow::Borrowed(candidates);
    loop {
        let decision = decide(&live.broadcast, &member.subscriber, member.told, &candidates, down, at);
        match wordings.missing(engine, live, &member.subscriber, decision.ways()).await {
            Some(channel) => without(candidates.to_mut(), channel),
            None => return decision,
        }
    }
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
pub(super) fn enter(engine: &Engine, deliveries: BTreeMap<ChannelId, Vec<Delivery>>) {
    let with_rows = deliveries.values().flatten().filter(|delivery| delivery.manifest.is_none());
    lock(&engine.claimed).extend(with_rows.map(Delivery::id));
    for (lane, deliveries) in deliveries {
        if let Some(lane) = engine.lanes.get(&lane) {
            lane.put(deliveries);
        }
    }
}

impl Plot<'_> {
    /// Turns a decision into rows and deliveries. A recipient with one way whose lane has room lives in the manifest alone.
    async fn add(&mut self, mut subscriber: Subscriber, decision: &Decision, manifest: &Arc<OpenManifest>) {
        let Plot { engine, live, at, .. } = *self;
        let ways = match decision {
            Decision::Omitted(_) => return,
            Decision::Waits(_) => {
                let (lane, due) = match quiet_until(live.broadcast.priority, &subscriber, at) {
                    Some(end) => (QUIET, end),
                    None => (UNDECIDED, live.broadcast.deadline),
                };
                let due = engine.clock.steady_at(due);
                self.rows.push(open_row(live, subscriber.id, 0, UNDECIDED, lane, due, at));
                return;
            }
            Decision::Ways(ways, _) => ways,
        };
        let alone = ways.len() == 1;
        for way in ways {
            self.lanes.insert(way.channel);
            let Some(lane) = engine.lanes.get(&way.channel) else { continue };
            let Some(message) = self.wordings.of(engine, live, &subscriber, lane).await else { continue };
            let free = self.room.entry(way.channel).or_default();
            let has_room = *free > 0;
            *free = free.saturating_sub(1);
            if !alone || !has_room {
                let now = engine.clock.steady();
                let row = open_row(live, subscriber.id, way.place, way.channel, way.channel, now, at);
                let entered = engine.adopted(subscriber.id.shard()).filter(|_| has_room);
                self.rows.push(Fact { entered, ..row });
            }
            if has_room {
                let open = alone.then(|| manifest.clone());
                let made = delivery(engine, live, &mut subscriber, *way, message, at, self.overflows, 0, open);
                if let Some(delivery) = made {
                    if alone {
                        manifest.remaining.fetch_add(1, Ordering::Relaxed);
                    }
                    self.deliveries.entry(way.channel).or_default().push(delivery);
                }
            }
        }
    }
}

/// `manifest`: of one that lives in it alone, and takes from the subscriber what it needs.
#[allow(clippy::too_many_arguments)]
pub(super) fn delivery(
    engine: &Engine,
    live: &Arc<Live>,
    subscriber: &mut Subscriber,
    way: Way,
    message: Arc<Message>,
    at: Time,
    overflows: u64,
    tries: u32,
    manifest: Option<Arc<OpenManifest>>,
) -> Option<Delivery> {
    let epoch = engine.adopted(subscriber.id.shard())?;
    let quiet_from =
        subscriber.quiet.and_then(|_| quiet_from(live.broadcast.priority, subscriber, engine.clock.calendar()));
    let address = subscriber.addresses.iter_mut().find(|address| address.place == way.place)?;
    let (secrets, name) = match manifest {
        Some(_) => (std::mem::take(&mut address.secrets), subscriber.name.take()),
        None => (address.secrets.clone(), subscriber.name.clone()),
    };
    Some(Delivery {
        epoch,
        live: live.clone(),
        subscriber: subscriber.id,
        version: subscriber.version,
        overflows,
        confirmations: None,
        place: way.place,
        to: address.value.as_str().into(),
        secrets: secrets.into(),
        name: name.map(String::into_boxed_str),
        message,
        follows: None,
        tries,
        quiet_from,
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
        fault: None,
        sole: None,
        suppress: false,
        reopens: false,
        entered: None,
        perhaps: None,
    }
}
