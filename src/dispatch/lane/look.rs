//! A look into the lane: the most urgent delivery that may go now, with its permit spent, or what to wait for. Nothing is awaited
//! meanwhile, so that whoever is chosen is still the most urgent.

use std::sync::atomic::Ordering;

use super::{Inner, Lane};
use crate::clock::Instant;
use crate::dispatch::breaker::State;
use crate::dispatch::hosts::Ready;
use crate::dispatch::live::Delivery;
use crate::dispatch::permit::Refusal;
use crate::dispatch::{Engine, lock};
use crate::store::{BroadcastState, DeliveryState};

/// What a look into the lane found.
pub(super) enum Look {
    /// May go now; the permit is spent.
    Go(Box<Delivery>),
    /// Must not go: it becomes a row.
    Out(Box<Delivery>, Why),
    Until(Instant),
    Reserve {
        name: String,
        bucket: i64,
        count: i64,
    },
    Nothing,
}

/// Why a delivery leaves the lane unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its broadcast ended so.
    Ended(DeliveryState),
    /// Its broadcast is paused: it waits for the resumption.
    Paused,
    /// Who or which way is to be decided afresh.
    Afresh,
    /// Its host or address rests until then.
    Rests(Instant),
}

/// How far into a queue to look past deliveries whose address has an attempt on the wire.
const LOOK: usize = 64;

impl Lane {
    /// The most urgent delivery that may go now. Nothing is awaited between the look and the permit.
    pub(super) fn look(&self, engine: &Engine) -> Look {
        let now = engine.clock.monotonic();
        let mut inner = lock(&self.inner);
        let on_wire = self.on_wire.load(Ordering::Relaxed);
        let blocked = self.blocked_in(&inner, now);
        let down = blocked.is_some() || self.down.load(Ordering::Acquire);
        let trial = inner.breaker.state(now) == State::HalfOpen;
        let kept = if self.settings.concurrency > 1 { (self.settings.concurrency / 8).max(1) } else { 0 };
        let mut until: Option<Instant> = None;
        if down {
            let freed = inner.hosts.free_all();
            inner.put_first(freed);
        }
        for rank in 0..4usize {
            let free = self.settings.concurrency.saturating_sub(if rank == 0 { 0 } else { kept });
            let mut at = 0;
            while at < inner.queues[rank].len().min(LOOK) {
                let delivery = &inner.queues[rank][at];
                if let Some(why) = must_leave(engine, delivery, down) {
                    return out(&mut inner, rank, at, why);
                }
                if on_wire >= free || (trial && on_wire > 0) {
                    break; // a turn that ends an attempt looks again
                }
                if inner.held_until > now {
                    until = Some(until.map_or(inner.held_until, |u| u.min(inner.held_until)));
                    break;
                }
                // Held until the attempt has begun: another lane may look at the same address.
                let mut addresses = lock(&engine.addresses);
                if addresses.taken(delivery, self.settings.id) {
                    at += 1;
                    continue;
                }
                let host = self.settings.driver.host(&delivery.to);
                let most = self.settings.host_concurrency.unwrap_or(usize::MAX);
                match host.map_or(Ready::Yes, |host| inner.hosts.ready(host, most, now)) {
                    Ready::Yes => {}
                    Ready::Rests(rest) => return out(&mut inner, rank, at, Why::Rests(rest)),
                    Ready::Busy => {
                        let host = host.unwrap_or_default().to_string();
                        let Some(delivery) = inner.queues[rank].remove(at) else { continue };
                        match inner.hosts.wait(&host, rank, delivery, now) {
                            Ok(()) => continue,
                            Err((delivery, rest)) => return Look::Out(Box::new(delivery), Why::Rests(rest)),
                        }
                    }
                }
                match inner.permits.spend(engine.clock.steady()) {
                    Ok(()) => {
                        let Some(delivery) = inner.queues[rank].remove(at) else { continue };
                        addresses.begins(&delivery);
                        self.begin(&mut inner, &delivery);
                        return Look::Go(Box::new(delivery));
                    }
                    Err(Refusal::Until(due)) => return Look::Until(due),
                    Err(Refusal::Reserve { name, bucket, count }) => return Look::Reserve { name, bucket, count },
                }
            }
        }
        until.map_or(Look::Nothing, Look::Until)
    }
}

fn out(inner: &mut Inner, rank: usize, at: usize, why: Why) -> Look {
    match inner.queues[rank].remove(at) {
        Some(delivery) => Look::Out(Box::new(delivery), why),
        None => Look::Nothing,
    }
}

/// The checks of every try: is its broadcast still to be sent, is the person as they were decided for, does the way work?
fn must_leave(engine: &Engine, delivery: &Delivery, down: bool) -> Option<Why> {
    match delivery.live.state() {
        BroadcastState::Running => {}
        BroadcastState::Paused | BroadcastState::Held => return Some(Why::Paused),
        // After a crash nobody knows whether it had begun.
        state if delivery.recovered && state != BroadcastState::Done => {
            return Some(Why::Ended(DeliveryState::Unknown));
        }
        BroadcastState::Superseded => return Some(Why::Ended(DeliveryState::Superseded)),
        BroadcastState::Expired => return Some(Why::Ended(DeliveryState::Expired)),
        BroadcastState::Cancelled | BroadcastState::Done => return Some(Why::Ended(DeliveryState::Cancelled)),
    }
    let changed = lock(&engine.changed).since(delivery.subscriber, delivery.version, delivery.overflows);
    (down || changed).then_some(Why::Afresh)
}
