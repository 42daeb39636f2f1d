//! Limits that several nodes keep together: each node asks the store for send times, which are given out once and evenly, by the
//! store's clock. An attempt begins at its time or a little later, never before; a time that nobody has used by then is lost. So
//! in no window do more begin than a limit allows, on all nodes together, whatever their own clocks show: times lie so far apart
//! that those of a window and of the lateness before it are no more than N. All limits of a channel are asked for at once: a time is
//! one at which each of them lets an attempt go, so that none is lost while another is waited for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::permit::{Refusal, Reservation};
use crate::clock::Instant;
use crate::fault::{self, Fault};
use crate::quantity::Limit;
use crate::store::Wanted;

/// Times for so long are asked for at once, at most: the others wait no longer for theirs.
const AHEAD: Duration = Duration::from_millis(50);
/// How late an attempt may begin, as a part of the shortest window …
const LATE: u32 = 10;
/// … and at most.
const LATEST: Duration = Duration::from_secs(1);

pub struct Granted {
    /// Each by its name in the store, and how far apart its times are.
    limits: Vec<(String, Duration)>,
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
    pub count: u32,
    pub after: Duration,
    /// The store was asked after the first and has answered before the second.
    pub asked: (Instant, Instant),
}

/// How far apart send times are that obey all of these limits.
pub fn apart(limits: &[(String, Duration)]) -> Duration {
    limits.iter().map(|(_, apart)| *apart).max().unwrap_or_default()
}

impl Granted {
    /// The limits of whom: the channel's, and its account's. `None` where there are none.
    pub fn new<'a>(limits: impl IntoIterator<Item = (impl std::fmt::Display, &'a Limit)>) -> Option<Granted> {
        let limits: BTreeMap<String, Limit> =
            limits.into_iter().map(|(whose, limit)| (format!("{whose} {limit}"), *limit)).collect();
        let late = limits.values().map(|limit| limit.window / LATE).min()?.min(LATEST);
        let times = |limit: &Limit| {
            let apart = (limit.window + late).as_micros().div_ceil(u128::from(limit.count.max(1)));
            Duration::from_micros(u64::try_from(apart).unwrap_or(u64::MAX).max(1))
        };
        let limits: Vec<(String, Duration)> = limits.iter().map(|(name, limit)| (name.clone(), times(limit))).collect();
        let most = AHEAD.as_micros() / apart(&limits).as_micros().max(1);
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        Some(Granted { limits, late, most, times: VecDeque::new(), asked: 1, used: 0 })
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
                Err(Refusal::Reserve(Reservation::Times(Wanted { limits: self.limits.clone(), count })))
            }
        }
    }

    /// An attempt begins, which `check` has just allowed.
    pub fn spend(&mut self) {
        // Its second use is the fault.
        let twice = fault::on(Fault::SendTimesUsedTwice) && self.used.is_multiple_of(2);
        if !twice {
            self.times.pop_front();
        }
        self.used += 1;
    }

    /// Each by its name in the store, and how far apart its times are.
    pub fn limits(&self) -> &[(String, Duration)] {
        &self.limits
    }

    /// How many attempts may begin now.
    pub fn room(&self, now: Instant) -> u32 {
        self.times.iter().filter(|(from, until)| *from <= now && now < *until).count() as u32
    }

    pub fn granted(&mut self, times: &Times) {
        (self.asked, self.used) = (times.count, 0);
        let ((before, since), apart) = (times.asked, apart(&self.limits));
        for n in 0..times.count {
            let after = times.after + apart * n;
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

    /// What the store does.
    fn grant(
        next: &mut BTreeMap<String, Duration>,
        limits: &[(String, Duration)],
        count: u32,
        now: Duration,
    ) -> Duration {
        let first = limits.iter().filter_map(|(name, _)| next.get(name)).max().map_or(now, |next| now.max(*next));
        for (name, own) in limits {
            next.insert(name.clone(), first + apart(limits) * (count - 1) + *own);
        }
        first
    }

    /// Nodes whose clocks have nothing to do with each other, over a store that is now fast and now slow.
    #[test]
    fn all_nodes_together_never_exceed_a_limit_and_use_most_of_the_tightest() {
        let worlds: [&[&str]; 7] =
            [&["1/s"], &["5/s"], &["50/s"], &["1000/s"], &["7/3s"], &["100/min"], &["10/min", "7/30s", "2/s"]];
        for (seed, texts) in worlds.iter().enumerate() {
            let limits: Vec<Limit> = texts.iter().map(|text| text.parse().expect(text)).collect();
            let mut chance = fastrand::Rng::with_seed(seed as u64);
            let offset = |n: u32| Duration::from_secs(7_000) * n;
            let named = || limits.iter().map(|limit| ("hooks", limit));
            let mut nodes: Vec<(Granted, Duration)> =
                (0..3).map(|n| (Granted::new(named()).expect("limits"), offset(n))).collect();
            // The store's clock, and the times that it gives out next.
            let (mut now, mut next) = (Duration::from_secs(100), BTreeMap::new());
            let tightest = limits.iter().max_by_key(|limit| limit.window / limit.count).copied().expect("there is one");
            let end = now + tightest.window * 8;
            let mut begun: Vec<Duration> = Vec::new();
            let late = nodes[0].0.late;
            let step = (tightest.window / tightest.count / 4).min(late / 8).min(Duration::from_millis(5));
            while now < end {
                now += step;
                for (node, offset) in &mut nodes {
                    let local = now + *offset;
                    match node.check(local) {
                        Ok(()) => {
                            node.spend();
                            begun.push(now);
                        }
                        Err(Refusal::Reserve(Reservation::Times(Wanted { limits, count }))) => {
                            let first = grant(&mut next, &limits, count, now);
                            let most = late.as_micros() as u64 / 8;
                            let (to, fro) = (chance.u64(..=most), chance.u64(..=most));
                            let asked = (local - Duration::from_micros(to), local + Duration::from_micros(fro));
                            node.granted(&Times { count, after: first - now, asked });
                        }
                        Err(_) => {}
                    }
                }
            }
            for limit in &limits {
                let within =
                    |from: usize| begun[from..].iter().take_while(|at| **at < begun[from] + limit.window).count();
                let most = (0..begun.len()).map(within).max().unwrap_or_default();
                assert!(most <= limit.count as usize, "{texts:?}: {most} began in a window of {limit}");
            }
            let allowed = tightest.count as usize * 8;
            assert!(begun.len() * 2 > allowed, "{texts:?}: only {} of {allowed}", begun.len());
        }
    }

    #[test]
    fn a_time_that_nobody_used_is_lost_and_one_that_cannot_be_kept_is_not_used() {
        let limit: Limit = "10/s".parse().expect("a limit");
        let mut node = Granted::new([("hooks", &limit)]).expect("a limit");
        let at = Duration::from_millis;
        let times = |after, asked| Times { count: 1, after: at(after), asked };
        assert!(matches!(node.check(at(0)), Err(Refusal::Reserve(_))));
        node.granted(&times(20, (at(0), at(4))));
        assert_eq!(node.check(at(23)), Err(Refusal::Until(at(24))), "not before it, whenever the store looked");
        assert_eq!(node.check(at(119)), Ok(()));
        assert!(matches!(node.check(at(120)), Err(Refusal::Reserve(_))), "it is lost");
        node.granted(&times(0, (at(200), at(300))));
        assert!(matches!(node.check(at(300)), Err(Refusal::Reserve(_))), "the answer was too slow");
        assert!(Granted::new([("", &limit); 0]).is_none());
    }
}
