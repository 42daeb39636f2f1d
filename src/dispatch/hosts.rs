//! The hosts behind a lane whose addresses each name one: how many attempts are on the wire to each, what its limits leave, when
//! it rests, and who waits for it. Whoever waits for a busy host stands in nobody else's way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub mod limits;
pub mod shared;

use self::limits::HostLimits;
use super::breaker::{Breaker, State};
use super::granted::Times;
use super::learned::{Kept, Learned};
use super::slow_start::{SlowStart, Step};
use crate::clock::{Instant, Time};

/// Hosts remembered; those with nothing on the wire, and nothing to say, are forgotten first.
const REMEMBERED: usize = 10_000;
/// The part of the room that may wait for one host. The others wait on disk.
const SHARE: usize = 4;
/// How long those wait at first, before it is known how fast the host is …
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … and at most, since it may be faster by then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// No more wait in memory for a host with a limit than have their turn within this.
const SOON: Duration = Duration::from_secs(10);

/// Lessons that outlive the process: the latest ones.
const KEPT: usize = 256;

pub struct Hosts<T> {
    room: usize,
    /// On the wire to one host.
    most: usize,
    pub limits: HostLimits,
    known: BTreeMap<String, Host<T>>,
    /// Who waits for any of them, by rank of priority.
    waiting: [usize; 4],
    /// Hosts that somebody waits for whom a limit holds back, by when it lets one go.
    due: BTreeSet<(Instant, String)>,
    /// What some host taught is not what was kept last.
    taught: bool,
}

struct Host<T> {
    on_wire: usize,
    breaker: Breaker,
    held_until: Instant,
    learned: Learned,
    slow: Option<SlowStart>,
    waiting: [VecDeque<T>; 4],
    /// As in `Hosts::due`.
    due: Option<Instant>,
    last_end: Option<Instant>,
    /// Between one end of an attempt and the next, while somebody waits.
    pace: Option<Duration>,
    /// When the last of those sent to wait on disk may have its turn.
    horizon: Instant,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Ready {
    Yes,
    /// Until an attempt ends.
    Busy,
    /// A limit leaves no room until then.
    Limited(Instant),
    Rests(Instant),
}

/// What an attempt says about its host.
pub enum Said {
    Works,
    /// It does not, and it may have said for how long.
    Fails(Option<Duration>),
    /// It works, but an attempt that began then was too many.
    TooMany {
        began: Instant,
        after: Option<Duration>,
    },
    Nothing,
}

impl<T> Default for Host<T> {
    fn default() -> Self {
        Host {
            on_wire: 0,
            breaker: Breaker::default(),
            held_until: Instant::ZERO,
            learned: Learned::default(),
            slow: None,
            waiting: Default::default(),
            due: None,
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

    fn begins(&mut self, now: Instant) {
        self.on_wire += 1;
        self.learned.begins(now);
        self.slow.iter_mut().for_each(|slow| slow.begins(now));
    }

    fn waits(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// True: what it taught has changed.
    fn says(&mut self, said: &Said, now: Instant) -> bool {
        match said {
            Said::Works => {
                let given_back = self.learned.succeeded(now);
                if self.breaker.succeeded() {
                    self.slow = Some(SlowStart::new(now));
                } else if self.slow.as_mut().is_some_and(|slow| slow.succeeded(now)) {
                    self.slow = None;
                }
                given_back
            }
            Said::Fails(after) => {
                self.breaker.failed(now, false);
                self.slow.iter_mut().for_each(|slow| slow.failed(now));
                self.held_until = self.held_until.max(now + after.unwrap_or_default());
                false
            }
            Said::TooMany { began, after } => {
                let news = self.learned.throttled(*began, now);
                // It works no longer, however slowly it is tried: there is nothing to learn from that.
                if news && after.is_none() && self.breaker.failed(now, false) {
                    self.learned = Learned::default();
                }
                self.slow.iter_mut().for_each(|slow| slow.failed(now));
                self.held_until = self.held_until.max(now + after.unwrap_or_default());
                news
            }
            Said::Nothing => false,
        }
    }
}

impl<T> Hosts<T> {
    /// `room`: how many may wait in memory for all hosts together; `most`: how many may be on the wire to one.
    pub fn new(room: usize, most: usize, limits: HostLimits) -> Hosts<T> {
        Hosts { room, most, limits, known: BTreeMap::new(), waiting: [0; 4], due: BTreeSet::new(), taught: false }
    }

    /// Before that no host of which nothing is known may be tried.
    pub fn opens(&self) -> Instant {
        self.limits.opens()
    }

    /// Whether an attempt may begin.
    pub fn ready(&mut self, name: &str, now: Instant) -> Ready {
        let mut due = self.limits.due(name, now).unwrap_or_default();
        if let Some(host) = self.known.get(name) {
            if let Some(rest) = host.rests_until(now) {
                return Ready::Rests(rest);
            }
            let most = if host.breaker.state(now) == State::HalfOpen { 1 } else { self.most };
            if host.on_wire >= most {
                return Ready::Busy;
            }
            match host.slow.as_ref().map_or(Step::Now, |slow| slow.next(host.on_wire, now)) {
                Step::Now => {}
                Step::At(at) => due = due.max(at),
                Step::AfterOneEnds => return Ready::Busy,
            }
            due = due.max(host.learned.due(now).unwrap_or_default());
        }
        if due > now { Ready::Limited(due) } else { Ready::Yes }
    }

    pub fn begins(&mut self, name: &str, now: Instant) {
        if self.known.len() >= REMEMBERED {
            self.forget(now);
        }
        self.limits.spend(name, now);
        match self.known.get_mut(name) {
            Some(host) => host.begins(now),
            None => self.known.entry(name.to_string()).or_default().begins(now),
        }
    }

    /// First those of whom there is nothing to say; then those who only go slowly; then all who have nothing on the wire.
    fn forget(&mut self, now: Instant) {
        let rests = |host: &Host<T>| host.rests_until(now).is_some();
        let slows = |host: &Host<T>| {
            rests(host) || host.breaker.until().is_some() || host.slow.is_some() || host.learned.limit(now).is_some()
        };
        for keeps in [&slows as &dyn Fn(&Host<T>) -> bool, &rests, &|_: &Host<T>| false] {
            if self.known.len() >= REMEMBERED {
                self.known.retain(|_, host| host.on_wire > 0 || host.waits() > 0 || keeps(host));
            }
        }
    }

    /// Waits here for a busy host, or until a limit leaves room. Where too many do already: when to ask again.
    pub fn wait(
        &mut self,
        name: &str,
        rank: usize,
        one: T,
        limited: Option<Instant>,
        now: Instant,
    ) -> Result<(), (T, Instant)> {
        let host = self.known.entry(name.to_string()).or_default();
        let period = self.limits.period().max(host.learned.period(now)) * u32::from(limited.is_some());
        let full = self.waiting.iter().sum::<usize>() >= self.room
            || host.waits() >= (self.room / SHARE).max(1)
            || period.saturating_mul(host.waits() as u32) > SOON;
        if full {
            let known = host.pace.is_some() || !period.is_zero();
            let pace = host.pace.unwrap_or_default().max(period);
            let soonest = now + if known { pace.saturating_mul(host.waits() as u32) } else { FIRST_WAIT };
            host.horizon = (host.horizon.max(soonest) + pace).min(now + LONGEST_WAIT);
            return Err((one, host.horizon));
        }
        host.waiting[rank].push_back(one);
        self.waiting[rank] += 1;
        if let Some(due) = limited.filter(|due| host.due.is_none_or(|known| *due < known)) {
            self.look_again(name, due);
        }
        Ok(())
    }

    /// When somebody who waits for a limit is to be let go.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Who need not wait any longer, since a limit leaves room by now.
    pub fn let_go(&mut self, now: Instant) -> Vec<(usize, T)> {
        let mut freed = Vec::new();
        while self.next_due().is_some_and(|due| due <= now)
            && let Some((_, name)) = self.due.pop_first()
        {
            if let Some(host) = self.known.get_mut(&name) {
                host.due = None;
            }
            match self.ready(&name, now) {
                Ready::Limited(due) => self.look_again(&name, due),
                // An end lets go of them.
                Ready::Busy => {}
                Ready::Rests(_) => self.take(&name, usize::MAX, &mut freed),
                Ready::Yes => {
                    let room = self.limits.room(&name, now);
                    self.take(&name, room as usize, &mut freed);
                    let Some(host) = self.known.get(&name).filter(|host| host.waits() > 0) else { continue };
                    let period = self.limits.period().max(host.learned.period(now)).max(Duration::from_millis(1));
                    self.look_again(&name, now + period);
                }
            }
        }
        freed
    }

    /// The store has given times for a host: who waits for it is let go by them.
    pub fn granted(&mut self, name: &str, times: &Times, now: Instant) {
        let first = self.limits.granted(name, times, now);
        if self.known.get(name).is_some_and(|host| host.waits() > 0) {
            self.look_again(name, first.unwrap_or(now));
        }
    }

    fn look_again(&mut self, name: &str, due: Instant) {
        let Some(host) = self.known.get_mut(name) else { return };
        if let Some(before) = host.due.replace(due) {
            self.due.remove(&(before, name.to_string()));
        }
        self.due.insert((due, name.to_string()));
    }

    /// The most urgent who wait for a host, as many as `most`, with their ranks.
    fn take(&mut self, name: &str, most: usize, freed: &mut Vec<(usize, T)>) {
        let Some(host) = self.known.get_mut(name) else { return };
        let most = freed.len().saturating_add(most);
        for (rank, waiting) in host.waiting.iter_mut().enumerate() {
            while freed.len() < most
                && let Some(one) = waiting.pop_front()
            {
                self.waiting[rank] -= 1;
                freed.push((rank, one));
            }
        }
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
        self.taught |= host.says(said, now);
        let mut freed = Vec::new();
        // Nobody waits for a host that rests, or for an end that does not come: they are decided anew. Whoever waits for a limit
        // is let go by the time alone.
        match (host.rests_until(now).is_some(), host.due) {
            (true, due) => {
                host.due = None;
                due.map(|due| self.due.remove(&(due, name.to_string())));
                self.take(name, usize::MAX, &mut freed);
            }
            (false, Some(_)) => {}
            (false, None) => {
                let most = if host.on_wire == 0 { usize::MAX } else { 1 };
                self.take(name, most, &mut freed);
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
            host.due = None;
            for (rank, waiting) in host.waiting.iter_mut().enumerate() {
                freed.extend(waiting.drain(..).map(|one| (rank, one)));
            }
        }
        self.due.clear();
        self.waiting = [0; 4];
        freed
    }

    pub fn waiting(&self, rank: usize) -> usize {
        self.waiting[rank]
    }

    /// Whether what some host taught has changed since this was asked last.
    pub fn have_taught(&mut self) -> bool {
        std::mem::take(&mut self.taught)
    }

    pub fn kept(&self, now: Instant, steady: Time) -> BTreeMap<String, Kept> {
        let lesson = |(name, host): (&String, &Host<T>)| Some((name.clone(), host.learned.kept(now, steady)?));
        let mut kept: Vec<_> = self.known.iter().filter_map(lesson).collect();
        kept.sort_by_key(|(_, lesson)| std::cmp::Reverse(lesson.at));
        kept.into_iter().take(KEPT).collect()
    }

    pub fn restore(&mut self, kept: &BTreeMap<String, Kept>, now: Instant, steady: Time) {
        for (name, lesson) in kept.iter().take(KEPT) {
            let learned = Learned::restored(lesson, now, steady);
            if learned.limit(now).is_some() {
                self.known.entry(name.clone()).or_default().learned = learned;
            }
        }
    }

    #[cfg(test)]
    pub fn learned(&self, name: &str, now: Instant) -> Option<crate::quantity::Limit> {
        self.known.get(name)?.learned.limit(now)
    }

    /// Hosts that taught a limit which is still kept.
    pub fn taught(&self, now: Instant) -> usize {
        self.known.values().filter(|host| host.learned.limit(now).is_some()).count()
    }
}

#[cfg(test)]
mod tests;
