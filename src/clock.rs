//! Time. `calendar` is what people read (incident times, quiet hours, deadlines, words); `monotonic` never goes back and
//! measures (timeouts, permits, leases, backoff). The system's clock, a clock moved by hand for tests, and a scene clock for
//! the demo: its calendar is set, its monotonic time is real.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point of calendar time: milliseconds since 1970-01-01T00:00Z. Written as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time(pub i64);

impl Time {
    pub fn parse(text: &str) -> Result<Time, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|t| Time(t.as_millisecond()))
    }

    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    pub fn plus(self, span: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Time::parse(&text).map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time such as 2021-10-04T15:39:00Z"))
        })
    }
}

/// Monotonic time since the clock was made.
pub type Instant = Duration;

pub struct Clock {
    kind: Kind,
}

enum Kind {
    /// Both from the system (tokio's timer, so a paused runtime moves them together). `steady` is what the calendar showed in
    /// the beginning.
    System { began: tokio::time::Instant, offset: AtomicI64, calendar: Calendar, steady: i64 },
    /// Both moved by hand.
    Manual { start: i64, calendar: AtomicI64, monotonic: AtomicU64, sleepers: Mutex<Sleepers> },
}

enum Calendar {
    System,
    /// Calendar = this start + what the monotonic clock has gone on.
    From(i64),
    /// Calendar stands where it was set.
    Set,
}

#[derive(Default)]
struct Sleepers {
    next: u64,
    by_due: BTreeMap<(u64, u64), Waker>,
}

impl Clock {
    pub fn system() -> Clock {
        Clock::ahead(0)
    }

    /// As of a machine whose clock is so many milliseconds ahead.
    pub fn ahead(milliseconds: i64) -> Clock {
        Clock::with(Calendar::System, milliseconds, jiff::Timestamp::now().as_millisecond() + milliseconds)
    }

    /// The calendar begins at `start` and goes on with the monotonic clock: for simulation under a paused runtime.
    pub fn from(start: Time) -> Clock {
        Clock::with(Calendar::From(start.0), 0, start.0)
    }

    /// The calendar stands at `start` until it is set; monotonic time is real: for the demo, which moves it scene by scene.
    pub fn scenes(start: Time) -> Clock {
        Clock::with(Calendar::Set, start.0, jiff::Timestamp::now().as_millisecond())
    }

    /// Both stand still until a test moves them.
    pub fn manual(start: Time) -> Clock {
        Clock {
            kind: Kind::Manual {
                start: start.0,
                calendar: AtomicI64::new(start.0),
                monotonic: AtomicU64::new(0),
                sleepers: Mutex::default(),
            },
        }
    }

    fn with(calendar: Calendar, offset: i64, steady: i64) -> Clock {
        let began = tokio::time::Instant::now();
        Clock { kind: Kind::System { began, offset: AtomicI64::new(offset), calendar, steady } }
    }

    pub fn calendar(&self) -> Time {
        match &self.kind {
            Kind::System { offset, calendar: Calendar::System, .. } => {
                Time(jiff::Timestamp::now().as_millisecond() + offset.load(Ordering::Relaxed))
            }
            Kind::System { began, calendar: Calendar::From(start), offset, .. } => {
                Time(start + began.elapsed().as_millis() as i64 + offset.load(Ordering::Relaxed))
            }
            Kind::System { offset, calendar: Calendar::Set, .. } => Time(offset.load(Ordering::Relaxed)),
            Kind::Manual { calendar, .. } => Time(calendar.load(Ordering::Relaxed)),
        }
    }

    pub fn monotonic(&self) -> Instant {
        match &self.kind {
            Kind::System { began, .. } => began.elapsed(),
            Kind::Manual { monotonic, .. } => Duration::from_nanos(monotonic.load(Ordering::Acquire)),
        }
    }

    /// Calendar time that goes on as the monotonic clock does, whatever a scene shows and whoever sets the machine's clock: what
    /// retries are due by, and long limits are counted in.
    pub fn steady(&self) -> Time {
        match &self.kind {
            Kind::System { began, steady, .. } => Time(steady + began.elapsed().as_millis() as i64),
            Kind::Manual { start, monotonic, .. } => {
                Time(start + (monotonic.load(Ordering::Acquire) / 1_000_000) as i64)
            }
        }
    }

    /// The steady time at which the calendar will show `due`.
    pub fn steady_at(&self, due: Time) -> Time {
        Time(self.steady().0.saturating_add(due.0.saturating_sub(self.calendar().0)))
    }

    pub async fn sleep_until(&self, due: Instant) {
        match &self.kind {
            Kind::System { began, .. } => tokio::time::sleep_until(*began + due).await,
            Kind::Manual { .. } => ManualSleep { clock: self, due, key: None }.await,
        }
    }

    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.monotonic() + span).await;
    }

    /// Moves the calendar alone to `to`: for the scenes of the demo, and as if somebody had set the machine's clock.
    pub fn set_calendar(&self, to: Time) {
        match &self.kind {
            Kind::System { offset, calendar: Calendar::Set, .. } => offset.store(to.0, Ordering::Relaxed),
            Kind::System { offset, .. } => {
                offset.fetch_add(to.0 - self.calendar().0, Ordering::Relaxed);
            }
            Kind::Manual { calendar, .. } => calendar.store(to.0, Ordering::Relaxed),
        }
    }

    /// Moves a clock that is in a test's hand, both times together, and wakes whoever is due.
    pub fn advance(&self, span: Duration) {
        let Kind::Manual { calendar, monotonic, sleepers, .. } = &self.kind else { return };
        calendar.fetch_add(span.as_millis() as i64, Ordering::Relaxed);
        let now = monotonic.fetch_add(span.as_nanos() as u64, Ordering::AcqRel) + span.as_nanos() as u64;
        let mut sleepers = sleepers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let later = sleepers.by_due.split_off(&(now + 1, 0));
        let due = std::mem::replace(&mut sleepers.by_due, later);
        drop(sleepers);
        due.into_values().for_each(Waker::wake);
    }
}

struct ManualSleep<'a> {
    clock: &'a Clock,
    due: Instant,
    key: Option<(u64, u64)>,
}

impl Future for ManualSleep<'_> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        let Kind::Manual { monotonic, sleepers, .. } = &self.clock.kind else { return std::task::Poll::Ready(()) };
        let mut sleepers = sleepers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(key) = self.key {
            sleepers.by_due.remove(&key);
        }
        if Duration::from_nanos(monotonic.load(Ordering::Acquire)) >= self.due {
            return std::task::Poll::Ready(());
        }
        sleepers.next += 1;
        let key = (self.due.as_nanos() as u64, sleepers.next);
        sleepers.by_due.insert(key, context.waker().clone());
        drop(sleepers);
        self.key = Some(key);
        std::task::Poll::Pending
    }
}

impl Drop for ManualSleep<'_> {
    fn drop(&mut self) {
        if let (Some(key), Kind::Manual { sleepers, .. }) = (self.key, &self.clock.kind) {
            sleepers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).by_due.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_of_a_manual_clock_wakes_when_the_clock_is_moved_past_its_time_and_not_before() {
        let clock = std::sync::Arc::new(Clock::manual(Time(1_000)));
        let sleeper = clock.clone();
        let mut slept = tokio::spawn(async move { sleeper.sleep(Duration::from_secs(10)).await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(9));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!slept.is_finished());
        clock.advance(Duration::from_secs(1));
        (&mut slept).await.expect("wakes");
        assert_eq!(clock.calendar(), Time(11_000));
    }

    #[test]
    fn what_is_steady_does_not_heed_who_sets_the_machines_clock() {
        for clock in [Clock::system(), Clock::ahead(10_000), Clock::from(Time(1_000_000))] {
            let (calendar, steady) = (clock.calendar(), clock.steady());
            clock.set_calendar(calendar.plus(Duration::from_secs(3600)));
            assert!(clock.calendar().since(calendar) >= Duration::from_secs(3600));
            assert!(clock.steady().since(steady) < Duration::from_secs(60));
            let due = clock.calendar().plus(Duration::from_secs(10));
            assert!(clock.steady_at(due).since(clock.steady()) <= Duration::from_secs(10));
        }
    }
}
