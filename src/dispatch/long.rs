//! A window above a minute, counted in buckets that the store keeps, so that a restart forgets nothing. Blocks of attempts are
//! written before they are used: a crash only counts too much.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::quantity::Limit;
use crate::store::{Result, Store};

/// A window is counted in so many buckets; the one that is half out of the window counts whole.
const BUCKETS: i64 = 64;

pub struct Long {
    name: String,
    limit: Limit,
    /// Bucket number → attempts begun or reserved.
    spent: BTreeMap<i64, i64>,
    reserved: Block,
}

/// Attempts of one bucket that are reserved in the store and have not begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Block {
    bucket: i64,
    left: i64,
}

/// To be written to the store before attempts use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub name: String,
    pub bucket: i64,
    pub count: i64,
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
        Long { name, limit, spent, reserved: Block::default() }
    }

    /// With what the window had spent before this start. `whose`: the channel, or the account of several.
    pub async fn read(store: &dyn Store, whose: &str, limit: Limit, now: Time) -> Result<Long> {
        let name = format!("{whose} {limit}");
        let current = now.0 / width(limit);
        let mut spent = store.spent(&name, current - BUCKETS).await?;
        spent.retain(|_| !fault::on(Fault::LongLimitForgotten));
        Ok(Long::new(name, limit, spent.into_iter().filter(|(bucket, _)| *bucket <= current).collect()))
    }

    /// Whether an attempt may begin now; spends nothing.
    pub fn check(&mut self, now: Time) -> std::result::Result<(), Short> {
        let bucket = now.0 / width(self.limit);
        if self.reserved.bucket != bucket {
            // What was not used is free again, as far as this life knows.
            if let Some(spent) = self.spent.get_mut(&self.reserved.bucket) {
                *spent -= self.reserved.left;
            }
            self.reserved = Block { bucket, left: 0 };
        }
        if self.reserved.left > 0 {
            return Ok(());
        }
        self.spent.retain(|spent, count| *spent >= bucket - BUCKETS && *count > 0);
        let left = self.left();
        if left <= 0 {
            let oldest = self.spent.keys().next().copied().unwrap_or(bucket);
            let free = (oldest + BUCKETS + 1) * width(self.limit);
            return Err(Short::Wait(Duration::from_millis(u64::try_from(free - now.0).unwrap_or(0).max(1))));
        }
        let count = (i64::from(self.limit.count) / 100).clamp(1, left);
        Err(Short::Reserve(Reservation { name: self.name.clone(), bucket, count }))
    }

    fn left(&self) -> i64 {
        i64::from(self.limit.count) - self.spent.values().sum::<i64>()
    }

    /// A reservation is on disk. Two may have been made at one time: together they may be more than is left.
    pub fn reserved(&mut self, reservation: &Reservation) {
        if self.name != reservation.name {
            return;
        }
        let usable = reservation.count.min(self.left()).max(0);
        *self.spent.entry(reservation.bucket).or_default() += reservation.count;
        if self.reserved.bucket == reservation.bucket {
            self.reserved.left += usable;
        }
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
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { count: 100, window: Duration::from_secs(3600) };

    fn spend(long: &mut Long, now: Time) -> std::result::Result<(), Duration> {
        loop {
            match long.check(now) {
                Ok(()) => {
                    long.spend();
                    return Ok(());
                }
                Err(Short::Wait(wait)) => return Err(wait),
                Err(Short::Reserve(reservation)) => long.reserved(&reservation),
            }
        }
    }

    #[test]
    fn a_long_window_is_kept_over_a_restart() {
        let start = Time(1_000_000_000);
        let mut long = Long::new("x".into(), LIMIT, BTreeMap::new());
        for _ in 0..100 {
            spend(&mut long, start).expect("within the limit");
        }
        spend(&mut long, start).expect_err("all is spent");
        let mut long = Long::new("x".into(), LIMIT, long.spent);
        let wait = spend(&mut long, start).expect_err("it was spent before the restart");
        assert!(wait >= LIMIT.window, "{wait:?}");
        spend(&mut long, start.plus(wait)).expect("the window has passed");
    }

    #[test]
    fn two_reservations_at_one_time_are_not_more_than_the_limit() {
        let limit = Limit { count: 150, ..LIMIT };
        let mut long = Long::new("x".into(), limit, BTreeMap::from([(0, 149)]));
        let Err(Short::Reserve(reservation)) = long.check(Time(0)) else { panic!("one is left") };
        long.reserved(&reservation);
        long.reserved(&reservation);
        spend(&mut long, Time(0)).expect("the last one");
        spend(&mut long, Time(0)).expect_err("all is spent");
    }

    #[test]
    fn what_was_reserved_and_not_used_is_free_again() {
        let limit = Limit { count: 1_000, ..LIMIT };
        let mut long = Long::new("x".into(), limit, BTreeMap::new());
        let mut now = Time(0);
        for _ in 0..64 {
            spend(&mut long, now).expect("one in each bucket");
            now = now.plus(LIMIT.window / 64);
        }
        for n in 0..900 {
            spend(&mut long, now).unwrap_or_else(|_| panic!("{n} more, and no room"));
        }
    }
}
