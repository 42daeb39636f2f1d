//! `N/T` as a steady pace: a burst B, refilled at (N−B+1)/T, so that no half-open interval of length T holds more than N. Pure: all
//! that is remembered is one instant, at which the attempts that have begun are paid off; so one quota serves any number of
//! addresses. Asking spends nothing, since an attempt that one limit lets go may have to wait for another.

use std::time::Duration;

use crate::clock::Instant;
use crate::fault::{self, Fault};
use crate::quantity::Limit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What one attempt costs.
    pub period: Duration,
    burst: u32,
}

impl Quota {
    /// B is about 20 ms worth of N, so that timers of a millisecond do for any pace. The period is rounded up: rounded down, 1001
    /// attempts fit into a window of 1000/s.
    pub fn of(limit: Limit) -> Quota {
        let twenty_millis = u128::from(limit.count) * 20_000_000 / limit.window.as_nanos().max(1);
        let burst = u32::try_from(twenty_millis).unwrap_or(u32::MAX).clamp(1, limit.count.max(1));
        let rate = u128::from(limit.count.max(1) - burst + 1);
        let period = limit.window.as_nanos().div_ceil(rate);
        let burst = burst + u32::from(fault::on(Fault::BurstTooLarge));
        Quota { period: Duration::from_nanos(u64::try_from(period).unwrap_or(u64::MAX)), burst }
    }

    /// What `paid` is where nobody knows what was sent in the last window: everything.
    pub fn spent(&self, now: Instant) -> Instant {
        now.saturating_add(self.period.saturating_mul(self.burst))
    }

    /// From when on an attempt may begin.
    pub fn due(&self, paid: Instant) -> Instant {
        paid.saturating_sub(self.period.saturating_mul(self.burst - 1))
    }

    /// How many attempts may begin at once.
    pub fn room(&self, paid: Instant, now: Instant) -> u32 {
        let Some(rested) = now.checked_sub(self.due(paid)) else { return 0 };
        let paid_off = rested.as_nanos() / self.period.as_nanos().max(1);
        u32::try_from(paid_off + 1).unwrap_or(u32::MAX).min(self.burst)
    }

    /// An attempt begins: answers the new `paid`.
    pub fn spend(&self, paid: Instant, now: Instant) -> Instant {
        paid.max(now).saturating_add(self.period)
    }
}

/// One quota for one thing.
#[derive(Debug, Clone, Copy)]
pub struct Limiter {
    quota: Quota,
    paid: Instant,
}

impl Limiter {
    /// A limiter starts empty: after a restart nobody knows what was sent in the last window.
    pub fn new(limit: Limit, now: Instant) -> Limiter {
        let quota = Quota::of(limit);
        Limiter { quota, paid: if fault::on(Fault::LimiterStartsFull) { now } else { quota.spent(now) } }
    }

    pub fn due(&self) -> Instant {
        self.quota.due(self.paid)
    }

    /// What one attempt costs.
    pub fn period(&self) -> Duration {
        self.quota.period
    }

    pub fn spend(&mut self, now: Instant) {
        self.paid = self.quota.spend(self.paid, now);
    }

    /// A wider limit from now on. What has begun counts on.
    pub fn widen(&mut self, limit: Limit) {
        self.quota = Quota::of(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_used_up_and_never_exceeded_by_one() {
        for text in ["1/s", "2/s", "30/s", "50/s", "1000/s", "1001/s", "7/3s", "100/min", "5000/s", "1/min"] {
            let limit: Limit = text.parse().expect(text);
            let mut limiter = Limiter::new(limit, Duration::ZERO);
            let mut begun = Vec::new();
            while begun.len() < limit.count as usize * 3 {
                let now = limiter.due().max(begun.last().copied().unwrap_or_default());
                limiter.spend(now);
                begun.push(now);
            }
            let within = |from: usize| begun[from..].iter().take_while(|at| **at < begun[from] + limit.window).count();
            let most = (0..begun.len()).map(within).max().unwrap_or_default();
            assert!(most <= limit.count as usize, "{text}: {most}");
            assert!(most * 10 >= limit.count as usize * 9, "{text}: only {most}");
        }
    }
}
