//! The ways that are open: what incidents say is down, which channels are broken. Promised: what waits in a lane that is
//! blocked moves, be it in memory or until a later try, and what waits for a way is decided again as soon as one may have opened.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::lane::Lane;
use super::recorder::Entry;
use super::{Engine, lock};
use crate::audience::route::{Candidate, ChannelId};
use crate::clock::Time;
use crate::id::IncidentId;
use crate::plan::Priority;
use crate::store::{BreakerRow, Result, UNDECIDED};

impl Engine {
    pub(crate) fn note_down(&self, incident: IncidentId, version: i64, platforms: BTreeSet<String>) {
        lock(&self.down).note(incident, version, platforms);
    }

    /// The failure domains that some open incident says are down.
    pub fn platforms_down(&self) -> BTreeSet<String> {
        lock(&self.down).platforms()
    }

    /// A version of an incident says anew what is down. What waits in an affected lane moves; what waited for a way decides again.
    pub fn platforms_changed(&self, incident: IncidentId, version: i64, platforms: BTreeSet<String>) {
        let mut down = lock(&self.down);
        if down.note(incident, version, platforms) {
            let (now, at) = (down.platforms(), self.clock.monotonic());
            self.lanes.values().for_each(|lane| lane.set_down(&now, at));
            drop(down);
            self.barrier();
            self.lanes.values().for_each(|lane| lane.wake());
            self.ways_changed();
        }
    }

    pub(crate) fn breaker_changed(&self, lane: &Lane, row: BreakerRow) {
        tracing::warn!(channel = lane.settings.name, state = row.state, "a breaker changed");
        lane.breaker_changes();
        self.enter(Entry::Breaker(row));
        lane.wake();
        self.ways_changed();
    }

    /// The channels as routing sees them.
    pub fn candidates(&self) -> Vec<Candidate> {
        let (weights, now) = (self.weights(), self.clock.monotonic());
        let weight = |lane: &Lane| weights.get(&lane.settings.id).copied().unwrap_or(lane.settings.weight);
        self.lanes.values().map(|lane| lane.candidate(weight(lane), now)).collect()
    }

    /// How often ways have changed. Whoever decides that a recipient waits reads this first, and says it to `waits_written`.
    pub(crate) fn ways(&self) -> u64 {
        self.ways.load(Ordering::Acquire)
    }

    /// Something that was down may work again: the planner wakes what waits.
    pub(crate) fn ways_changed(&self) {
        self.ways.fetch_add(1, Ordering::AcqRel);
        self.owe_a_wake();
    }

    /// Rows that wait for a way are on disk. If ways changed while they were being decided, the others may have been woken too
    /// early for these.
    pub(crate) fn waits_written(&self, decided_at: u64) {
        if self.ways() != decided_at {
            self.owe_a_wake();
        }
    }

    pub(super) fn owe_a_wake(&self) {
        self.wake.store(true, Ordering::Release);
        self.plan.notify_one();
    }

    /// Makes due what waits for a way, if that is owed; it stays owed until it is on disk.
    pub(super) async fn wake_waiting(&self) -> Result<()> {
        if !self.wake.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let now = self.clock.steady();
        let blocked: Vec<ChannelId> =
            self.lanes.iter().filter(|(_, lane)| lane.closed(self.clock.monotonic())).map(|(id, _)| *id).collect();
        self.store.wake(blocked.clone(), now).await.inspect_err(|_| self.wake.store(true, Ordering::Release))?;
        for lane in [UNDECIDED].into_iter().chain(blocked) {
            for priority in Priority::ALL {
                self.hint(*priority, lane, now);
            }
        }
        Ok(())
    }

    pub(crate) fn hint(&self, priority: Priority, lane: ChannelId, due: Time) {
        let mut hints = lock(&self.hints);
        let entry = hints.entry((priority, lane)).or_insert(due);
        *entry = (*entry).min(due);
    }
}
