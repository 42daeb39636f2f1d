//! The states of broadcasts in memory. Enter: broadcasts that were drawn, released, stopped, paused or resumed. Promised: when
//! a call returns, no attempt begins that the new state forbids, and none of what was superseded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::live::Live;
use super::{Engine, lock, recorder, whole};
use crate::fault::{self, Fault};
use crate::id::BroadcastId;
use crate::store::{Broadcast, BroadcastState, Result};

fn released(state: BroadcastState) -> bool {
    matches!(state, BroadcastState::Running | BroadcastState::Paused | BroadcastState::Done)
}

impl Engine {
    /// Takes up broadcasts as the store has them. When this returns, no try of what they supersede begins.
    pub async fn notice(&self, ids: &[BroadcastId]) -> Result<()> {
        // No state of theirs changes between being read and being taken up.
        let _in_step = self.in_step.read().await;
        let broadcasts = self.written(ids).await?;
        for new in broadcasts.iter().filter(|broadcast| broadcast.state.live() && self.live(broadcast.id).is_none()) {
            lock(&self.undrawn).insert(new.id);
        }
        self.take(broadcasts);
        Ok(())
    }

    pub(super) async fn noticed(&self, ids: &[BroadcastId]) -> Result<()> {
        self.take(self.written(ids).await?);
        Ok(())
    }

    async fn written(&self, ids: &[BroadcastId]) -> Result<Vec<Broadcast>> {
        let mut broadcasts = Vec::with_capacity(ids.len());
        for id in ids {
            broadcasts.extend(self.store.broadcast(*id).await?);
        }
        Ok(broadcasts)
    }

    /// The same, as the store has just drawn them, perhaps with others that ended by it. Where somebody was faster and has changed
    /// one since, it is as they left it; what it has superseded is so all the same.
    pub fn take_drawn(&self, mut broadcasts: Vec<Broadcast>) {
        broadcasts.retain(|broadcast| {
            let known = lock(&self.undrawn).remove(&broadcast.id);
            if known && released(broadcast.state) {
                self.supersede(&mut lock(&self.live), broadcast);
            }
            !broadcast.state.live() || !(known || lock(&self.live).contains_key(&broadcast.id))
        });
        self.take(broadcasts);
    }

    fn take(&self, broadcasts: Vec<Broadcast>) {
        broadcasts.into_iter().for_each(|broadcast| self.take_up(broadcast));
        self.plan.notify_one();
        self.tick.notify_one();
        // What was stopped or has expired may have been the last that was under way.
        self.recorded.notify_waiters();
        self.happened();
    }

    pub(super) fn take_up(&self, broadcast: Broadcast) {
        let mut live = lock(&self.live);
        let (id, state) = (broadcast.id, broadcast.state);
        if released(state) && !lock(&self.threads).is_latest(broadcast.incident, &broadcast.audience, broadcast.version)
        {
            // Two events were answered at one time, and whoever brought the newer one was here first.
            if let Some(known) = live.remove(&id) {
                known.set_state(BroadcastState::Superseded);
            }
            return;
        }
        if released(state) {
            self.supersede(&mut live, &broadcast);
        }
        // Selection and priority are final once it is released; before that nothing in memory is its.
        let replaces = |known: &Live| known.broadcast.state == BroadcastState::Held && state != BroadcastState::Held;
        let mut resumed = false;
        match (live.get(&id), state.live()) {
            (Some(known), true) if !replaces(known) => {
                resumed = (known.state(), state) == (BroadcastState::Paused, BroadcastState::Running);
                known.set_state(state);
            }
            (_, true) => drop(live.insert(id, Arc::new(Live::new(broadcast, self.leases.mask())))),
            (Some(known), false) => {
                known.set_state(state);
                live.remove(&id);
            }
            (None, false) => {}
        }
        drop(live);
        if resumed {
            // On whatever node somebody has resumed it: what left its lane for the pause is decided again.
            self.ways_changed();
        }
        self.barrier();
    }

    /// What is older in its thread.
    fn supersede(&self, live: &mut BTreeMap<BroadcastId, Arc<Live>>, broadcast: &Broadcast) {
        let older = |other: &Live| {
            other.broadcast.incident == broadcast.incident
                && (other.broadcast.audience == broadcast.audience || fault::on(Fault::SupersessionAcrossAudiences))
                && other.broadcast.version < broadcast.version
                && other.broadcast.id != broadcast.id
        };
        let mut superseded = live.values().filter(|other| older(other)).peekable();
        if superseded.peek().is_none() {
            return;
        }
        superseded.for_each(|other| other.set_state(BroadcastState::Superseded));
        self.lanes.values().for_each(|lane| lane.lets_go());
        live.retain(|_, other| other.state().live());
    }

    /// When this returns, every attempt that is still to begin will see what was set before.
    pub(crate) fn barrier(&self) {
        for lane in self.lanes.values() {
            lane.barrier();
        }
    }

    pub fn live(&self, id: BroadcastId) -> Option<Arc<Live>> {
        lock(&self.live).get(&id).cloned()
    }

    /// Lets go what is held, and takes it up. False: it was not held.
    pub async fn release(self: &Arc<Engine>, id: BroadcastId, by: &str) -> Result<bool> {
        let (engine, by) = (self.clone(), by.to_string());
        whole(async move {
            let alone = engine.in_step.write().await;
            let released = engine.store.release(id, engine.clock.calendar(), &by).await?;
            let was_held = released.is_some();
            engine.take(released.into_iter().collect());
            drop(alone);
            engine.store.obeyed().await;
            Ok(was_held)
        })
        .await
    }

    /// Stops, pauses or resumes a broadcast. When this returns true, no attempt of it begins that the new state forbids.
    pub async fn change_state(
        self: &Arc<Engine>,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        by: &str,
    ) -> Result<bool> {
        let (engine, by) = (self.clone(), by.to_string());
        let changed = whole(async move {
            let changed = engine.changed_state(id, from, to, &by).await?;
            engine.store.obeyed().await;
            Ok(changed)
        })
        .await?;
        match to {
            // Everyone may have come to an end while it was paused.
            BroadcastState::Running if changed => {
                if let Some(live) = self.live(id) {
                    recorder::finish(self, &live).await;
                }
            }
            _ if changed => self.attempts_begun(id).await,
            _ => {}
        }
        Ok(changed)
    }

    async fn changed_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        by: &str,
    ) -> Result<bool> {
        let _alone = self.in_step.write().await;
        let live = self.live(id);
        let before = live.as_ref().map(|live| live.state());
        // The lanes obey first, so that nothing begins while the store writes; if it can't write, they go on.
        if let (Some(live), Some(before)) = (&live, before)
            && from.contains(&before)
            && to != BroadcastState::Running
        {
            live.set_state(to);
            self.barrier();
        }
        let written = self.store.change_state(id, from, to, self.clock.calendar(), by).await;
        let changed = match written {
            Ok(Some(broadcast)) => {
                if live.is_none() && !broadcast.state.live() {
                    lock(&self.undrawn).insert(id);
                }
                self.take(vec![broadcast]);
                if to != BroadcastState::Running {
                    // What waits for a permit leaves now, and counts as what it has become.
                    self.lanes.values().for_each(|lane| lane.lets_go());
                }
                return Ok(true);
            }
            // Somebody else was faster, and it is as they left it.
            Ok(None) if live.is_some() => self.noticed(&[id]).await.map(|()| false),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        if let (Err(_), Some(live), Some(before)) = (&changed, &live, before) {
            live.set_back(to, before);
            // What left its lane meanwhile is decided again.
            self.ways_changed();
        }
        changed
    }

    /// Waits until attempts that began before have ended, a moment at most: they are on the wire, or about to be.
    async fn attempts_begun(&self, id: BroadcastId) {
        let ended = async {
            loop {
                let recorded = self.recorded.notified();
                if !lock(&self.attempting).contains_key(&id) {
                    return;
                }
                recorded.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(250), ended).await;
    }
}
