//! What other nodes have written, taken up here. Promised: when a notice is said to be obeyed, no try begins on this node that it
//! forbids. And a net under it, for whatever no notice says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Engine, lock, recorder};
use crate::audience::route::ChannelId;
use crate::clock::Instant;
use crate::id::{BroadcastId, IncidentId, SubscriberId};
use crate::incident::{Incident, Mode};
use crate::store::{BreakerRow, BroadcastState, Notice, Result};

/// How often the journal is looked at, for whoever watches what happens.
const WATCH: Duration = Duration::from_millis(500);
/// How often a broadcast is asked after whose end nobody here may have seen, and rows are looked for.
const NET: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn run(engine: Arc<Engine>) {
    let Some(mut notices) = lock(&engine.notices).take() else { return };
    let mut net = Net { journal: 0, next: engine.clock.monotonic() + NET };
    // While the last attempts end, others need not wait until this node's lease does.
    let over = async {
        engine.stop.cancelled().await;
        engine.attempts.wait().await;
    };
    tokio::pin!(over);
    loop {
        let heard = tokio::select! {
            biased;
            () = &mut over => return,
            heard = notices.recv() => heard,
            () = engine.clock.sleep(WATCH) => {
                if let Err(error) = net.look(&engine).await {
                    tracing::debug!(%error, "the store can't be read");
                }
                continue;
            }
        };
        let Some(heard) = heard else { return };
        while let Err(error) = take(&engine, &heard.notice).await {
            tracing::warn!(%error, "what another node has written can't be read; trying again");
            tokio::select! {
                biased;
                () = engine.stop.cancelled() => return,
                () = engine.clock.sleep(AGAIN) => {}
            }
        }
        heard.obeyed();
    }
}

async fn take(engine: &Arc<Engine>, notice: &Notice) -> Result<()> {
    match notice {
        Notice::Broadcasts(ids) => {
            let ids: Vec<BroadcastId> = ids.iter().copied().map(BroadcastId).collect();
            engine.broadcasts_heard(&ids).await
        }
        Notice::Incident(id) => {
            let found = engine.store.incident(IncidentId(*id)).await?;
            found.iter().for_each(|(incident, _)| engine.incident_heard(incident));
            Ok(())
        }
        Notice::Subscribers(ids) => {
            for id in ids.iter().copied().map(SubscriberId) {
                let version = engine.store.subscriber(id).await?.map_or(i64::MAX, |subscriber| subscriber.version);
                engine.note_changed(id, version);
            }
            Ok(())
        }
        Notice::Everyone => {
            engine.everyone_changed();
            Ok(())
        }
        Notice::Channel(id) => engine.channels_heard(Some(ChannelId(*id))).await,
        Notice::Confirmed(broadcast, subscriber) => {
            if let Some(live) = engine.live(BroadcastId(*broadcast)) {
                lock(&live.confirmed).note(SubscriberId(*subscriber));
                engine.barrier();
            }
            Ok(())
        }
        Notice::Rows => {
            engine.look_for_rows();
            Ok(())
        }
        Notice::Inherited => {
            engine.owe_a_wake();
            engine.look_for_rows();
            Ok(())
        }
        Notice::Setting(_) => {
            engine.settings_changed.send_modify(|count| *count += 1);
            Ok(())
        }
        Notice::Shards => Ok(()),
        Notice::Missed => everything(engine).await,
    }
}

/// There were notices that were not heard: everything is read again.
async fn everything(engine: &Arc<Engine>) -> Result<()> {
    let mut known: BTreeSet<BroadcastId> = lock(&engine.live).keys().copied().collect();
    known.extend(engine.store.live().await?.iter().map(|broadcast| broadcast.id));
    engine.broadcasts_heard(&known.into_iter().collect::<Vec<_>>()).await?;
    let open = engine.store.open_incidents().await?;
    let said: Vec<IncidentId> = lock(&engine.down).incidents();
    open.iter().for_each(|incident| engine.incident_heard(incident));
    for id in said.into_iter().filter(|id| !open.iter().any(|incident| incident.id == *id)) {
        let found = engine.store.incident(id).await?;
        found.iter().for_each(|(incident, _)| engine.incident_heard(incident));
    }
    engine.channels_heard(None).await?;
    engine.everyone_changed();
    engine.owe_a_wake();
    engine.look_for_rows();
    engine.settings_changed.send_modify(|count| *count += 1);
    Ok(())
}

impl Engine {
    async fn broadcasts_heard(&self, ids: &[BroadcastId]) -> Result<()> {
        let in_step = self.in_step.read().await;
        self.noticed(ids).await?;
        drop(in_step);
        // What has ended leaves its lane.
        self.lanes.values().for_each(|lane| lane.lets_go());
        Ok(())
    }

    fn incident_heard(&self, incident: &Incident) {
        if incident.mode == Mode::Real {
            let open = incident.closed.is_none();
            let down = incident.state.facts().platforms_down.into_iter().filter(|_| open).collect();
            self.platforms_changed(incident.id, incident.version, down);
        }
    }

    /// The hand that somebody has put on a channel, and its breaker; of all channels, where none is named.
    async fn channels_heard(&self, only: Option<ChannelId>) -> Result<()> {
        let known: BTreeMap<ChannelId, Option<u64>> =
            self.lanes.iter().map(|(id, lane)| (*id, lane.breaker_known())).collect();
        let paused: BTreeMap<ChannelId, bool> =
            self.store.channels(Vec::new()).await?.into_iter().map(|(_, id, paused)| (id, paused)).collect();
        let breakers: BTreeMap<ChannelId, BreakerRow> = self
            .store
            .breakers()
            .await?
            .into_iter()
            .filter(|row| row.host.is_empty())
            .map(|row| (row.channel, row))
            .collect();
        let _alone = self.brake.lock().await;
        for (id, lane) in self.lanes.iter().filter(|(id, _)| only.is_none_or(|only| only == **id)) {
            lane.compromise_heard(&*self.store).await?;
            lane.pause(paused.get(id).copied().unwrap_or(false) || lane.compromised().is_some());
            if let Some(row) = breakers.get(id) {
                lane.breaker_heard(row, known.get(id).copied().flatten(), &self.clock);
            }
            lane.barrier();
            lane.wake();
        }
        self.ways_changed();
        self.happened();
        Ok(())
    }
}

struct Net {
    journal: i64,
    next: Instant,
}

impl Net {
    async fn look(&mut self, engine: &Arc<Engine>) -> Result<()> {
        if engine.happened.receiver_count() > 0 {
            let end = engine.store.journal_end().await?;
            if std::mem::replace(&mut self.journal, end) != end {
                engine.happened();
            }
        }
        let now = engine.clock.monotonic();
        if now < self.next {
            return Ok(());
        }
        self.next = now + NET;
        let own = engine.leases.mask();
        let running = |live: &super::live::Live| live.state() == BroadcastState::Running && live.paged(own);
        let asked: Vec<_> = lock(&engine.live).values().filter(|live| running(live)).cloned().collect();
        for live in asked {
            recorder::ended(engine, &live, || live.paged(engine.leases.mask())).await;
        }
        engine.look_for_rows();
        Ok(())
    }
}
