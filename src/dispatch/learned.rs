//! What a platform's answers teach about its limit: "too many" halves the pace at which it was tried, and what it takes gives a
//! little of it back with each minute, until nothing is left of the lesson. Pure: it is told the time. A learned limit only
//! ever stands beside the configured ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quota::Limiter;
use crate::clock::{Instant, Time};
use crate::quantity::Limit;

/// Attempts a second, below which nobody is pushed.
const LEAST: f64 = 0.1;
/// What was sent before a lesson fills the platform's own window for about so long, and says nothing new.
const SETTLES: Duration = Duration::from_secs(1);
/// A lesson so old is forgotten.
const LONGEST: Duration = Duration::from_secs(3600);
/// The part of the pace that was first too much which a minute of success gives back, …
const GIVEN_BACK: f64 = 0.05;
/// … and attempts a second, where that is less.
const GIVEN_BACK_AT_LEAST: f64 = 0.5;

#[derive(Debug, Default)]
pub struct Learned {
    meter: Meter,
    lesson: Option<Lesson>,
}

#[derive(Debug)]
struct Lesson {
    /// Attempts a second.
    rate: f64,
    /// The pace that was first too much: back at that, the limit ends.
    peak: f64,
    since: Instant,
    /// Until when success has been counted.
    counted: Instant,
    limit: Limit,
    limiter: Limiter,
}

/// A lesson, as it outlives the process: what was given back since is not in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    rate: f64,
    peak: f64,
    /// Steady time.
    pub(super) at: Time,
}

impl Learned {
    pub fn kept(&self, now: Instant, steady: Time) -> Option<Kept> {
        let Lesson { rate, peak, since, .. } = self.now(now)?;
        let age = now.saturating_sub(*since).as_millis() as i64;
        Some(Kept { rate: *rate, peak: *peak, at: Time(steady.0.saturating_sub(age)) })
    }

    /// As it was kept; one that is too old is forgotten.
    pub fn restored(kept: &Kept, now: Instant, steady: Time) -> Learned {
        let age = steady.since(kept.at);
        if age >= LONGEST || !kept.rate.is_finite() || !kept.peak.is_finite() {
            return Learned::default();
        }
        let limit = limit_of(kept.rate);
        let lesson = Lesson {
            rate: kept.rate,
            peak: kept.peak,
            since: now.saturating_sub(age),
            counted: now,
            limit,
            limiter: Limiter::new(limit, now),
        };
        Learned { meter: Meter::default(), lesson: Some(lesson) }
    }

    /// An attempt begins.
    pub fn begins(&mut self, now: Instant) {
        self.meter.begins(now);
        if let Some(lesson) = &mut self.lesson {
            lesson.limiter.spend(now);
        }
    }

    /// An attempt that began then was one too many. False where the last such answer was to this attempt, too.
    pub fn throttled(&mut self, began: Instant, now: Instant) -> bool {
        let (pace, peak) = match &self.lesson {
            Some(lesson) if began < lesson.since + SETTLES => return false,
            Some(lesson) if now.saturating_sub(lesson.since) < LONGEST => (lesson.rate, lesson.peak),
            _ => (self.meter.pace(now), self.meter.pace(now)),
        };
        let rate = (pace / 2.0).max(LEAST);
        let limit = limit_of(rate);
        let limiter = Limiter::new(limit, now);
        self.lesson = Some(Lesson { rate, peak, since: now, counted: now, limit, limiter });
        true
    }

    /// An attempt was taken. True where that ended the lesson.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        let Some(lesson) = &mut self.lesson else { return false };
        // What nobody tried has proved nothing.
        let minutes = now.saturating_sub(lesson.counted).min(Duration::from_secs(60)).as_secs_f64() / 60.0;
        lesson.counted = now;
        lesson.rate += (lesson.peak * GIVEN_BACK).max(GIVEN_BACK_AT_LEAST) * minutes;
        if lesson.rate >= lesson.peak || now.saturating_sub(lesson.since) >= LONGEST {
            self.lesson = None;
            return true;
        }
        let limit = limit_of(lesson.rate);
        if limit != lesson.limit {
            lesson.limit = limit;
            lesson.limiter.widen(limit);
        }
        false
    }

    pub fn limit(&self, now: Instant) -> Option<Limit> {
        Some(self.now(now)?.limit)
    }

    /// From when on an attempt may begin.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        Some(self.now(now)?.limiter.due())
    }

    /// Between two attempts; zero without a limit.
    pub fn period(&self, now: Instant) -> Duration {
        self.now(now).map_or(Duration::ZERO, |lesson| lesson.limiter.period())
    }

    fn now(&self, now: Instant) -> Option<&Lesson> {
        self.lesson.as_ref().filter(|lesson| now.saturating_sub(lesson.since) < LONGEST)
    }
}

/// `N/s`, or `1/Ns` for what is slower.
fn limit_of(rate: f64) -> Limit {
    match rate >= 1.0 {
        true => Limit { count: (rate + 1e-6) as u32, window: Duration::from_secs(1) },
        false => Limit { count: 1, window: Duration::from_secs((1.0 / rate.max(LEAST)).ceil() as u64) },
    }
}

/// How many attempts began in the last second or two.
#[derive(Debug, Default)]
struct Meter {
    since: Instant,
    begun: u32,
    /// The second before: how many began in how long.
    before: (u32, Duration),
}

const SECOND: Duration = Duration::from_secs(1);

impl Meter {
    fn begins(&mut self, now: Instant) {
        let span = now.saturating_sub(self.since);
        if span >= SECOND {
            self.before = if span < SECOND * 2 { (self.begun, span) } else { Default::default() };
            (self.since, self.begun) = (now, 0);
        }
        self.begun = self.begun.saturating_add(1);
    }

    fn pace(&self, now: Instant) -> f64 {
        let span = now.saturating_sub(self.since) + self.before.1;
        f64::from(self.begun + self.before.0) / span.max(SECOND).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Instant {
        Duration::from_secs_f64(seconds)
    }

    /// Tried at 100/s for five seconds, when the first of many answers says that it is too much.
    fn taught() -> Learned {
        let mut learned = Learned::default();
        for n in 0..500 {
            learned.begins(at(f64::from(n) / 100.0));
        }
        assert!(learned.throttled(at(4.8), at(5.0)));
        learned
    }

    fn limit(learned: &Learned, seconds: f64) -> String {
        learned.limit(at(seconds)).map_or("none".into(), |limit| limit.to_string())
    }

    #[test]
    fn too_many_halves_the_pace_once_for_all_that_were_on_the_wire() {
        let mut learned = taught();
        assert_eq!(limit(&learned, 5.0), "50/s");
        for n in 0..20 {
            assert!(!learned.throttled(at(4.9), at(5.0 + f64::from(n) / 100.0)));
        }
        assert_eq!(limit(&learned, 6.0), "50/s");
        assert!(learned.throttled(at(6.1), at(6.2)), "this one was sent more slowly, and was still too much");
        assert_eq!(limit(&learned, 6.2), "25/s");
        for n in 0..20 {
            learned.throttled(at(7.5 + f64::from(n) * 2.0), at(8.0 + f64::from(n) * 2.0));
        }
        assert_eq!(limit(&learned, 50.0), "1/10s", "the least");
    }

    #[test]
    fn success_gives_it_back_slowly_and_time_alone_does_not() {
        let mut learned = taught();
        for second in 6..=65 {
            learned.succeeded(at(f64::from(second)));
        }
        assert_eq!(limit(&learned, 65.0), "55/s", "a twentieth of what was too much in a minute");
        learned.succeeded(at(1_000.0));
        assert_eq!(limit(&learned, 1_000.0), "60/s", "nobody tried meanwhile");
        for minute in 0..7 {
            learned.succeeded(at(1_060.0 + 60.0 * f64::from(minute)));
        }
        assert_eq!(limit(&learned, 1_420.0), "95/s");
        learned.succeeded(at(1_480.5));
        assert_eq!(limit(&learned, 1_480.5), "none", "back where it was first too much");
        assert!(taught().limit(at(3_604.9)).is_some() && taught().limit(at(3_605.0)).is_none());
    }

    #[test]
    fn the_learned_pace_is_kept() {
        let mut learned = taught();
        let mut begun = 0;
        for millis in 5_000..15_000 {
            let now = Duration::from_millis(millis);
            if learned.due(now).is_some_and(|due| due <= now) {
                learned.begins(now);
                begun += 1;
            }
        }
        assert!((450..=500).contains(&begun), "{begun}");
    }

    #[test]
    fn one_attempt_after_a_rest_is_a_pace_too() {
        let mut learned = Learned::default();
        learned.begins(at(100.0));
        assert!(learned.throttled(at(100.0), at(100.1)));
        assert_eq!(limit(&learned, 100.1), "1/2s");
    }
}
