//! Slow start: what has just come back gets one attempt in the first second, then two, four, … so that it is not knocked over
//! again. Success doubles it, a second at a time; failure halves it. Pure: it is told the time.

use std::time::Duration;

use crate::clock::Instant;

const ROUND: Duration = Duration::from_secs(1);
/// Past this many a second it is as strong as ever.
const STRONG: u32 = 1 << 16;
/// Nor has what did not fail for so long just come back.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub struct SlowStart {
    /// Attempts that may begin in a round, and be on the wire.
    most: u32,
    /// Since it came back, or last failed.
    since: Instant,
    round: Instant,
    begun: u32,
    /// Since the last doubling.
    succeeded: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Now,
    /// Enough have begun until then.
    At(Instant),
    /// Enough are on the wire.
    AfterOneEnds,
}

impl SlowStart {
    pub fn new(now: Instant) -> SlowStart {
        SlowStart { most: 1, since: now, round: now, begun: 0, succeeded: 0 }
    }

    pub fn next(&self, on_wire: usize, now: Instant) -> Step {
        if on_wire >= self.most as usize {
            return Step::AfterOneEnds;
        }
        let ends = self.round + ROUND;
        if now < ends && self.begun >= self.most { Step::At(ends) } else { Step::Now }
    }

    pub fn begins(&mut self, now: Instant) {
        if now >= self.round + ROUND {
            // What was not tried has proved nothing.
            if self.succeeded * 2 >= self.most {
                self.most *= 2;
                self.succeeded = 0;
            }
            (self.round, self.begun) = (now, 0);
        }
        self.begun += 1;
    }

    /// True where this was the last step: there is no limit any more.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        self.succeeded = self.succeeded.saturating_add(1);
        self.most >= STRONG || now.saturating_sub(self.since) >= LONGEST
    }

    pub fn failed(&mut self, now: Instant) {
        self.most = (self.most / 2).max(1);
        self.since = now;
        self.succeeded = 0;
    }

    /// Attempts a second.
    pub fn most(&self) -> u32 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Duration::from_millis(millis)
    }

    /// As many as it lets go, asked every millisecond and answered at once.
    fn in_a_second(slow: &mut SlowStart, second: u64) -> u32 {
        let mut begun = 0;
        for now in (second * 1_000..second * 1_000 + 1_000).map(at) {
            while slow.next(0, now) == Step::Now {
                slow.begins(now);
                begun += 1;
                if slow.succeeded(now) {
                    return begun;
                }
            }
        }
        begun
    }

    #[test]
    fn each_second_of_success_doubles_what_may_begin_until_it_is_strong() {
        let mut slow = SlowStart::new(at(0));
        let begun: Vec<u32> = (0..6).map(|second| in_a_second(&mut slow, second)).collect();
        assert_eq!(begun, [1, 2, 4, 8, 16, 32]);
        let strong = (6..30).find(|second| {
            in_a_second(&mut slow, *second);
            slow.most >= STRONG
        });
        assert_eq!(strong, Some(16));
    }

    #[test]
    fn failure_halves_it_and_what_was_not_tried_does_not_double_it() {
        let mut slow = SlowStart::new(at(0));
        for second in 0..4 {
            in_a_second(&mut slow, second);
        }
        slow.failed(at(4_000));
        assert_eq!(in_a_second(&mut slow, 4), 4);
        for second in 5..20 {
            let now = at(second * 1_000);
            slow.begins(now);
            slow.succeeded(now);
        }
        assert!(slow.most() <= 32, "{} after fifteen", slow.most());
    }

    #[test]
    fn no_more_are_on_the_wire_than_may_begin_in_a_second() {
        let mut slow = SlowStart::new(at(0));
        slow.begins(at(0));
        assert_eq!(slow.next(1, at(5_000)), Step::AfterOneEnds);
        assert_eq!(slow.next(0, at(500)), Step::At(at(1_000)));
        assert_eq!(slow.next(0, at(1_000)), Step::Now);
    }
}
