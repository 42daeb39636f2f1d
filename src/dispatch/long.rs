//! A window above a minute, counted in buckets that the store keeps, so that a restart forgets nothing. Blocks of attempts are
//! written before they are used: a crash only counts too much.

use std::collections::BTreeMap;
use std::time::Duration;

use super::permit::Reservation;
use crate::clock::Time;
use crate::quantity::Limit;
use crate::store::{Reserved, Result, Store};

/// A window is counted in so many buckets; the one that is half out of the window counts whole.
const BUCKETS: i64 = 64;

pub struct Long {
    name: String,
    limit: Limit,
    /// Bucket number → attempts begun or reserved, on all nodes.
    spent: BTreeMap<i64, i64>,
    /// Of those, what this life has reserved and not used.
    unused: BTreeMap<i64, i64>,
    reserved: Block,
    /// By how many milliseconds the store's clock, which numbers the buckets, may be ahead of ours.
    ahead: i64,
}

/// Attempts of one bucket that are reserved in the store and have not begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Block {
    bucket: i64,
    left: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Short {
    /// Of time: not before so long.
    Wait(Duration),
    /// Of reserved attempts.
    Reserve(Reservation),
}

impl Long {
    pub fn new(name: String, limit: Limit, spent: BTreeMap<i64, i64>) -> Long {
        Long { name, limit, spent, unused: BTreeMap::new(), reserved: Block::default(), ahead: 0 }
    }

    /// With what the window had spent before this start. `whose`: the channel, or the account of several.
    pub async fn read(store: &dyn Store, whose: &str, limit: Limit, now: Time) -> Result<Long> {
        let mut long = Long::new(format!("{whose} {limit}"), limit, BTreeMap::new());
        let most = i64::from(limit.count);
        let known = store.reserve(&long.name, width(limit), BUCKETS, most, 0, now).await?;
        let name = long.name.clone();
        long.reserved(&name, &known);
        Ok(long)
    }

    /// Whether an attempt may begin now; spends nothing.
    pub fn check(&mut self, now: Time) -> std::result::Result<(), Short> {
        let now = now.0 + self.ahead;
        let bucket = now / width(self.limit);
        self.comes_to(bucket);
        if self.reserved.left > 0 {
            return Ok(());
        }
        let recent = |spent: &i64, count: &mut i64| *spent >= bucket - BUCKETS && *count > 0;
        self.spent.retain(recent);
        self.unused.retain(recent);
        let unused: i64 = self.unused.values().sum();
        let most = i64::from(self.limit.count) + unused;
        let left = most - self.spent.values().sum::<i64>();
        if left <= 0 {
            let begun = |bucket: &&i64| self.spent[*bucket] > self.unused.get(*bucket).copied().unwrap_or(0);
            let oldest = self.spent.keys().find(begun).copied().unwrap_or(bucket);
            let free = (oldest + BUCKETS + 1) * width(self.limit);
            return Err(Short::Wait(Duration::from_millis(u64::try_from(free - now).unwrap_or(0).max(1))));
        }
        let count = (i64::from(self.limit.count) / 100).clamp(1, left);
        let (name, width) = (self.name.clone(), width(self.limit));
        Err(Short::Reserve(Reservation::Block { name, width, buckets: BUCKETS, most, count }))
    }

    /// What was not used of an earlier bucket is free again, as far as this life knows.
    fn comes_to(&mut self, bucket: i64) {
        if self.reserved.bucket != bucket {
            if self.reserved.left > 0 {
                *self.unused.entry(self.reserved.bucket).or_default() += self.reserved.left;
            }
            self.reserved = Block { bucket, left: 0 };
        }
    }

    /// The store has answered with what it knows, and so many more.
    pub fn reserved(&mut self, name: &str, answer: &Reserved) {
        if self.name != name {
            return;
        }
        self.spent = answer.spent.iter().copied().collect();
        self.ahead = answer.ahead;
        self.comes_to(answer.bucket);
        self.reserved.left += answer.count;
    }

    pub fn spend(&mut self) {
        self.reserved.left -= 1;
    }
}

/// Of one bucket, in milliseconds; rounded up, so that all of them together hold the window.
fn width(limit: Limit) -> i64 {
    i64::try_from(limit.window.as_millis().div_ceil(BUCKETS as u128)).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const LIMIT: Limit = Limit { count: 100, window: Duration::from_secs(3600) };

    /// What a store would answer.
    pub fn answer(spent: &mut BTreeMap<i64, i64>, reservation: &Reservation, now: Time) -> Reserved {
        let Reservation::Block { width, buckets, most, count, .. } = reservation else { panic!("no block") };
        let bucket = now.0 / width;
        let known =
            |spent: &BTreeMap<i64, i64>| spent.range(bucket - buckets..).map(|(b, n)| (*b, *n)).collect::<Vec<_>>();
        let left = most - known(spent).iter().map(|(_, n)| n).sum::<i64>();
        let count = (*count).min(left).max(0);
        *spent.entry(bucket).or_default() += count;
        Reserved { bucket, count, spent: known(spent), ahead: 0 }
    }

    fn spend(long: &mut Long, store: &mut BTreeMap<i64, i64>, now: Time) -> std::result::Result<(), Duration> {
        loop {
            match long.check(now) {
                Ok(()) => {
                    long.spend();
                    return Ok(());
                }
                Err(Short::Wait(wait)) => return Err(wait),
                Err(Short::Reserve(reservation)) => long.reserved("x", &answer(store, &reservation, now)),
            }
        }
    }

    #[test]
    fn a_long_window_is_kept_over_a_restart() {
        let start = Time(1_000_000_000);
        let mut store = BTreeMap::new();
        let mut long = Long::new("x".into(), LIMIT, BTreeMap::new());
        for _ in 0..100 {
            spend(&mut long, &mut store, start).expect("within the limit");
        }
        spend(&mut long, &mut store, start).expect_err("all is spent");
        let mut long = Long::new("x".into(), LIMIT, store.clone());
        let wait = spend(&mut long, &mut store, start).expect_err("it was spent before the restart");
        assert!(wait >= LIMIT.window, "{wait:?}");
        spend(&mut long, &mut store, start.plus(wait)).expect("the window has passed");
    }

    #[test]
    fn nodes_that_reserve_at_one_time_have_no_more_than_the_limit_together() {
        let mut store = BTreeMap::new();
        let mut nodes: Vec<Long> = (0..3).map(|_| Long::new("x".into(), LIMIT, BTreeMap::new())).collect();
        let (mut now, mut begun) = (Time(1_000_000_000), Vec::new());
        let mut chance = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            now = now.plus(LIMIT.window / 500);
            let one = chance.usize(..3);
            if spend(&mut nodes[one], &mut store, now).is_ok() {
                begun.push(now);
            }
        }
        let within = |from: &Time| begun.iter().filter(|at| *at >= from && **at < from.plus(LIMIT.window)).count();
        let most = begun.iter().map(within).max().unwrap_or(0);
        assert!(most <= 100 && begun.len() > 200, "{most} in a window, {} in all", begun.len());
    }

    #[test]
    fn two_reservations_at_one_time_are_not_more_than_the_limit() {
        let limit = Limit { count: 150, ..LIMIT };
        let mut store = BTreeMap::from([(0, 149)]);
        let mut long = Long::new("x".into(), limit, store.clone());
        let Err(Short::Reserve(reservation)) = long.check(Time(0)) else { panic!("one is left") };
        for _ in 0..2 {
            long.reserved("x", &answer(&mut store, &reservation, Time(0)));
        }
        spend(&mut long, &mut store, Time(0)).expect("the last one");
        spend(&mut long, &mut store, Time(0)).expect_err("all is spent");
    }

    #[test]
    fn what_was_reserved_and_not_used_is_free_again() {
        let limit = Limit { count: 1_000, ..LIMIT };
        let mut store = BTreeMap::new();
        let mut long = Long::new("x".into(), limit, BTreeMap::new());
        let mut now = Time(0);
        for _ in 0..64 {
            spend(&mut long, &mut store, now).expect("one in each bucket");
            now = now.plus(LIMIT.window / 64);
        }
        for n in 0..900 {
            spend(&mut long, &mut store, now).unwrap_or_else(|_| panic!("{n} more, and no room"));
        }
    }
}
