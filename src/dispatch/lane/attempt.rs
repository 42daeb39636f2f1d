//! An attempt in the lane, from its begin to its end: it holds a slot and its host meanwhile, and its answer tells the
//! breaker, the host and the lane whether they rest.

use std::sync::atomic::Ordering;

use super::{Inner, Lane};
use crate::channel::{Fault, Holds, Outcome};
use crate::clock::Clock;
use crate::dispatch::breaker::State;
use crate::dispatch::hosts::Said;
use crate::dispatch::live::Delivery;
use crate::dispatch::lock;
use crate::store::BreakerRow;

impl Lane {
    pub(super) fn begin(&self, inner: &mut Inner, delivery: &Delivery) {
        self.on_wire.fetch_add(1, Ordering::Relaxed);
        if let Some(host) = self.settings.driver.host(&delivery.to) {
            inner.hosts.begins(host);
        }
    }

    /// An attempt has ended: its slot is free, and breaker and rests follow from the answer. Answers the change of the
    /// channel's breaker that is to be kept. Whoever calls this looks for the next, or wakes the lane.
    pub fn ended(&self, delivery: &Delivery, outcome: &Outcome, clock: &Clock) -> Option<BreakerRow> {
        let now = clock.monotonic();
        let mut inner = lock(&self.inner);
        self.on_wire.fetch_sub(1, Ordering::Relaxed);
        let host = self.settings.driver.host(&delivery.to);
        let mut changed = false;
        let mut said = Said::Nothing;
        match outcome {
            Outcome::Accepted { .. } => {
                changed = inner.breaker.succeeded();
                said = Said::Works;
            }
            Outcome::Rejected { fault: Fault::Channel, .. } => changed = inner.breaker.failed(now, true),
            // The channel works: it answered about this address or these words.
            Outcome::Rejected { .. } => changed = inner.breaker.succeeded(),
            Outcome::Deferred { holds: Holds::Channel | Holds::Account, after: Some(after), .. } => {
                inner.held_until = inner.held_until.max(now + *after);
            }
            Outcome::Deferred { holds: Holds::Address, .. } => {}
            // Where each address has a host of its own, one bad host says nothing about the channel.
            Outcome::Deferred { after, .. } if host.is_some() => said = Said::Fails(*after),
            Outcome::Unknown { .. } if host.is_some() => said = Said::Fails(None),
            Outcome::Deferred { .. } | Outcome::Unknown { .. } => changed = inner.breaker.failed(now, false),
        }
        if let Some(host) = host {
            let freed = inner.hosts.ended(host, &said, now);
            inner.put_first(freed);
        }
        let state = inner.breaker.state(now);
        let until = inner.breaker.until();
        drop(inner);
        changed.then(|| BreakerRow {
            channel: self.settings.id,
            host: String::new(),
            state: if state == State::Closed { "closed" } else { "open" }.into(),
            since: clock.steady(),
            until: clock.steady().plus(until.unwrap_or_default().saturating_sub(now)),
        })
    }
}
