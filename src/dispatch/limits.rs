//! All that limits a lane's attempts but its hosts: the channel's own limits, what its platform taught, and what it shares with the
//! other channels of its account. Either all let an attempt go, or none has spent anything.

use std::sync::Arc;

use super::account::{Account, Asking};
use super::granted::Granted;
use super::learned::Learned;
use super::permit::{Permits, Refusal, Reserved};
use crate::audience::route::ChannelId;
use crate::clock::{Instant, Time};

pub struct Limits {
    own: Permits,
    /// The short limits of channel and account, where other nodes send by them, too.
    granted: Option<Granted>,
    pub learned: Learned,
    /// `None` where it is the channel's alone, and neither it nor its addresses have limits.
    account: Option<Arc<Account>>,
    /// The account was asked since the look into the lane began: the lane has its turn there.
    asked: bool,
}

impl Limits {
    pub fn new(own: Permits, granted: Option<Granted>, account: Option<Arc<Account>>) -> Limits {
        Limits { own, granted, learned: Learned::default(), account, asked: false }
    }

    /// Limiters start empty. Before that no address may be tried.
    pub fn opens(&self) -> Instant {
        self.account.as_ref().map_or(Instant::ZERO, |account| account.opens())
    }

    /// A look into the lane begins.
    pub fn looks(&mut self) {
        self.asked = false;
    }

    /// It found nobody to send to: whoever did not ask gives its turn away.
    pub fn found_nobody(&self, lane: ChannelId) {
        if let Some(account) = self.account.as_ref().filter(|_| !self.asked) {
            account.leave(lane);
        }
    }

    /// An attempt begins, or the answer says what it waits for. `steady` is the steady time of `now`.
    pub fn spend(&mut self, asking: &Asking<'_>, now: Instant, steady: impl Fn() -> Time) -> Result<(), Refusal> {
        self.check(now, &steady)?;
        if let Some(account) = &self.account {
            self.asked = true;
            account.spend(asking, now, steady())?;
        }
        self.begins(now);
        Ok(())
    }

    /// As `spend`, for what goes past the lane and has no turn.
    pub fn spend_directly(&mut self, to: &str, now: Instant, steady: Time) -> Result<(), Refusal> {
        self.check(now, &|| steady)?;
        if let Some(account) = &self.account {
            account.spend_directly(to, now, steady)?;
        }
        self.begins(now);
        Ok(())
    }

    fn check(&mut self, now: Instant, steady: &impl Fn() -> Time) -> Result<(), Refusal> {
        if let Some(due) = self.learned.due(now).filter(|due| *due > now) {
            return Err(Refusal::Until(due));
        }
        self.granted.as_mut().map_or(Ok(()), |granted| granted.check(now))?;
        if self.own.none() { Ok(()) } else { self.own.check(now, steady()) }
    }

    fn begins(&mut self, now: Instant) {
        self.granted.iter_mut().for_each(Granted::spend);
        self.own.spend(now);
        self.learned.begins(now);
    }

    /// The platform asks for a rest of all channels of the account.
    pub fn account_rests(&self, until: Instant) {
        self.account.iter().for_each(|account| account.rests(until));
    }

    /// Recipients have come from another node.
    pub fn recipients_came(&self, now: Instant) {
        self.account.iter().for_each(|account| account.recipients_came(now));
    }

    /// What was reserved is on disk; what was for a host is the lane's.
    pub fn reserved(&mut self, reserved: &Reserved) {
        if let Reserved::Times(times) = reserved {
            self.granted.iter_mut().for_each(|granted| granted.granted(times));
        }
        self.own.reserved(reserved);
        self.account.iter().for_each(|account| account.reserved(reserved));
    }
}

#[cfg(test)]
mod tests;
