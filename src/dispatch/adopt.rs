//! Shards that have become ours: how far each broadcast has come there is read anew, what their last owner had begun is taken up
//! (`recovery.rs`), and only then are they paged. A shard of which something of ours is still on the wire, from an earlier
//! lease, is taken up when that has an outcome.

use std::sync::Arc;

use super::{Engine, lock, recovery};
use crate::clock::Time;
use crate::plan::Priority;
use crate::store::Result;

pub(super) async fn run(engine: &Arc<Engine>) -> Result<()> {
    let known = *lock(&engine.adopted);
    let epochs = engine.leases.epochs();
    if known == epochs {
        return Ok(());
    }
    let mut adopted = epochs;
    let mut fresh = 0u64;
    for (shard, epoch) in adopted.iter_mut().enumerate().filter(|(shard, epoch)| **epoch != known[*shard]) {
        match *epoch {
            0 => {}
            _ if engine.leases.under_way(shard as u8) > 0 => *epoch = 0,
            _ => fresh |= 1 << shard,
        }
    }
    *lock(&engine.adopted) = adopted;
    metrics::gauge!("loudhailer_shards").set(f64::from(engine.own().count_ones()));
    // What waits in memory for a shard that is gone leaves; a lease that lasts again lets lanes go on.
    engine.lanes.values().for_each(|lane| lane.lets_go());
    if fresh == 0 {
        return Ok(());
    }
    if engine.leases.shared() {
        tracing::info!(
            shards = fresh.count_ones(),
            owned = engine.own().count_ones(),
            "shards have become this node's"
        );
        let now = engine.clock.monotonic();
        engine.lanes.values().for_each(|lane| lane.recipients_came(now));
        read(engine).await.inspect_err(|_| *lock(&engine.adopted) = known)?;
    }
    recovery::run(engine, fresh).await;
    engine.look_for_rows();
    // A way may have opened while they were nobody's, or where their last owner did not hear of it.
    engine.owe_a_wake();
    Ok(())
}

/// Where what is in memory is found not to be as the store has it.
pub(super) async fn read_anew(engine: &Engine) {
    if engine.leases.shared()
        && let Err(error) = read(engine).await
    {
        tracing::debug!(%error, "how far broadcasts have come can't be read");
    }
}

async fn read(engine: &Engine) -> Result<()> {
    let known: Vec<_> = lock(&engine.live).values().cloned().collect();
    for live in known {
        // What only counts changes store and memory together, under the reader's lock.
        let _alone = engine.in_step.write().await;
        if let Some(written) = engine.store.broadcast(live.broadcast.id).await? {
            live.read_anew(&written, engine.leases.mask());
        }
    }
    Ok(())
}

impl Engine {
    /// The epoch of a shard that is ours, and of which everything is taken up.
    pub(crate) fn adopted(&self, shard: u8) -> Option<i64> {
        let epoch = *lock(&self.adopted).get(usize::from(shard))?;
        (epoch != 0 && self.leases.ours(shard, epoch)).then_some(epoch)
    }

    /// A bit for each of those shards.
    pub(crate) fn own(&self) -> u64 {
        let adopted = *lock(&self.adopted);
        let ours =
            |shard: &u8| adopted[usize::from(*shard)] != 0 && self.leases.ours(*shard, adopted[usize::from(*shard)]);
        (0..64u8).filter(ours).fold(0, |mask, shard| mask | 1 << shard)
    }

    /// Open rows may be due in any lane.
    pub(super) fn look_for_rows(&self) {
        let known: Vec<_> = lock(&self.hints).keys().map(|(_, lane)| *lane).collect();
        for lane in known.into_iter().chain(self.lanes.keys().copied()).chain(SPECIAL) {
            Priority::ALL.iter().for_each(|priority| self.hint(*priority, lane, Time(0)));
        }
        self.plan.notify_one();
    }
}

const SPECIAL: [crate::audience::route::ChannelId; 3] =
    [crate::store::UNDECIDED, crate::store::QUIET, crate::store::CONFIRMS];
