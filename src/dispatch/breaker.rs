//! A breaker opens where a channel or a host fails again and again, so that what it should carry goes another way, and lets
//! one delivery try it after a while. Pure: it is told the time.

use std::time::Duration;

use crate::clock::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    /// One trial at a time.
    HalfOpen,
}

#[derive(Debug, Clone, Default)]
pub struct Breaker {
    failures: u32,
    /// How often it opened since it last stayed closed.
    opened: u32,
    until: Option<Instant>,
}

/// Failures in a row that open it.
const FAILURES: u32 = 10;
const FIRST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(600);

impl Breaker {
    pub fn state(&self, now: Instant) -> State {
        match self.until {
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// True where this closed it.
    pub fn succeeded(&mut self) -> bool {
        let closed = self.until.is_some();
        *self = Breaker::default();
        closed
    }

    /// True where this opened it. `certain`: the channel itself said that it can't, as with a wrong password.
    pub fn failed(&mut self, now: Instant, certain: bool) -> bool {
        self.failures += 1;
        let trial = self.state(now) == State::HalfOpen;
        if self.state(now) == State::Open || !(trial || certain || self.failures >= FAILURES) {
            return false;
        }
        let span = FIRST.saturating_mul(1 << self.opened.min(10)).min(LONGEST);
        self.opened += 1;
        self.until = Some(now + span);
        true
    }

    /// It is to be left alone for so long. True where this opened it.
    pub fn rests(&mut self, now: Instant, span: Duration) -> bool {
        let opens = self.state(now) != State::Open;
        self.until = Some(self.until.unwrap_or_default().max(now + span));
        opens
    }

    /// As found in the store: open for so long yet, or half open by now.
    pub fn restored(opened_for: Duration, now: Instant) -> Breaker {
        Breaker { failures: FAILURES, opened: 1, until: Some(now + opened_for) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_trial() {
        let mut breaker = Breaker::default();
        let now = Duration::from_secs(100);
        for _ in 0..FAILURES - 1 {
            assert!(!breaker.failed(now, false));
        }
        breaker.succeeded();
        for _ in 0..FAILURES - 1 {
            assert!(!breaker.failed(now, false));
        }
        assert_eq!(breaker.state(now), State::Closed);
        assert!(breaker.failed(now, false));
        assert_eq!(breaker.state(now + FIRST - Duration::from_nanos(1)), State::Open);
        assert_eq!(breaker.state(now + FIRST), State::HalfOpen);
        assert!(breaker.failed(now + FIRST, false), "a failed trial opens it again");
        assert_eq!(breaker.state(now + FIRST * 2), State::Open, "for longer");
        assert_eq!(breaker.state(now + FIRST * 3), State::HalfOpen);
        assert!(breaker.succeeded());
        assert_eq!(breaker.state(now), State::Closed);
    }

    #[test]
    fn one_that_asks_for_a_rest_is_open_until_it_ends() {
        let mut breaker = Breaker::default();
        let (now, minute) = (Duration::from_secs(100), Duration::from_secs(60));
        assert!(breaker.rests(now, minute));
        assert!(!breaker.rests(now, minute * 2), "it is open already, and for longer now");
        assert_eq!(breaker.state(now + minute), State::Open);
        assert_eq!(breaker.state(now + minute * 2), State::HalfOpen);
        assert!(breaker.succeeded());
    }

    #[test]
    fn what_is_certain_opens_it_at_once() {
        let mut breaker = Breaker::default();
        assert!(breaker.failed(Duration::ZERO, true));
        assert!(!breaker.failed(Duration::ZERO, true), "it is open already");
    }
}
