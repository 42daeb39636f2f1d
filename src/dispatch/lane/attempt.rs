//! An attempt in the lane, from its begin to its end: it holds a slot and its host meanwhile, and its answer tells the
//! breaker, the host and the lane whether they rest.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Inner, Lane};
use crate::channel::{Fault, Holds, Outcome};
use crate::clock::{Clock, Instant};
use crate::dispatch::Engine;
use crate::dispatch::breaker::State;
use crate::dispatch::hosts::Said;
use crate::dispatch::learned::Learned;
use crate::dispatch::live::Delivery;
use crate::dispatch::lock;
use crate::dispatch::observed::Answer;
use crate::dispatch::slow_start::SlowStart;
use crate::store::BreakerRow;

/// A platform that asks for more is tried again all the same.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// From here on nobody waits for it who has another way.
const LONG_HOLD: Duration = Duration::from_secs(60);

/// What an answer changed that outlives the process.
pub struct Changes {
    pub breaker: Option<BreakerRow>,
    /// What the platform or one of its hosts taught.
    pub lessons: bool,
}

impl Lane {
    /// Under the lane's lock, so that whoever has passed `Engine::barrier` sees it counted.
    pub(super) fn begin(&self, engine: &Engine, inner: &mut Inner, delivery: &Delivery, now: Instant) {
        self.on_wire.fetch_add(1, Ordering::Relaxed);
        engine.leases.begins(delivery.subscriber.shard());
        if !delivery.recovered {
            engine.attempt_begins(delivery);
        }
        inner.slow.iter_mut().for_each(|slow| slow.begins(now));
        if let Some(host) = self.settings.driver.host(&delivery.to) {
            inner.hosts.begins(host, now);
        }
    }

    /// An attempt has ended that began then: its slot is free, and breaker, rests and learned limits follow from the answer. Answers
    /// what of that is to be kept. Whoever calls this looks for the next, or wakes the lane.
    pub fn ended(&self, delivery: &Delivery, outcome: &Outcome, began: Instant, clock: &Clock) -> Changes {
        let now = clock.monotonic();
        let mut inner = lock(&self.inner);
        inner.lesson_changed = false;
        self.on_wire.fetch_sub(1, Ordering::Relaxed);
        if let Some(answer) = self.says(outcome) {
            inner.observed.answered(answer, now.saturating_sub(began), now);
        }
        let host = self.settings.driver.host(&delivery.to);
        let mut changed = false;
        let mut said = Said::Nothing;
        match outcome {
            Outcome::Accepted { .. } => {
                changed = inner.works(now);
                said = Said::Works;
            }
            Outcome::Rejected { fault: Fault::Channel, .. } => changed = inner.fails(now, true),
            // The channel works: it answered about this address or these words.
            Outcome::Rejected { .. } => changed = inner.works(now),
            Outcome::Deferred { holds: Holds::Address, .. } => {}
            // Where each address has a host of its own, one bad host says nothing about the channel.
            Outcome::Deferred { holds: Holds::Host, after, throttled, .. } if host.is_some() => {
                said = match throttled {
                    true => Said::TooMany { began, after: *after },
                    false => Said::Fails(*after),
                }
            }
            Outcome::Deferred { after, throttled: true, .. } => {
                changed = inner.too_many(began, *after, now);
            }
            Outcome::Deferred { holds: Holds::Account, after: Some(after), .. } => {
                // The others find out by themselves whether it lasts longer than anybody waits for it.
                inner.limits.account_rests(now + (*after).min(LONG_HOLD));
                changed = inner.hold(*after, now);
            }
            Outcome::Deferred { holds: Holds::Channel, after: Some(after), .. } => changed = inner.hold(*after, now),
            Outcome::Deferred { after, .. } if host.is_some() => said = Said::Fails(*after),
            Outcome::Unknown { .. } if host.is_some() => said = Said::Fails(None),
            Outcome::Deferred { .. } | Outcome::Unknown { .. } => changed = inner.fails(now, false),
        }
        if let Some(host) = host {
            let freed = inner.hosts.ended(host, &said, now);
            inner.put_first(freed);
        }
        let state = inner.breaker.state(now);
        let until = inner.breaker.until();
        let lessons = inner.lesson_changed | inner.hosts.have_taught();
        drop(inner);
        let breaker = changed.then(|| BreakerRow {
            channel: self.settings.id,
            host: String::new(),
            state: if state == State::Closed { "closed" } else { "open" }.into(),
            since: clock.steady(),
            until: clock.steady().plus(until.unwrap_or_default().saturating_sub(now)),
        });
        Changes { breaker, lessons }
    }

    /// What an answer says of the channel beside others of its kind; nothing, where it is about one address or its host.
    fn says(&self, outcome: &Outcome) -> Option<Answer> {
        match outcome {
            Outcome::Accepted { .. } if self.settings.confirms => Some(Answer::Accepted),
            Outcome::Accepted { .. }
            | Outcome::Rejected { fault: Fault::Address | Fault::Message | Fault::Gone, .. } => Some(Answer::Done),
            Outcome::Deferred { holds: Holds::Address | Holds::Host, .. } => None,
            Outcome::Rejected { .. } | Outcome::Deferred { .. } | Outcome::Unknown { .. } => Some(Answer::Refused),
        }
    }
}

/// What follows for the channel. True: its breaker has changed.
impl Inner {
    fn works(&mut self, now: Instant) -> bool {
        let closed = self.breaker.succeeded();
        self.lesson_changed |= self.limits.learned.succeeded(now);
        if closed {
            self.slow = Some(SlowStart::new(now));
        } else if self.slow.as_mut().is_some_and(|slow| slow.succeeded(now)) {
            self.slow = None;
        }
        closed
    }

    fn fails(&mut self, now: Instant, certain: bool) -> bool {
        self.slow.iter_mut().for_each(|slow| slow.failed(now));
        self.breaker.failed(now, certain)
    }

    /// It asked for a rest. A long one is a breaker that is open: what waits takes another way meanwhile. True: it has changed.
    fn hold(&mut self, after: Duration, now: Instant) -> bool {
        let after = after.min(LONGEST_HOLD);
        self.slow.iter_mut().for_each(|slow| slow.failed(now));
        if after >= LONG_HOLD {
            return self.breaker.rests(now, after);
        }
        self.held_until = self.held_until.max(now + after);
        false
    }

    /// An attempt that began then was one too many. What had begun before the pace was lowered says nothing new.
    fn too_many(&mut self, began: Instant, after: Option<Duration>, now: Instant) -> bool {
        let news = self.limits.learned.throttled(began, now);
        self.lesson_changed |= news;
        match after {
            Some(after) => return self.hold(after, now),
            // It works no longer, however slowly it is tried: there is nothing to learn from that.
            None if news && self.fails(now, false) => {
                self.limits.learned = Learned::default();
                return true;
            }
            None => {}
        }
        false
    }
}
