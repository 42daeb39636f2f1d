//! Permits: `N/T` means that in no half-open interval of length T more than N attempts begin. Up to a minute a pace decides; longer
//! windows are counted in stored buckets. Asking spends nothing, so that several limits are spent together or not at all.

use super::Engine;
use super::granted::Times;
use super::long::{Long, Short};
use super::quota::Limiter;
use crate::clock::{Instant, Time};
use crate::fault::{self, Fault};
use crate::quantity::Limit;
use crate::store::{Reserved as Block, Result, Store, StoreError, Wanted};

/// Limits up to this window are kept in memory.
pub const SHORT: std::time::Duration = std::time::Duration::from_secs(60);

/// All limits of one channel, or of one account.
#[derive(Default)]
pub struct Permits {
    short: Vec<Limiter>,
    long: Vec<Long>,
}

/// What the store is to be asked for before an attempt may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// Up to `count` attempts of the window that goes on now, which may hold `most`, in buckets of so many milliseconds.
    Block { name: String, width: i64, buckets: i64, most: i64, count: i64 },
    /// Times at which attempts may begin.
    Times(Wanted),
    /// The same for a host.
    Host(String, Wanted),
}

/// What it has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    Block(String, Block),
    Times(Times),
    Host(String, Times),
}

/// Why no attempt may begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Ask again then.
    Until(Instant),
    /// Write this first, then call `reserved`.
    Reserve(Reservation),
    /// Another lane of the account goes first, and wakes this one.
    Turn,
    /// This address rests until then; others need not wait.
    Address(Instant),
}

impl Permits {
    pub fn new(rates: &[Limit], long: Vec<Long>, now: Instant) -> Permits {
        let short = rates.iter().filter(|limit| limit.window <= SHORT);
        Permits { short: short.map(|limit| Limiter::new(*limit, now)).collect(), long }
    }

    /// With what long windows had spent before this start.
    pub async fn read(store: &dyn Store, whose: &str, rates: &[Limit], now: Instant, steady: Time) -> Result<Permits> {
        let mut long = Vec::new();
        for limit in rates.iter().filter(|limit| limit.window > SHORT) {
            long.push(Long::read(store, whose, *limit, steady).await?);
        }
        // What nodes share by the minute or shorter they are granted (granted.rs).
        let own = if store.leases().shared() { &[] } else { rates };
        Ok(Permits::new(own, long, now))
    }

    pub fn none(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    /// Whether an attempt may begin. `steady` is the steady time of `now`.
    pub fn check(&mut self, now: Instant, steady: Time) -> std::result::Result<(), Refusal> {
        if let Some(due) = self.short.iter().map(Limiter::due).max().filter(|due| *due > now) {
            return Err(Refusal::Until(due));
        }
        for long in &mut self.long {
            match long.check(steady) {
                Ok(()) => {}
                Err(Short::Wait(wait)) => return Err(Refusal::Until(now + wait)),
                Err(Short::Reserve(reservation)) => return Err(Refusal::Reserve(reservation)),
            }
        }
        Ok(())
    }

    /// An attempt begins, which `check` has just allowed.
    pub fn spend(&mut self, now: Instant) {
        self.short.iter_mut().for_each(|limiter| limiter.spend(now));
        self.long.iter_mut().for_each(Long::spend);
    }

    /// What was reserved is on disk.
    pub fn reserved(&mut self, reserved: &Reserved) {
        if let Reserved::Block(name, block) = reserved {
            self.long.iter_mut().for_each(|long| long.reserved(name, block));
        }
    }
}

impl Engine {
    /// Asks the store for what a limit wants to have on disk first.
    pub(super) async fn reserve(&self, reservation: &Reservation) -> Result<Reserved> {
        match reservation {
            Reservation::Block { name, width, buckets, most, count } => {
                let forgotten = fault::on(Fault::LongLimitForgotten);
                let most = if forgotten { i64::MAX / 2 } else { *most };
                let mut block = self.store.reserve(name, *width, *buckets, most, *count, self.clock.steady()).await?;
                block.spent.retain(|(bucket, _)| !forgotten || *bucket == block.bucket);
                Ok(Reserved::Block(name.clone(), block))
            }
            Reservation::Times(wanted) => Ok(Reserved::Times(self.times(wanted).await?)),
            Reservation::Host(host, wanted) => Ok(Reserved::Host(host.clone(), self.times(wanted).await?)),
        }
    }

    async fn times(&self, wanted: &Wanted) -> Result<Times> {
        let times = self.grant(std::slice::from_ref(wanted)).await?;
        times.into_iter().next().ok_or_else(|| StoreError::Failed("it gave out no time".into()))
    }

    /// Send times for all that is wanted, in its order.
    pub(super) async fn grant(&self, wanted: &[Wanted]) -> Result<Vec<Times>> {
        let before = self.clock.monotonic();
        let after = self.store.grant(wanted).await?;
        let asked = (before, self.clock.monotonic());
        Ok(wanted.iter().zip(after).map(|(wanted, after)| Times { count: wanted.count, after, asked }).collect())
    }
}
