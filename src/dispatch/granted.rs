//! A limit that several nodes keep together: each asks the store for send times, which are given out once and evenly, by the store's
//! clock. An attempt begins at its time or a little later, never before; a time that nobody has used by then is lost. So in no window
//! do more begin than the limit allows, on all nodes together, whatever their own clocks show: times lie so far apart that those of
//! a window and of the lateness before it are no more than N.

use std::collections::VecDeque;
use std::time::Duration;

use super::permit::{Refusal, Reservation};
use crate::clock::Instant;
use crate::quantity::Limit;

/// Times for so long are asked for at once, at most: the others wait no longer for theirs.
const AHEAD: Duration = Duration::from_millis(50);
/// How late an attempt may begin, as a part of the window …
const LATE: u32 = 10;
/// … and at most.
const LATEST: Duration = Duration::from_secs(1);

pub struct Granted {
    name: String,
    interval: Duration,
    late: Duration,
    /// Asked for at once.
    most: u32,
    /// From when and until when, by the node's monotonic clock, each attempt may begin.
    times: VecDeque<(Instant, Instant)>,
    asked: u32,
    used: u32,
}

/// Send times that were given out, the first `after` the store was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    pub name: String,
    pub count: u32,
    pub after: Duration,
    /// The store was asked after the first and has answered before the second.
    pub asked: (Instant, Instant),
}

impl Granted {
    /// `whose`: the channel, or the account of several.
    pub fn new(whose: &str, limit: Limit) -> Granted {
        let late = (limit.window / LATE).min(LATEST);
        let apart = (limit.window + late).as_micros().div_ceil(u128::from(limit.count.max(1)));
        let interval = Duration::from_micros(u64::try_from(apart).unwrap_or(u64::MAX).max(1));
        let most = AHEAD.as_micros() / interval.as_micros().max(1);
        Granted {
            name: format!("{whose} {limit}"),
            interval,
            late,
            most: u32::try_from(most).unwrap_or(u32::MAX).max(1),
            times: VecDeque::new(),
            asked: 1,
            used: 0,
        }
    }

    pub fn check(&mut self, now: Instant) -> Result<(), Refusal> {
        while self.times.front().is_some_and(|(_, until)| *until <= now) {
            self.times.pop_front();
        }
        match self.times.front() {
            Some((from, _)) if *from <= now => Ok(()),
            Some((from, _)) => Err(Refusal::Until(*from)),
            None => {
                // As many as were used the last time, and more where all were.
                let wanted = if self.used >= self.asked { self.asked.saturating_mul(2) } else { self.used };
                let count = wanted.clamp(1, self.most);
                Err(Refusal::Reserve(Reservation::Times { name: self.name.clone(), count, interval: self.interval }))
            }
        }
    }

    /// An attempt begins, which `check` has just allowed.
    pub fn spend(&mut self) {
        self.times.pop_front();
        self.used += 1;
    }

    pub fn granted(&mut self, times: &Times) {
        if times.name != self.name {
            return;
        }
        (self.asked, self.used) = (times.count, 0);
        let (before, since) = times.asked;
        for n in 0..times.count {
            let after = times.after + self.interval * n;
            // Nobody knows when the store looked at its clock: for the one it was as late as can be, for the other as early.
            let (from, until) = (since + after, before + after + self.late);
            if from < until {
                self.times.push_back((from, until));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes whose clocks have nothing to do with each other, over a store that is now fast and now slow.
    #[test]
    fn all_nodes_together_never_exceed_the_limit_and_use_most_of_it() {
        for (seed, text) in ["1/s", "5/s", "50/s", "1000/s", "7/3s", "100/min"].iter().enumerate() {
            let limit: Limit = text.parse().expect(text);
            let mut chance = fastrand::Rng::with_seed(seed as u64);
            let apart = Duration::from_secs(7_000);
            let mut nodes: Vec<(Granted, Duration)> =
                (0..3).map(|n| (Granted::new("hooks", limit), apart * n)).collect();
            // The store's clock, and the time that it gives out next.
            let (mut now, mut next) = (Duration::from_secs(100), Duration::ZERO);
            let end = now + limit.window * 8;
            let mut begun: Vec<Duration> = Vec::new();
            let step = (limit.window / limit.count / 4).min(Duration::from_millis(5));
            while now < end {
                now += step;
                for (node, offset) in &mut nodes {
                    let local = now + *offset;
                    match node.check(local) {
                        Ok(()) => {
                            node.spend();
                            begun.push(now);
                        }
                        Err(Refusal::Reserve(Reservation::Times { name, count, interval })) => {
                            let first = next.max(now);
                            next = first + interval * count;
                            let most = limit.window.as_micros() as u64 / 20;
                            let (to, fro) = (chance.u64(..most / 4 + 1), chance.u64(..most / 4 + 1));
                            let asked = (local - Duration::from_micros(to), local + Duration::from_micros(fro));
                            node.granted(&Times { name, count, after: first - now, asked });
                        }
                        Err(_) => {}
                    }
                }
            }
            let within = |from: usize| begun[from..].iter().take_while(|at| **at < begun[from] + limit.window).count();
            let most = (0..begun.len()).map(within).max().unwrap_or_default();
            assert!(most <= limit.count as usize, "{text}: {most} began in a window");
            assert!(begun.len() * 2 > limit.count as usize * 8, "{text}: only {} of 8 windows", begun.len());
        }
    }

    #[test]
    fn a_time_that_nobody_used_is_lost_and_one_that_cannot_be_kept_is_not_used() {
        let limit: Limit = "10/s".parse().expect("a limit");
        let mut node = Granted::new("hooks", limit);
        let at = Duration::from_millis;
        let times = |after, asked| Times { name: "hooks 10/s".into(), count: 1, after: at(after), asked };
        assert!(matches!(node.check(at(0)), Err(Refusal::Reserve(_))));
        node.granted(&times(20, (at(0), at(4))));
        assert_eq!(node.check(at(23)), Err(Refusal::Until(at(24))), "not before it, whenever the store looked");
        assert_eq!(node.check(at(119)), Ok(()));
        assert!(matches!(node.check(at(120)), Err(Refusal::Reserve(_))), "it is lost");
        node.granted(&times(0, (at(200), at(300))));
        assert!(matches!(node.check(at(300)), Err(Refusal::Reserve(_))), "the answer was too slow");
        node.granted(&Times { name: "others 10/s".into(), ..times(0, (at(300), at(300))) });
        assert!(matches!(node.check(at(300)), Err(Refusal::Reserve(_))), "it is another's");
    }
}
