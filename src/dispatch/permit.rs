//! Permits: `N/T` means that in no half-open interval of length T more than N attempts begin. governor decides up to a
//! minute; longer windows are counted in stored buckets. A limiter starts empty: after a restart nobody knows what was sent
//! in the last window.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::lane::Settings;
use crate::clock::{Clock, Instant, Time};
use crate::quantity::Limit;
use crate::store::Store;

/// Limits up to this window are governor's.
const SHORT: Duration = Duration::from_secs(60);
/// A long window is counted in so many buckets; the one that is half out of the window counts whole.
const BUCKETS: u32 = 64;

/// Our clock, as governor wants it.
#[derive(Clone)]
pub struct Ticks(Arc<Clock>);

impl Ticks {
    pub fn of(clock: Arc<Clock>) -> Ticks {
        Ticks(clock)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl std::ops::Add<Nanos> for Tick {
    type Output = Tick;
    fn add(self, span: Nanos) -> Tick {
        Tick(self.0 + Duration::from(span))
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, span: Nanos) -> Self {
        Tick(self.0.saturating_sub(span.into()))
    }
}

impl governor::clock::Clock for Ticks {
    type Instant = Tick;
    fn now(&self) -> Tick {
        Tick(self.0.monotonic())
    }
}

/// All limits that an attempt must keep. Asked by one dispatcher.
pub struct Permits {
    ticks: Ticks,
    short: Vec<RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Tick>>>,
    long: Vec<Long>,
}

pub struct Long {
    pub name: String,
    pub limit: Limit,
    /// Bucket number → attempts begun or reserved.
    pub spent: BTreeMap<i64, i64>,
    /// Reserved in the store and not yet begun: bucket and number.
    pub reserved: (i64, i64),
}

/// Why no attempt may begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Ask again then.
    Until(Instant),
    /// Write this reservation first, then call `reserved`.
    Reserve { name: String, bucket: i64, count: i64 },
}

/// What long windows had spent before this start. Blocks are written before use, so a crash only counts too much.
pub async fn read_spent(store: &dyn Store, settings: &Settings, now: Time) -> crate::store::Result<Vec<Long>> {
    let mut long = Vec::new();
    for limit in settings.rates.iter().filter(|limit| limit.window > SHORT) {
        let name = format!("{} {limit}", settings.account.as_deref().unwrap_or(&settings.name));
        let oldest = bucket(now, limit.window) - i64::from(BUCKETS);
        let spent = store.spent(&name, oldest).await?.into_iter().collect();
        long.push(Long { name, limit: *limit, spent, reserved: (0, 0) });
    }
    Ok(long)
}

fn bucket(now: Time, window: Duration) -> i64 {
    now.0 / (window.as_millis() as i64 / i64::from(BUCKETS)).max(1)
}

/// Runs `N/T` as a burst B refilled at (N−B+1)/T with the period rounded up: so no window holds more than N.
pub fn quota(limit: Limit) -> Option<Quota> {
    let twenty_millis = (u64::from(limit.count) * 20_000_000).div_euclid(limit.window.as_nanos() as u64);
    let burst = u32::try_from(twenty_millis).unwrap_or(u32::MAX).clamp(1, limit.count);
    let rate = u64::from(limit.count - burst + 1);
    let period = (limit.window.as_nanos() as u64).div_ceil(rate);
    Some(Quota::with_period(Duration::from_nanos(period))?.allow_burst(NonZeroU32::new(burst)?))
}

impl Permits {
    pub fn new(rates: &[Limit], clock: Arc<Clock>, long: Vec<Long>) -> Permits {
        let ticks = Ticks(clock);
        let short = rates
            .iter()
            .filter(|limit| limit.window <= SHORT)
            .filter_map(|limit| {
                let quota = quota(*limit)?;
                let limiter = RateLimiter::direct_with_clock(quota, ticks.clone());
                for _ in 0..quota.burst_size().get() {
                    let _ = limiter.check();
                }
                Some(limiter)
            })
            .collect();
        Permits { ticks, short, long }
    }

    /// Spends one attempt, or says why not. `now` is the steady time.
    pub fn spend(&mut self, now: Time) -> Result<(), Refusal> {
        for long in &mut self.long {
            let current = bucket(now, long.limit.window);
            if long.reserved.0 == current && long.reserved.1 > 0 {
                continue;
            }
            let width = (long.limit.window.as_millis() as i64 / i64::from(BUCKETS)).max(1);
            long.spent.retain(|bucket, _| *bucket >= current - i64::from(BUCKETS));
            let left = i64::from(long.limit.count) - long.spent.values().sum::<i64>();
            if left <= 0 {
                let oldest = long.spent.keys().next().copied().unwrap_or(current);
                let free = (oldest + i64::from(BUCKETS) + 1) * width;
                let wait = Duration::from_millis(u64::try_from(free - now.0).unwrap_or(0).max(1));
                return Err(Refusal::Until(self.ticks.0.monotonic() + wait));
            }
            let count = (i64::from(long.limit.count) / 100).clamp(1, left);
            return Err(Refusal::Reserve { name: long.name.clone(), bucket: current, count });
        }
        for limiter in &self.short {
            if let Err(not_until) = limiter.check() {
                return Err(Refusal::Until(not_until.earliest_possible().0.max(self.ticks.now().0)));
            }
        }
        for long in &mut self.long {
            long.reserved.1 -= 1;
        }
        Ok(())
    }

    /// The reservation is on disk.
    pub fn reserved(&mut self, name: &str, bucket: i64, count: i64) {
        for long in self.long.iter_mut().filter(|long| long.name == name) {
            *long.spent.entry(bucket).or_default() += count;
            long.reserved = (bucket, count);
        }
    }

    pub fn none(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks as fast as it may, with pauses but for seed 0, and checks every window of length T by the permit's own clock.
    fn most_in_a_window(limit: Limit, seed: u64) -> usize {
        let clock = Arc::new(Clock::manual(Time(0)));
        let mut permits = Permits::new(&[limit], clock.clone(), Vec::new());
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut begun: Vec<Duration> = Vec::new();
        for _ in 0..(limit.count as usize * 4).min(6000) {
            loop {
                match permits.spend(clock.calendar()) {
                    Ok(_) => break begun.push(clock.monotonic()),
                    Err(Refusal::Until(due)) => {
                        clock.advance(due.saturating_sub(clock.monotonic()).max(Duration::from_nanos(1)));
                    }
                    Err(Refusal::Reserve { name, bucket, count }) => permits.reserved(&name, bucket, count),
                }
            }
            if seed > 0 && chance.u32(..50) == 0 {
                clock.advance(Duration::from_micros(chance.u64(..limit.window.as_micros() as u64 * 2)));
            }
        }
        let mut from = 0;
        (0..begun.len())
            .map(|to| {
                while begun[to] - begun[from] >= limit.window {
                    from += 1;
                }
                to - from + 1
            })
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn no_window_holds_one_attempt_too_many() {
        for text in ["1/s", "2/s", "30/s", "50/s", "1000/s", "1001/s", "7/3s", "100/min", "5000/s", "1/min"] {
            let limit: Limit = text.parse().expect(text);
            for seed in 0..5 {
                let most = most_in_a_window(limit, seed);
                assert!(most <= limit.count as usize, "{text}: {most} in one window, seed {seed}");
                assert!(seed > 0 || most * 10 >= limit.count as usize * 9, "{text}: only {most}");
            }
        }
    }

    #[test]
    fn a_long_window_is_kept_over_a_restart() {
        let limit: Limit = "100/h".parse().expect("limit");
        let clock = Arc::new(Clock::manual(Time(1_000_000_000)));
        let long = |spent| vec![Long { name: "x".into(), limit, spent, reserved: (0, 0) }];
        let spend = |permits: &mut Permits, clock: &Clock| loop {
            match permits.spend(clock.steady()) {
                Err(Refusal::Reserve { name, bucket, count }) => permits.reserved(&name, bucket, count),
                other => break other,
            }
        };
        let mut permits = Permits::new(&[limit], clock.clone(), long(BTreeMap::new()));
        for _ in 0..100 {
            spend(&mut permits, &clock).expect("within the limit");
        }
        assert!(spend(&mut permits, &clock).is_err());
        let kept = permits.long.remove(0).spent;
        let mut permits = Permits::new(&[limit], clock.clone(), long(kept));
        let Err(Refusal::Until(due)) = spend(&mut permits, &clock) else { panic!("it was spent before the restart") };
        assert!(due >= Duration::from_secs(3600), "{due:?}");
        clock.advance(due - clock.monotonic());
        spend(&mut permits, &clock).expect("the window has passed");
    }
}
