//! Is Kafka well? Enters: librdkafka's statistics and errors. Leaves: a Status that readiness shows and that can be waited for,
//! and log lines of which no fault can make more than a few a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::statistics::Statistics;
use tokio::sync::watch;

use crate::clock::{Clock, Instant};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// At least one broker answers.
    pub connected: bool,
    /// Partitions that this node reads.
    pub partitions: usize,
    /// Records that wait in them, as of the last statistics.
    pub lag: i64,
    /// Records wait, none is in hand, and none has come for half a minute.
    pub stalled: bool,
    /// The store does not keep up, so nothing more is read for now.
    pub paused: bool,
    pub last_error: Option<String>,
}

/// A consumer that has not polled for so long hangs, whatever it said last.
const POLLS: Duration = Duration::from_secs(30);

/// What a consumer shows of itself.
#[derive(Clone)]
pub(super) struct Signs {
    pub status: watch::Sender<Status>,
    /// When it last polled, in milliseconds.
    polled: Arc<AtomicU64>,
}

impl Signs {
    pub fn new(clock: &Clock) -> Signs {
        let signs = Signs { status: watch::Sender::default(), polled: Arc::default() };
        signs.polls(clock.monotonic());
        signs
    }

    pub fn polls(&self, now: Instant) {
        self.polled.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub fn seen(&self) -> Seen {
        Seen { status: self.status.subscribe(), polled: self.polled.clone() }
    }
}

/// The same, for who looks on.
#[derive(Clone)]
pub(super) struct Seen {
    status: watch::Receiver<Status>,
    polled: Arc<AtomicU64>,
}

/// The Status of every consumer, by name: `urgent`, `incidents`.
#[derive(Clone)]
pub struct Health {
    pub(super) consumers: Vec<(&'static str, Seen)>,
    pub(super) clock: Arc<Clock>,
}

impl Health {
    pub fn statuses(&self) -> Vec<(&'static str, Status)> {
        self.consumers.iter().map(|(name, seen)| (*name, seen.status.borrow().clone())).collect()
    }

    /// Each is connected, polls, and is given what waits for it.
    pub fn ready(&self) -> bool {
        let now = self.clock.monotonic();
        self.consumers.iter().all(|(_, seen)| {
            let polled = Duration::from_millis(seen.polled.load(Ordering::Acquire));
            let status = seen.status.borrow();
            status.connected && !status.stalled && now.saturating_sub(polled) < POLLS
        })
    }

    /// Returns when the consumer of that name is as `wanted`; at once when there is none, or it has ended.
    pub async fn until(&self, name: &str, wanted: impl Fn(&Status) -> bool) {
        for (_, seen) in self.consumers.iter().filter(|(known, _)| *known == name) {
            drop(seen.status.clone().wait_for(&wanted).await);
        }
    }
}

/// What the statistics say of broker and lag: (connected, partitions, lag).
pub(super) fn read(statistics: &Statistics) -> (bool, usize, i64) {
    let connected = statistics.brokers.values().any(|broker| broker.state == "UP" || broker.state == "UPDATE");
    let partitions = statistics.cgrp.as_ref().map_or(0, |group| usize::try_from(group.assignment_size).unwrap_or(0));
    let lag = statistics
        .topics
        .values()
        .flat_map(|topic| topic.partitions.values())
        .filter(|partition| partition.desired && partition.consumer_lag > 0)
        .map(|partition| partition.consumer_lag)
        .sum();
    (connected, partitions, lag)
}

/// Ten lines a minute; the next one that is let through tells how many were left out.
#[derive(Debug, Default)]
pub(super) struct Noise {
    since: Instant,
    let_through: u32,
    left_out: u64,
}

impl Noise {
    const LINES: u32 = 10;
    const SPAN: Duration = Duration::from_secs(60);

    /// `Some(left out before)`: write it.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_sub(self.since) >= Noise::SPAN {
            (self.since, self.let_through) = (now, 0);
        }
        if self.let_through == Noise::LINES {
            self.left_out += 1;
            return None;
        }
        self.let_through += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_writes_ten_lines_a_minute_and_how_many_were_left_out() {
        let mut noise = Noise::default();
        let lines = (0..100).filter(|n| noise.allow(Duration::from_millis(n * 10)).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(noise.allow(Duration::from_secs(59)), None);
        assert_eq!(noise.allow(Duration::from_secs(60)), Some(91));
        assert_eq!(noise.allow(Duration::from_secs(60)), Some(0));
    }

    #[test]
    fn a_broker_counts_once_it_is_up() {
        let mut statistics = Statistics::default();
        assert_eq!(read(&statistics), (false, 0, 0));
        let broker = |state: &str| rdkafka::statistics::Broker { state: state.into(), ..Default::default() };
        statistics.brokers.insert("a".into(), broker("TRY_CONNECT"));
        assert!(!read(&statistics).0);
        statistics.brokers.insert("b".into(), broker("UP"));
        assert!(read(&statistics).0);
    }
}
