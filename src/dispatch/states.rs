//! The states of broadcasts in memory. Enter: broadcasts that were drawn, released, stopped, paused or resumed. Promised: when
//! a call returns, no attempt begins that the new state forbids, and none of what was superseded.

use std::sync::Arc;
use std::time::Duration;

use super::live::Live;
use super::{Engine, lock};
use crate::fault::{self, Fault};
use crate::id::BroadcastId;
use crate::store::{Broadcast, BroadcastState, Result};

impl Engine {
    /// Takes up broadcasts that were drawn, released or changed. When this returns, no try of what they supersede begins.
    pub async fn notice(&self, ids: &[BroadcastId]) -> Result<()> {
        // None of them ends between being read and being taken up.
        let _counted = self.ends.read().await;
        self.noticed(ids).await
    }

    pub(super) async fn noticed(&self, ids: &[BroadcastId]) -> Result<()> {
        let mut broadcasts = Vec::with_capacity(ids.len());
        for id in ids {
            broadcasts.extend(self.store.broadcast(*id).await?);
        }
        self.take(broadcasts);
        Ok(())
    }

    /// The same, as the store has just written them.
    pub fn take(&self, broadcasts: Vec<Broadcast>) {
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
        let released = matches!(state, BroadcastState::Running | BroadcastState::Paused | BroadcastState::Done);
        if released && !lock(&self.threads).is_latest(broadcast.incident, &broadcast.audience, broadcast.version) {
            // Two events were answered at one time, and whoever brought the newer one was here first.
            if let Some(known) = live.remove(&id) {
                known.set_state(BroadcastState::Superseded);
            }
            return;
        }
        if released {
            let older = |other: &Live| {
                other.broadcast.incident == broadcast.incident
                    && (other.broadcast.audience == broadcast.audience || fault::on(Fault::SupersessionAcrossAudiences))
                    && other.broadcast.version < broadcast.version
                    && other.broadcast.id != id
            };
            for other in live.values().filter(|other| older(other)) {
                other.set_state(BroadcastState::Superseded);
                // What waits in them leaves now, and makes room for what is newer.
                self.lanes.values().for_each(|lane| lane.wake());
            }
            live.retain(|_, other| other.state().live());
        }
        // Selection and priority are final once it is released; before that nothing in memory is its.
        let replaces = |known: &Live| known.broadcast.state == BroadcastState::Held && state != BroadcastState::Held;
        match (live.get(&id), state.live()) {
            (Some(known), true) if !replaces(known) => known.set_state(state),
            (_, true) => drop(live.insert(id, Arc::new(Live::new(broadcast)))),
            (Some(known), false) => {
                known.set_state(state);
                live.remove(&id);
            }
            (None, false) => {}
        }
        drop(live);
        self.barrier();
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

    /// Stops, pauses or resumes a broadcast. When this returns true, no attempt of it begins that the new state forbids.
    pub async fn change_state(
        &self,
        id: BroadcastId,
        from: Vec<BroadcastState>,
        to: BroadcastState,
        by: &str,
    ) -> Result<bool> {
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
        match (&written, &live, before) {
            (Ok(true), ..) => {
                self.notice(&[id]).await?;
                if to == BroadcastState::Running {
                    self.ways_changed();
                } else {
                    // What waits for a permit leaves now, and counts as what it has become.
                    self.lanes.values().for_each(|lane| lane.wake());
                    self.attempts_begun(id).await;
                }
            }
            // Somebody else was faster, and it is as they left it.
            (Ok(false), Some(_), Some(_)) => self.notice(&[id]).await?,
            (Err(_), Some(live), Some(before)) => {
                live.set_back(to, before);
                // What left its lane meanwhile is decided again.
                self.ways_changed();
            }
            _ => {}
        }
        written
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
