//! After a crash, or where another node's shards have become ours: manifests that were open are read, and whoever in them has no row is tried again by the recorded way, under
//! the same id, with the same bytes. What was superseded meanwhile may have gone out: it is recorded `unknown`.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::live::OpenManifest;
use super::page::delivery;
use super::wordings::{stored, wording_key};
use super::{Engine, follow, lock, recorder};
use crate::fault::{self, Fault};
use crate::id::DeliveryId;
use crate::store::{DeliveryState, Fact, UNDECIDED, Unfinished};

/// Why nobody knows the end of what was in a lane.
pub(super) const CUT_OFF: &str = "the process ended while this was under way";

/// Of these shards, a bit for each.
pub async fn run(engine: &Arc<Engine>, shards: u64) {
    if fault::on(Fault::RecoverySkipped) || fault::on(Fault::TakeoverWithoutManifests) && engine.leases.shared() {
        return;
    }
    manifests(engine, shards).await;
    // The process may have ended between the last outcome of a broadcast and its end.
    let complete: Vec<_> =
        lock(&engine.live).values().filter(|live| live.complete(engine.leases.mask())).cloned().collect();
    for live in complete {
        recorder::finish(engine, &live).await;
    }
}

async fn manifests(engine: &Arc<Engine>, shards: u64) {
    let mut after = None;
    loop {
        // Before it is read who may still be written to.
        let overflows = lock(&engine.changed).overflows;
        let found = match engine.store.unfinished(shards, after).await {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "open manifests can't be read; trying again");
                engine.clock.sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        let key = found.key;
        match finish(engine, found, overflows).await {
            Ok(()) => after = Some(key),
            Err(error) => {
                tracing::error!(%error, "an open manifest can't be finished; trying again");
                engine.clock.sleep(std::time::Duration::from_secs(1)).await;
            }
        }
        if engine.stop.is_cancelled() {
            return;
        }
    }
}

async fn finish(engine: &Arc<Engine>, found: Unfinished, overflows: u64) -> crate::store::Result<()> {
    let Unfinished { key, at, missing } = found;
    // Given away meanwhile: what is unknown of it is for its next owner to say.
    if engine.adopted(key.shard).is_none() {
        return Ok(());
    }
    if missing.is_empty() {
        return engine.store.record(Arc::default(), vec![key]).await.map(drop);
    }
    let live = engine.live(key.broadcast);
    let priority = live.as_ref().map_or(crate::plan::Priority::Normal, |live| live.broadcast.priority);
    let mut rows = Vec::new();
    let mut again = Vec::new();
    let manifest = Arc::new(OpenManifest { key, remaining: AtomicU32::new(0) });
    for (mut subscriber, way, allowed) in missing {
        let id = DeliveryId { broadcast: key.broadcast, subscriber: subscriber.id, place: way.place };
        let row = |state, lane| Fact {
            delivery: id,
            state,
            channel: way.channel,
            began: at,
            ended: engine.clock.calendar(),
            tries: 0,
            detail: Some(CUT_OFF.into()),
            reference: None,
            indexed: false,
            priority,
            lane,
            due: engine.clock.steady(),
            attempt: None,
            fault: None,
            // An answer to the one who was cut off may have been written since.
            sole: None,
            suppress: false,
            reopens: false,
            entered: None,
            perhaps: None,
        };
        let Some(live) = live.as_ref().filter(|_| allowed) else {
            rows.push(row(DeliveryState::Unknown, way.channel));
            continue;
        };
        let Some(lane) = engine.lanes.get(&way.channel) else {
            rows.push(row(DeliveryState::Open, UNDECIDED)); // the channel is gone: another way
            continue;
        };
        match stored(engine, live, &wording_key(&subscriber, lane)).await {
            Some(message) => {
                let made =
                    delivery(engine, live, &mut subscriber, way, message, at, overflows, 0, Some(manifest.clone()));
                match made {
                    Some(mut delivery) => {
                        delivery.recovered = true;
                        again.push((lane.clone(), delivery));
                    }
                    None if engine.adopted(key.shard).is_none() => return Ok(()),
                    None => rows.push(row(DeliveryState::Unknown, way.channel)),
                }
            }
            None => rows.push(row(DeliveryState::Open, UNDECIDED)),
        }
    }
    if let Some(live) = &live {
        for (lane, delivery) in &mut again {
            let one = std::slice::from_mut(delivery);
            follow::look_up(engine, &live.broadcast, lane.settings.id, one).await?;
        }
    }
    manifest.remaining.store(again.len() as u32, std::sync::atomic::Ordering::Release);
    let closed = if again.is_empty() { vec![key] } else { Vec::new() };
    let ended = engine.store.record(Arc::new(rows), closed).await?.ended;
    for (lane, delivery) in again {
        // Whoever asks whom this broadcast told waits for what comes of it.
        engine.attempt_begins(&delivery);
        lane.put([delivery]);
    }
    if let Some(live) = live {
        live.ended(ended.get(&key.broadcast).copied().unwrap_or(0));
        recorder::finish(engine, &live).await;
    }
    engine.happened();
    Ok(())
}
