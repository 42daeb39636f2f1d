//! Limits of which each address, or each host, has its own. Memory is bounded: of whoever is forgotten it is remembered together
//! until when they may not be tried, so that forgetting never lets an attempt begin too early.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::quota::Quota;
use crate::clock::Instant;
use crate::quantity::Limit;

/// How many are remembered, by limit.
const REMEMBERED: usize = 65_536;

/// Two with the same digest share their limit, which is exceeded by neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    pub fn of(text: &str) -> Key {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Key(hasher.finish())
    }
}

pub struct Keyed {
    limits: Vec<Of>,
    remembered: usize,
}

struct Of {
    quota: Quota,
    /// When the attempts of each are paid off.
    paid: BTreeMap<Key, Instant>,
    /// The same for whoever is not in `paid`.
    others: Instant,
}

impl Keyed {
    pub fn new(limits: &[Limit], now: Instant) -> Keyed {
        Keyed::remembering(REMEMBERED, limits, now)
    }

    pub(super) fn remembering(remembered: usize, limits: &[Limit], now: Instant) -> Keyed {
        let of = |limit: &Limit| {
            let quota = Quota::of(*limit);
            Of { quota, paid: BTreeMap::new(), others: quota.spent(now) }
        };
        Keyed { limits: limits.iter().map(of).collect(), remembered }
    }

    /// Others may have been tried by somebody else of late.
    pub fn starts_over(&mut self, now: Instant) {
        self.limits.iter_mut().for_each(|of| of.others = of.others.max(of.quota.spent(now)));
    }

    pub fn none(&self) -> bool {
        self.limits.is_empty()
    }

    /// From when on somebody of whom nothing is known may be tried.
    pub fn due_of_others(&self) -> Instant {
        self.limits.iter().map(|of| of.quota.due(of.others)).max().unwrap_or_default()
    }

    pub fn due(&self, key: Key) -> Instant {
        self.limits.iter().map(|of| of.quota.due(of.paid(key))).max().unwrap_or_default()
    }

    pub fn spend(&mut self, key: Key, now: Instant) {
        for of in &mut self.limits {
            let paid = of.quota.spend(of.paid(key), now);
            if of.paid.len() >= self.remembered {
                of.forget(now, self.remembered);
            }
            of.paid.insert(key, paid);
        }
    }

    /// How many attempts may begin at once.
    pub fn room(&self, key: Key, now: Instant) -> u32 {
        self.limits.iter().map(|of| of.quota.room(of.paid(key), now)).min().unwrap_or(u32::MAX)
    }

    /// What one attempt costs at most.
    pub fn period(&self) -> std::time::Duration {
        self.limits.iter().map(|of| of.quota.period).max().unwrap_or_default()
    }
}

impl Of {
    fn paid(&self, key: Key) -> Instant {
        self.paid.get(&key).copied().unwrap_or(self.others)
    }

    /// First whoever has paid all off, who are as good as never tried; then the half that will have soonest.
    fn forget(&mut self, now: Instant, most: usize) {
        self.paid.retain(|_, paid| *paid > now);
        if self.paid.len() > most / 2 {
            let mut all: Vec<Instant> = self.paid.values().copied().collect();
            all.sort_unstable();
            let until = all[all.len() / 2];
            self.paid.retain(|_, paid| *paid > until);
            self.others = self.others.max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_comes_from_another_node_may_have_been_tried_there_just_now() {
        let limit: Limit = "1/10s".parse().expect("a limit");
        let at = Duration::from_secs;
        let mut keyed = Keyed::new(&[limit], at(0));
        keyed.spend(Key::of("ours"), at(15));
        keyed.starts_over(at(20));
        assert_eq!((keyed.due(Key::of("ours")), keyed.due(Key::of("theirs"))), (at(25), at(30)));
    }

    #[test]
    fn each_has_a_limit_of_its_own_and_none_is_exceeded_by_forgetting() {
        let limit: Limit = "1/10s".parse().expect("a limit");
        let at = Duration::from_secs;
        let mut keyed = Keyed::remembering(4, &[limit], at(0));
        let key = |n: u64| Key::of(&n.to_string());
        assert_eq!(keyed.due(key(1)), at(10), "nobody knows what was sent before");
        let mut begun: BTreeMap<Key, Vec<Instant>> = BTreeMap::new();
        let mut chance = fastrand::Rng::with_seed(1);
        for now in (10..3_000).map(at) {
            let one = key(chance.u64(..12));
            if keyed.due(one) <= now {
                keyed.spend(one, now);
                begun.entry(one).or_default().push(now);
            }
            assert!(keyed.limits[0].paid.len() <= 4);
        }
        for times in begun.values() {
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= at(10)), "{times:?}");
        }
        assert!(begun.len() == 12 && begun.values().map(Vec::len).sum::<usize>() > 500, "it is of no use");
    }
}
