//! The hosts behind a lane whose addresses each name one: how many attempts are on the wire to each, when it rests, and who
//! waits for it. Whoever waits for a busy host stands in nobody else's way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::breaker::{Breaker, State};
use crate::clock::Instant;

/// Hosts remembered; those with nothing on the wire are forgotten first.
const REMEMBERED: usize = 10_000;
/// The part of the room that may wait for one host. The others wait on disk.
const SHARE: usize = 4;
/// How long those wait at first, before it is known how fast the host is …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … and at most, since it may be faster by then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub struct Hosts<T> {
    room: usize,
    known: BTreeMap<String, Host<T>>,
    /// Who waits for any of them, by rank of priority.
    waiting: [usize; 4],
}

struct Host<T> {
    on_wire: usize,
    breaker: Breaker,
    held_until: Instant,
    waiting: [VecDeque<T>; 4],
    last_end: Option<Instant>,
    /// Between one end of an attempt and the next, while somebody waits.
    pace: Option<Duration>,
    /// When the last of those sent to wait on disk may have its turn.
    horizon: Instant,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Ready {
    Yes,
    Busy,
    Rests(Instant),
}

/// What an attempt says about its host.
pub enum Said {
    Works,
    /// It does not, and it may have said for how long.
    Fails(Option<Duration>),
    Nothing,
}

impl<T> Default for Host<T> {
    fn default() -> Self {
        Host {
            on_wire: 0,
            breaker: Breaker::default(),
            held_until: Instant::ZERO,
            waiting: Default::default(),
            last_end: None,
            pace: None,
            horizon: Instant::ZERO,
        }
    }
}

impl<T> Host<T> {
    fn rests_until(&self, now: Instant) -> Option<Instant> {
        let rest = match (self.breaker.state(now), self.breaker.until()) {
            (State::Open, Some(until)) => until.max(self.held_until),
            _ => self.held_until,
        };
        (rest > now).then_some(rest)
    }

    fn waits(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }
}

impl<T> Hosts<T> {
    /// `room`: how many may wait in memory for all hosts together.
    pub fn new(room: usize) -> Hosts<T> {
        Hosts { room, known: BTreeMap::new(), waiting: [0; 4] }
    }

    /// Whether an attempt may begin, where `most` may be on the wire at one time.
    pub fn ready(&self, name: &str, most: usize, now: Instant) -> Ready {
        let Some(host) = self.known.get(name) else { return Ready::Yes };
        if let Some(rest) = host.rests_until(now) {
            return Ready::Rests(rest);
        }
        let most = if host.breaker.state(now) == State::HalfOpen { 1 } else { most };
        if host.on_wire >= most { Ready::Busy } else { Ready::Yes }
    }

    pub fn begins(&mut self, name: &str) {
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, host| host.on_wire > 0 || host.waits() > 0);
        }
        match self.known.get_mut(name) {
            Some(host) => host.on_wire += 1,
            None => self.known.entry(name.to_string()).or_default().on_wire = 1,
        }
    }

    /// Waits here for a busy host. Where too many do already: when to ask again.
    pub fn wait(&mut self, name: &str, rank: usize, one: T, now: Instant) -> Result<(), (T, Instant)> {
        let full = self.waiting.iter().sum::<usize>() >= self.room;
        let host = self.known.entry(name.to_string()).or_default();
        if full || host.waits() >= (self.room / SHARE).max(1) {
            let pace = host.pace.unwrap_or_default();
            let soonest = now + if host.pace.is_none() { FIRST_WAIT } else { pace.saturating_mul(host.waits() as u32) };
            host.horizon = (host.horizon.max(soonest) + pace).min(now + LONGEST_WAIT);
            return Err((one, host.horizon));
        }
        host.waiting[rank].push_back(one);
        self.waiting[rank] += 1;
        Ok(())
    }

    /// An attempt has ended: answers who waits no longer for its host, the most urgent first, with their ranks.
    pub fn ended(&mut self, name: &str, said: &Said, now: Instant) -> Vec<(usize, T)> {
        let Some(host) = self.known.get_mut(name) else { return Vec::new() };
        host.on_wire = host.on_wire.saturating_sub(1);
        if let Some(last) = host.last_end.filter(|_| host.waits() > 0) {
            let span = now.saturating_sub(last).min(LONGEST_WAIT);
            host.pace = Some(host.pace.map_or(span, |pace| (pace * 3 + span) / 4));
        }
        host.last_end = Some(now);
        match said {
            Said::Works => drop(host.breaker.succeeded()),
            Said::Fails(after) => {
                host.breaker.failed(now, false);
                host.held_until = host.held_until.max(now + after.unwrap_or_default());
            }
            Said::Nothing => {}
        }
        // Nobody waits for a host that rests, or for an end that does not come: they are decided anew.
        let all = host.on_wire == 0 || host.rests_until(now).is_some();
        let mut freed = Vec::new();
        for (rank, waiting) in host.waiting.iter_mut().enumerate() {
            while (all || freed.is_empty())
                && let Some(one) = waiting.pop_front()
            {
                self.waiting[rank] -= 1;
                freed.push((rank, one));
            }
        }
        freed
    }

    /// Everyone who waits, in order: the channel has changed.
    pub fn free_all(&mut self) -> Vec<(usize, T)> {
        let mut freed = Vec::new();
        if self.waiting == [0; 4] {
            return freed;
        }
        for host in self.known.values_mut() {
            for (rank, waiting) in host.waiting.iter_mut().enumerate() {
                freed.extend(waiting.drain(..).map(|one| (rank, one)));
            }
        }
        self.waiting = [0; 4];
        freed
    }

    pub fn waiting(&self, rank: usize) -> usize {
        self.waiting[rank]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 2;

    fn at(seconds: u64) -> Instant {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_waits_for_a_busy_host_goes_when_an_attempt_to_it_ends_the_urgent_first() {
        let mut hosts = Hosts::new(100);
        hosts.begins("slow");
        hosts.begins("slow");
        assert_eq!(hosts.ready("slow", MOST, at(1)), Ready::Busy);
        assert_eq!(hosts.ready("fast", MOST, at(1)), Ready::Yes);
        for (rank, one) in [(2, "bulk"), (0, "critical"), (2, "more")] {
            assert_eq!(hosts.wait("slow", rank, one, at(1)), Ok(()));
        }
        assert_eq!([0, 1, 2, 3].map(|rank| hosts.waiting(rank)), [1, 0, 2, 0]);
        assert_eq!(hosts.ended("slow", &Said::Works, at(2)), [(0, "critical")]);
        hosts.begins("slow");
        assert_eq!(hosts.ended("slow", &Said::Works, at(3)), [(2, "bulk")]);
        // The last one on the wire ends and nothing has begun: nobody is left behind.
        assert_eq!(hosts.ended("slow", &Said::Works, at(4)), [(2, "more")]);
        assert_eq!([0, 1, 2, 3].map(|rank| hosts.waiting(rank)), [0; 4]);
    }

    #[test]
    fn a_host_that_rests_keeps_nobody() {
        let mut hosts = Hosts::new(100);
        hosts.begins("slow");
        hosts.begins("slow");
        for one in 0..3 {
            assert_eq!(hosts.wait("slow", 1, one, at(1)), Ok(()));
        }
        assert_eq!(hosts.ended("slow", &Said::Fails(Some(at(30))), at(2)), [(1, 0), (1, 1), (1, 2)]);
        assert_eq!(hosts.ready("slow", MOST, at(3)), Ready::Rests(at(32)));
        assert_eq!(hosts.ready("slow", MOST, at(32)), Ready::Yes);
    }

    #[test]
    fn more_than_a_share_of_the_room_wait_elsewhere_spread_over_the_time_that_the_host_needs() {
        let mut hosts = Hosts::new(40);
        hosts.begins("slow");
        for one in 0..10 {
            assert_eq!(hosts.wait("slow", 1, one, at(1)), Ok(()));
        }
        let mut until = |now| hosts.wait("slow", 1, 0, now).expect_err("full").1;
        assert_eq!((until(at(1)), until(at(1))), (at(2), at(2)), "nobody knows how fast it is");
        for n in 0..10 {
            hosts.begins("slow");
            assert_eq!(hosts.ended("slow", &Said::Works, at(100) + Duration::from_millis(n * 100)).len(), 1);
            assert_eq!(hosts.wait("slow", 1, 0, at(101)), Ok(()));
        }
        // One ends every 100 ms, and ten are ahead.
        let mut until = |now| hosts.wait("slow", 1, 0, now).expect_err("full").1;
        let tenths = |n: u64| at(200) + Duration::from_millis(n * 100);
        assert_eq!((until(at(200)), until(at(200))), (tenths(11), tenths(12)));
        for _ in 0..2000 {
            assert!(until(at(200)) <= at(260), "never longer than a minute");
        }
        for host in ["a", "b", "c"] {
            hosts.begins(host);
            for one in 0..10 {
                assert_eq!(hosts.wait(host, 1, one, at(201)), Ok(()));
            }
        }
        hosts.begins("d");
        assert_eq!(hosts.wait("d", 1, 0, at(201)), Err((0, at(202))), "the room for all hosts is full");
        assert_eq!(hosts.free_all().len(), 40);
        assert_eq!(hosts.waiting(1), 0);
    }
}
