//! Limits of hosts that several nodes keep together: each host has send times of its own, which the store gives out (granted.rs).
//! They are asked for by those who wait for one, for many hosts at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Instant;
use crate::dispatch::granted::{Granted, Times, apart};
use crate::dispatch::permit::{Refusal, Reservation};
use crate::quantity::Limit;
use crate::store::Wanted;

/// Hosts remembered: one that is forgotten loses the times that nobody has used.
const REMEMBERED: usize = 10_000;
/// Hosts that are asked for at once.
const AT_ONCE: usize = 1_000;
/// How long an answer is waited for: then it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Shared {
    channel: String,
    limits: Vec<Limit>,
    /// How far apart the times of a host are.
    pub period: Duration,
    known: BTreeMap<String, Of>,
    /// Who wants times that nobody has asked for yet.
    wanting: BTreeSet<String>,
}

struct Of {
    granted: Granted,
    /// Until when the store's answer is waited for.
    asked_until: Instant,
}

impl Shared {
    /// `None` where there are no limits.
    pub fn new(channel: &str, limits: &[Limit]) -> Option<Shared> {
        let any = Granted::new(limits.iter().map(|limit| (channel, limit)))?;
        Some(Shared {
            channel: channel.to_string(),
            limits: limits.to_vec(),
            period: apart(any.limits()),
            known: BTreeMap::new(),
            wanting: BTreeSet::new(),
        })
    }

    /// Whether an attempt may begin; where nobody knows, that times are to be asked for.
    pub fn check(&mut self, host: &str, now: Instant) -> Result<(), Refusal> {
        match self.of(host, now).map_or(Ok(()), |of| of.granted.check(now)) {
            Err(Refusal::Reserve(Reservation::Times(wanted))) => {
                Err(Refusal::Reserve(Reservation::Host(host.to_string(), wanted)))
            }
            checked => checked,
        }
    }

    /// Until when nobody may go, or when to look again: the times of whoever has none are asked for.
    pub fn due(&mut self, host: &str, now: Instant) -> Option<Instant> {
        match self.check(host, now) {
            Ok(()) => None,
            Err(Refusal::Until(due)) => Some(due),
            Err(_) => {
                let asked_until = self.known.get(host).map_or(now, |of| of.asked_until);
                if asked_until <= now {
                    self.wanting.insert(host.to_string());
                    return Some(now + PATIENCE);
                }
                Some(asked_until)
            }
        }
    }

    /// An attempt begins.
    pub fn spend(&mut self, host: &str) {
        self.known.get_mut(host).into_iter().for_each(|of| of.granted.spend());
    }

    /// How many may begin now.
    pub fn room(&self, host: &str, now: Instant) -> u32 {
        self.known.get(host).map_or(0, |of| of.granted.room(now))
    }

    /// Somebody wants times that have not been asked for.
    pub fn wants(&self) -> bool {
        !self.wanting.is_empty()
    }

    /// What to ask the store for.
    pub fn wanted(&mut self, now: Instant) -> Vec<(String, Wanted)> {
        let mut asked = Vec::new();
        while asked.len() < AT_ONCE
            && let Some(host) = self.wanting.pop_first()
        {
            if let Err(Refusal::Reserve(Reservation::Host(host, wanted))) = self.check(&host, now) {
                self.known.get_mut(&host).into_iter().for_each(|of| of.asked_until = now + PATIENCE);
                asked.push((host, wanted));
            }
        }
        asked
    }

    /// The store has answered. When the first of these times is.
    pub fn granted(&mut self, host: &str, times: &Times, now: Instant) -> Option<Instant> {
        let of = self.of(host, now)?;
        of.asked_until = Instant::ZERO;
        of.granted.granted(times);
        match of.granted.check(now) {
            Ok(()) => Some(now),
            Err(Refusal::Until(due)) => Some(due),
            // They came too late.
            Err(_) => None,
        }
    }

    fn of(&mut self, host: &str, now: Instant) -> Option<&mut Of> {
        if !self.known.contains_key(host) {
            if self.known.len() >= REMEMBERED {
                self.known.retain(|_, of| of.asked_until > now || of.granted.check(now).is_ok());
            }
            if self.known.len() >= REMEMBERED {
                self.known.clear();
            }
            let granted = Granted::new(self.of_host(host))?;
            self.known.insert(host.to_string(), Of { granted, asked_until: Instant::ZERO });
        }
        self.known.get_mut(host)
    }

    fn of_host(&self, host: &str) -> impl Iterator<Item = (String, &Limit)> {
        let whose = format!("{} {host}", self.channel);
        self.limits.iter().map(move |limit| (whose.clone(), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 3] = ["busy", "slow", "alone"];

    /// Nodes that each want to send to each of these hosts as fast as they may, over a store that is now fast and now slow.
    #[test]
    fn all_nodes_together_never_exceed_the_limit_of_a_host_and_use_most_of_it() {
        let limit: Limit = "20/s".parse().expect("a limit");
        let at = Duration::from_millis;
        let mut chance = fastrand::Rng::with_seed(7);
        let mut nodes: Vec<Shared> = (0..3).map(|_| Shared::new("hooks", &[limit]).expect("a limit")).collect();
        let (mut next, mut begun) = (BTreeMap::<String, Instant>::new(), BTreeMap::<&str, Vec<Instant>>::new());
        let mut answers: Vec<(Instant, usize, String, Times)> = Vec::new();
        for now in (0..20_000).map(at) {
            for (of, host, times) in
                answers.extract_if(.., |one| one.0 <= now).map(|(_, of, host, times)| (of, host, times))
            {
                let times = Times { asked: (times.asked.0, now), ..times };
                nodes[of].granted(&host, &times, now);
            }
            for (of, node) in nodes.iter_mut().enumerate() {
                for host in HOSTS {
                    if node.due(host, now).is_none() {
                        node.spend(host);
                        begun.entry(host).or_default().push(now);
                    }
                }
                for (host, wanted) in node.wanted(now) {
                    let (name, apart) = wanted.limits[0].clone();
                    let first = next.get(&name).map_or(now + apart, |next| now.max(*next));
                    next.insert(name, first + apart * wanted.count);
                    let times = Times { count: wanted.count, after: first - now, asked: (now, now) };
                    answers.push((now + at(chance.u64(1..12)), of, host, times));
                }
            }
        }
        for host in HOSTS {
            let begun = &begun[host];
            let within = |from: usize| begun[from..].iter().take_while(|at| **at < begun[from] + limit.window).count();
            let most = (0..begun.len()).map(within).max().unwrap_or_default();
            assert!(most <= limit.count as usize, "{host}: {most} began in a window of {limit}");
            assert!(begun.len() > 20 * 20 / 2, "{host}: only {} of {}", begun.len(), 20 * 20);
        }
    }

    #[test]
    fn hosts_are_asked_for_together_once_and_again_where_no_answer_came() {
        let limit: Limit = "10/s".parse().expect("a limit");
        let mut hosts = Shared::new("hooks", &[limit]).expect("a limit");
        let at = Duration::from_secs;
        assert_eq!((hosts.due("a", at(1)), hosts.due("b", at(1))), (Some(at(1) + PATIENCE), Some(at(1) + PATIENCE)));
        assert!(hosts.wants());
        let asked = |hosts: &mut Shared, now| hosts.wanted(now).into_iter().map(|(host, _)| host).collect::<Vec<_>>();
        assert_eq!(asked(&mut hosts, at(1)), ["a", "b"]);
        assert_eq!(hosts.due("a", at(2)), Some(at(1) + PATIENCE));
        assert!(!hosts.wants(), "it is being asked for");
        let after = Duration::from_millis(500);
        assert_eq!(
            hosts.granted("b", &Times { count: 1, after, asked: (at(1), at(2)) }, at(2)),
            None,
            "too late for it"
        );
        let soon = Times { count: 1, after, asked: (at(2), at(2)) };
        assert_eq!(hosts.granted("a", &soon, at(2)), Some(at(2) + after));
        assert_eq!((hosts.room("a", at(2)), hosts.room("a", at(2) + after)), (0, 1));
        assert_eq!(hosts.due("b", at(2)), Some(at(2) + PATIENCE), "it is asked for at once");
        assert_eq!(asked(&mut hosts, at(2)), ["b"]);
        // No answer.
        assert!(hosts.due("b", at(4)).is_some() && hosts.wants());
        assert!(Shared::new("hooks", &[]).is_none());
    }

    #[test]
    fn no_more_hosts_are_remembered_than_there_is_room_for() {
        let limit: Limit = "10/s".parse().expect("a limit");
        let mut hosts = Shared::new("hooks", &[limit]).expect("a limit");
        for n in 0..2 * REMEMBERED {
            let now = Duration::from_millis(n as u64);
            hosts.due(&format!("h{n}"), now);
            assert_eq!(hosts.wanted(now).len(), 1);
            assert!(hosts.known.len() <= REMEMBERED, "{}", hosts.known.len());
        }
    }
}
