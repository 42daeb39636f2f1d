//! What channels of one account share: the account's limits, and those of each address that it writes to. Several lanes may ask;
//! whoever is refused has a turn, the most urgent first and then the one that has waited longest, so that there is no crowd
//! at the moment when a permit comes, and no lane starves.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::keyed::{Key, Keyed};
use super::lock;
use super::permit::{Permits, Refusal, Reserved};
use crate::audience::route::ChannelId;
use crate::clock::{Instant, Time};

pub struct Account(Mutex<Inner>);

struct Inner {
    /// A platform asked for a rest of them all.
    rests_until: Instant,
    permits: Permits,
    addresses: Keyed,
    waiting: Vec<Waiting>,
    next: u64,
}

struct Waiting {
    lane: ChannelId,
    /// Of the most urgent delivery that it has, and then the order in which lanes came.
    turn: (usize, u64),
    wake: Arc<Notify>,
}

/// Who asks for whom.
pub struct Asking<'a> {
    pub lane: ChannelId,
    pub rank: usize,
    pub wake: &'a Arc<Notify>,
    pub to: &'a str,
}

impl Account {
    pub fn new(permits: Permits, addresses: Keyed) -> Account {
        Account(Mutex::new(Inner { rests_until: Instant::ZERO, permits, addresses, waiting: Vec::new(), next: 0 }))
    }

    /// Before that nobody of whom nothing is known may be tried.
    pub fn opens(&self) -> Instant {
        lock(&self.0).addresses.due_of_others()
    }

    /// Spends an attempt, or says why not.
    pub fn spend(&self, asking: &Asking<'_>, now: Instant, steady: Time) -> Result<(), Refusal> {
        let mut inner = lock(&self.0);
        if !inner.waiting.is_empty() {
            inner.stand(asking);
            if let Some(first) = inner.first().filter(|first| first.lane != asking.lane) {
                first.wake.notify_one();
                return Err(Refusal::Turn);
            }
        }
        if let Err(refusal) = inner.check(now, steady) {
            inner.stand(asking);
            return Err(refusal);
        }
        inner.begin(asking.to, now)?;
        inner.leave(asking.lane);
        Ok(())
    }

    /// As `spend`, for what goes past the lanes and has no turn.
    pub fn spend_directly(&self, to: &str, now: Instant, steady: Time) -> Result<(), Refusal> {
        let mut inner = lock(&self.0);
        inner.check(now, steady)?;
        inner.begin(to, now)
    }

    /// A platform asks for a rest of all channels of the account.
    pub fn rests(&self, until: Instant) {
        let mut inner = lock(&self.0);
        inner.rests_until = inner.rests_until.max(until);
    }

    /// A lane has nothing to send now: it gives its turn away.
    pub fn leave(&self, lane: ChannelId) {
        lock(&self.0).leave(lane);
    }

    /// Recipients have come from another node, which may have tried them just now.
    pub fn recipients_came(&self, now: Instant) {
        lock(&self.0).addresses.starts_over(now);
    }

    pub fn reserved(&self, reserved: &Reserved) {
        lock(&self.0).permits.reserved(reserved);
    }
}

impl Inner {
    fn check(&mut self, now: Instant, steady: Time) -> Result<(), Refusal> {
        if self.rests_until > now {
            return Err(Refusal::Until(self.rests_until));
        }
        self.permits.check(now, steady)
    }

    fn begin(&mut self, to: &str, now: Instant) -> Result<(), Refusal> {
        if !self.addresses.none() {
            let key = Key::of(to);
            let due = self.addresses.due(key);
            if due > now {
                return Err(Refusal::Address(due));
            }
            self.addresses.spend(key, now);
        }
        self.permits.spend(now);
        Ok(())
    }

    fn first(&self) -> Option<&Waiting> {
        self.waiting.iter().min_by_key(|waiting| waiting.turn)
    }

    fn stand(&mut self, asking: &Asking<'_>) {
        match self.waiting.iter_mut().find(|waiting| waiting.lane == asking.lane) {
            Some(waiting) => waiting.turn.0 = asking.rank,
            None => {
                self.next += 1;
                let turn = (asking.rank, self.next);
                self.waiting.push(Waiting { lane: asking.lane, turn, wake: asking.wake.clone() });
            }
        }
    }

    fn leave(&mut self, lane: ChannelId) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.retain(|waiting| waiting.lane != lane);
        if let Some(first) = self.first() {
            first.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_permits_of_an_account_go_to_the_most_urgent_lane_and_then_by_turns() {
        let rates = ["10/s".parse().expect("a limit")];
        let account = Account::new(Permits::new(&rates, Vec::new(), Duration::ZERO), Keyed::new(&[], Duration::ZERO));
        let wake = [(); 3].map(|()| Arc::new(Notify::new()));
        let ask = |lane: usize, rank: usize, millis: u64| {
            let asking = Asking { lane: ChannelId(lane as u16), rank, wake: &wake[lane], to: "" };
            account.spend(&asking, Duration::from_millis(millis), Time(millis as i64))
        };
        let until = |millis| Err(Refusal::Until(Duration::from_millis(millis)));
        assert_eq!(ask(0, 3, 0), until(100));
        assert_eq!(ask(1, 3, 10), Err(Refusal::Turn));
        assert_eq!(ask(2, 0, 20), until(100), "critical: before those who came first");
        assert_eq!(ask(0, 3, 100), Err(Refusal::Turn));
        assert_eq!(ask(2, 0, 100), Ok(()));
        assert_eq!((ask(0, 3, 100), ask(1, 3, 100)), (until(200), Err(Refusal::Turn)));
        assert_eq!(ask(0, 3, 200), Ok(()));
        assert_eq!(ask(0, 3, 300), Err(Refusal::Turn), "it had its turn");
        assert_eq!(ask(1, 3, 300), Ok(()));
        account.leave(ChannelId(0));
        assert_eq!(ask(1, 3, 400), Ok(()), "nobody else waits");
    }
}
