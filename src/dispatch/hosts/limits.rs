//! The configured limits of hosts: kept here alone, or together with other nodes that send to the same hosts.

use std::time::Duration;

use super::shared::Shared;
use crate::clock::Instant;
use crate::dispatch::granted::Times;
use crate::dispatch::keyed::{Key, Keyed};
use crate::dispatch::permit::Refusal;
use crate::store::Wanted;

pub enum HostLimits {
    Own(Keyed),
    Shared(Shared),
}

impl HostLimits {
    /// Before that no host of which nothing is known may be tried.
    pub fn opens(&self) -> Instant {
        match self {
            HostLimits::Own(limits) => limits.due_of_others(),
            HostLimits::Shared(_) => Instant::ZERO,
        }
    }

    /// Until when they leave no room, or when to look again.
    pub fn due(&mut self, host: &str, now: Instant) -> Option<Instant> {
        match self {
            HostLimits::Own(limits) if limits.none() => None,
            HostLimits::Own(limits) => Some(limits.due(Key::of(host))).filter(|due| *due > now),
            HostLimits::Shared(shared) => shared.due(host, now),
        }
    }

    /// As `due`, for whoever asks the store without waiting for others.
    pub fn check(&mut self, host: &str, now: Instant) -> Result<(), Refusal> {
        match self {
            HostLimits::Own(_) => self.due(host, now).map_or(Ok(()), |due| Err(Refusal::Until(due))),
            HostLimits::Shared(shared) => shared.check(host, now),
        }
    }

    /// An attempt begins.
    pub fn spend(&mut self, host: &str, now: Instant) {
        match self {
            HostLimits::Own(limits) if limits.none() => {}
            HostLimits::Own(limits) => limits.spend(Key::of(host), now),
            HostLimits::Shared(shared) => shared.spend(host),
        }
    }

    /// How many attempts may begin at once, if any may.
    pub fn room(&self, host: &str, now: Instant) -> u32 {
        match self {
            HostLimits::Own(limits) if limits.none() => 1,
            HostLimits::Own(limits) => limits.room(Key::of(host), now).max(1),
            HostLimits::Shared(shared) => shared.room(host, now).max(1),
        }
    }

    /// What one attempt costs at most.
    pub fn period(&self) -> Duration {
        match self {
            HostLimits::Own(limits) => limits.period(),
            HostLimits::Shared(shared) => shared.period,
        }
    }

    /// Somebody waits for send times that the store has not been asked for.
    pub fn want(&self) -> bool {
        matches!(self, HostLimits::Shared(shared) if shared.wants())
    }

    /// What the store is to be asked for, and for which hosts.
    pub fn wanted(&mut self, now: Instant) -> Vec<(String, Wanted)> {
        match self {
            HostLimits::Own(_) => Vec::new(),
            HostLimits::Shared(shared) => shared.wanted(now),
        }
    }

    /// The store has given times for a host. When the first is.
    pub fn granted(&mut self, host: &str, times: &Times, now: Instant) -> Option<Instant> {
        match self {
            HostLimits::Own(_) => None,
            HostLimits::Shared(shared) => shared.granted(host, times, now),
        }
    }
}
