//! Which shards this node decides for, as far as it knows: each under the epoch of its lease, which no earlier owner had, and for as
//! long as the node's own lease lasts by the monotonic clock. The store keeps this true, and the engine asks it before each try.
//! A shard that is given away is not ours from the moment at which that is decided; its new owner gets it once nothing of it is
//! on the wire any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::clock::Instant;

/// Fixed slices of subscribers.
pub const SHARDS: u8 = 64;

pub struct Leases {
    /// Of each shard; 0 where it is not ours.
    epochs: [AtomicI64; SHARDS as usize],
    /// In nanoseconds of the monotonic clock; the most there can be where nobody else may ever own a shard.
    until: AtomicU64,
    /// Attempts begun whose outcome is not on disk yet, by shard.
    under_way: [AtomicU32; SHARDS as usize],
    leaving: AtomicBool,
    changed: Arc<Changed>,
}

/// Whoever waits for a change is woken in the order in which they began to, so that what follows is the same every time.
#[derive(Default)]
struct Changed {
    count: AtomicU64,
    wakes: Notify,
}

/// Changes of the leases, for one who waits for them.
pub struct Changes {
    of: Arc<Changed>,
    seen: u64,
}

impl Changes {
    /// Until something has changed since this was called last.
    pub async fn changed(&mut self) {
        loop {
            let of = self.of.clone();
            let woken = of.wakes.notified();
            if self.has_changed() {
                return self.mark_unchanged();
            }
            woken.await;
        }
    }

    pub fn has_changed(&self) -> bool {
        self.of.count.load(Ordering::Acquire) != self.seen
    }

    pub fn mark_unchanged(&mut self) {
        self.seen = self.of.count.load(Ordering::Acquire);
    }
}

impl Leases {
    /// Every shard, for as long as the process lives: one node alone can own the store.
    pub fn forever(epoch: i64) -> Leases {
        Leases::with(epoch, u64::MAX)
    }

    pub fn none() -> Leases {
        Leases::with(0, 0)
    }

    fn with(epoch: i64, until: u64) -> Leases {
        Leases {
            epochs: std::array::from_fn(|_| AtomicI64::new(epoch)),
            until: AtomicU64::new(until),
            under_way: std::array::from_fn(|_| AtomicU32::new(0)),
            leaving: AtomicBool::new(false),
            changed: Arc::default(),
        }
    }

    /// Other nodes may own shards of this store.
    pub fn shared(&self) -> bool {
        self.until.load(Ordering::Acquire) != u64::MAX
    }

    /// The epoch under which a shard is ours.
    pub fn epoch(&self, shard: u8) -> Option<i64> {
        let epoch = self.epochs.get(usize::from(shard))?.load(Ordering::Acquire);
        (epoch != 0).then_some(epoch)
    }

    /// Whether what was decided under this epoch is still ours to send.
    pub fn ours(&self, shard: u8, epoch: i64) -> bool {
        self.epoch(shard) == Some(epoch)
    }

    /// A bit for each shard that is ours.
    pub fn mask(&self) -> u64 {
        (0..SHARDS).filter(|shard| self.epoch(*shard).is_some()).fold(0, |mask, shard| mask | 1 << shard)
    }

    /// The epoch of each shard; 0 where it is not ours.
    pub fn epochs(&self) -> [i64; SHARDS as usize] {
        std::array::from_fn(|shard| self.epochs[shard].load(Ordering::Acquire))
    }

    /// Whether the node's lease lasts. Where it has ended, another may own its shards by now: nothing begins.
    pub fn last(&self, now: Instant) -> bool {
        (now.as_nanos() as u64) < self.until.load(Ordering::Acquire)
    }

    /// What one node does for all, such as timers, is done by whoever owns the first shard.
    pub fn lead(&self, now: Instant) -> bool {
        self.last(now) && self.epoch(0).is_some()
    }

    /// Counts whenever a shard has come or gone, or the lease lasts again.
    pub fn changes(&self) -> Changes {
        Changes { of: self.changed.clone(), seen: self.changed.count.load(Ordering::Acquire) }
    }

    /// The process ends: what is ours is others' as soon as nothing of it is on the wire, and nothing more is taken.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(super) fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub fn begins(&self, shard: u8) {
        self.under_way[usize::from(shard % SHARDS)].fetch_add(1, Ordering::AcqRel);
    }

    /// The outcomes of so many attempts are on disk.
    pub fn recorded(&self, shard: u8) {
        let counter = &self.under_way[usize::from(shard % SHARDS)];
        let _ = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| count.checked_sub(1));
    }

    pub fn under_way(&self, shard: u8) -> u32 {
        self.under_way[usize::from(shard % SHARDS)].load(Ordering::Acquire)
    }

    pub(super) fn extend(&self, until: Instant, now: Instant) {
        let lasted = self.last(now);
        self.until.store(until.as_nanos() as u64, Ordering::Release);
        if !lasted {
            self.change();
        }
    }

    pub(super) fn take(&self, shard: u8, epoch: i64) {
        self.set(shard, epoch);
    }

    /// From here on nothing of it begins.
    pub(super) fn give(&self, shard: u8) {
        self.set(shard, 0);
    }

    fn set(&self, shard: u8, epoch: i64) {
        if self.epochs[usize::from(shard % SHARDS)].swap(epoch, Ordering::AcqRel) != epoch {
            self.change();
        }
    }

    fn change(&self) {
        self.changed.count.fetch_add(1, Ordering::AcqRel);
        self.changed.wakes.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_shard_is_ours_under_one_epoch_and_for_as_long_as_the_lease_lasts() {
        let leases = Leases::none();
        let at = Duration::from_secs;
        assert!(!leases.last(at(0)) && leases.shared() && leases.mask() == 0);
        let mut changes = leases.changes();
        leases.extend(at(5), at(0));
        leases.take(3, 7);
        assert!(changes.has_changed());
        changes.mark_unchanged();
        assert!(leases.ours(3, 7) && !leases.ours(3, 6) && !leases.ours(4, 7));
        assert_eq!((leases.mask(), leases.epoch(3), leases.epoch(0)), (1 << 3, Some(7), None));
        leases.extend(at(6), at(1));
        assert!(!changes.has_changed(), "it lasted anyway");
        assert!(leases.last(at(5)) && !leases.last(at(6)));
        leases.extend(at(12), at(7));
        assert!(changes.has_changed(), "whoever waited for it goes on");
        leases.give(3);
        assert!(!leases.ours(3, 7) && leases.mask() == 0);
        leases.begins(3);
        leases.recorded(3);
        leases.recorded(3);
        assert_eq!(leases.under_way(3), 0);
    }

    #[test]
    fn who_owns_the_first_shard_leads() {
        let forever = Leases::forever(1);
        assert!(!forever.shared() && forever.lead(Duration::MAX / 4_000_000_000) && forever.mask() == u64::MAX);
        let leases = Leases::none();
        leases.extend(Duration::from_secs(5), Duration::ZERO);
        leases.take(1, 2);
        assert!(!leases.lead(Duration::ZERO));
        leases.take(0, 2);
        assert!(leases.lead(Duration::ZERO) && !leases.lead(Duration::from_secs(5)));
    }
}
