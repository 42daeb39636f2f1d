//! Permits: `N/T` means that in no half-open interval of length T more than N attempts begin. Up to a minute a pace decides; longer
//! windows are counted in stored buckets. Asking spends nothing, so that several limits are spent together or not at all.

use super::long::{Long, Reservation, Short};
use super::quota::Limiter;
use crate::clock::{Instant, Time};
use crate::quantity::Limit;
use crate::store::{Result, Store};

/// Limits up to this window are kept in memory.
pub const SHORT: std::time::Duration = std::time::Duration::from_secs(60);

/// All limits of one channel, or of one account.
#[derive(Default)]
pub struct Permits {
    short: Vec<Limiter>,
    long: Vec<Long>,
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
        Ok(Permits::new(rates, long, now))
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

    /// The reservation is on disk.
    pub fn reserved(&mut self, reservation: &Reservation) {
        self.long.iter_mut().for_each(|long| long.reserved(reservation));
    }
}
