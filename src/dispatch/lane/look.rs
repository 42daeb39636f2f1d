//! A look into the lane: the most urgent delivery that may go now, with its permit spent, or what to wait for. Nothing is awaited
//! meanwhile, so that whoever is chosen is still the most urgent.

use std::sync::atomic::Ordering;

use super::{Inner, Lane};
use crate::clock::Instant;
use crate::dispatch::account::Asking;
use crate::dispatch::breaker::State;
use crate::dispatch::hosts::Ready;
use crate::dispatch::live::Delivery;
use crate::dispatch::permit::{Refusal, Reservation};
use crate::dispatch::slow_start::Step;
use crate::dispatch::{Engine, lock};
use crate::fault::{self, Fault};
use crate::store::{BroadcastState, DeliveryState};

/// What a look into the lane found.
pub(super) enum Look {
    /// May go now; the permit is spent.
    Go(Box<Delivery>),
    /// Must not go: it becomes a row.
    Out(Box<Delivery>, Why),
    Until(Instant),
    Reserve(Reservation),
    Nothing,
}

/// Why a delivery leaves the lane unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Another node owns its recipient by now.
    Lost,
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
    /// The most urgent delivery that may go now. Nothing is awaited between the look and the permit. The planner hears of it where
    /// this leaves half of the lane free, which was not so before.
    pub(super) fn look(&self, engine: &Engine) -> Look {
        self.turns.begins();
        let mut inner = lock(&self.inner);
        inner.limits.looks();
        let before = inner.lengths();
        let look = self.look_into(&mut inner, engine);
        let freed = |(before, after)| !self.half_free(before) && self.half_free(after);
        if before.into_iter().zip(inner.lengths()).any(freed) {
            engine.plan.notify_one();
        }
        if inner.hosts.limits.want() {
            self.wanting.notify_one();
        }
        if matches!(look, Look::Until(_) | Look::Nothing) {
            inner.limits.found_nobody(self.settings.id);
        }
        self.turns.made(1);
        if let Look::Until(due) = look {
            self.turns.due(due);
        }
        look
    }

    fn look_into(&self, inner: &mut Inner, engine: &Engine) -> Look {
        let now = engine.clock.monotonic();
        let on_wire = self.on_wire.load(Ordering::Relaxed);
        let blocked = self.blocked_in(inner, now);
        let down = blocked.is_some() || self.down.load(Ordering::Acquire);
        if self.stale.swap(false, Ordering::AcqRel) {
            inner.let_go(engine);
        }
        if let Some((delivery, why)) = inner.leaving.pop_front() {
            return Look::Out(Box::new(delivery), why);
        }
        if !engine.leases.last(now) && !fault::on(Fault::LeaseNotAsked) {
            // It lasts again, or the shards are gone: both wake the lane.
            return Look::Nothing;
        }
        let trial = inner.breaker.state(now) == State::HalfOpen;
        let kept = if self.settings.concurrency > 1 { (self.settings.concurrency / 8).max(1) } else { 0 };
        if down {
            let freed = inner.hosts.free_all();
            inner.put_first(freed);
        } else if inner.hosts.next_due().is_some() {
            let freed = inner.hosts.let_go(now);
            inner.put_first(freed);
        }
        let step = inner.slow.as_ref().map_or(Step::Now, |slow| slow.next(on_wire, now));
        let held_until = match step {
            Step::At(due) => inner.held_until.max(due),
            _ => inner.held_until,
        };
        let full = (trial && on_wire > 0) || step == Step::AfterOneEnds;
        let mut until: Option<Instant> = None;
        for rank in 0..4usize {
            let rank = if fault::on(Fault::BulkFirst) { 3 - rank } else { rank };
            let free = self.settings.concurrency.saturating_sub(if rank == 0 || fault::on(Fault::NoSlotKept) {
                0
            } else {
                kept
            });
            let mut at = 0;
            while at < inner.queues[rank].len().min(LOOK) {
                let delivery = &inner.queues[rank][at];
                if let Some(why) = must_leave(engine, delivery, down) {
                    return out(inner, rank, at, why);
                }
                if on_wire >= free || full {
                    break; // a turn that ends an attempt looks again
                }
                if held_until > now {
                    until = Some(held_until);
                    break;
                }
                // Held until the attempt has begun: another lane may look at the same address.
                let mut addresses = lock(&engine.addresses);
                if addresses.taken(delivery, self.settings.id) && !fault::on(Fault::TwoTriesAtOneAddress) {
                    at += 1;
                    continue;
                }
                let host = self.settings.driver.host(&delivery.to);
                let ready = host.map_or(Ready::Yes, |host| inner.hosts.ready(host, now));
                let limited = match ready {
                    Ready::Yes => None,
                    Ready::Rests(rest) => return out(inner, rank, at, Why::Rests(rest)),
                    Ready::Busy => Some(None),
                    Ready::Limited(due) => Some(Some(due)),
                };
                if let Some(due) = limited {
                    let host = host.unwrap_or_default().to_string();
                    let Some(delivery) = inner.queues[rank].remove(at) else { continue };
                    match inner.hosts.wait(&host, rank, delivery, due, now) {
                        Ok(()) => continue,
                        Err((delivery, rest)) => return Look::Out(Box::new(delivery), Why::Rests(rest)),
                    }
                }
                let asking = Asking { lane: self.settings.id, rank, wake: &self.turn, to: &delivery.to };
                match inner.limits.spend(&asking, now, || engine.clock.steady()) {
                    Ok(()) => {
                        let Some(delivery) = inner.queues[rank].remove(at) else { continue };
                        addresses.begins(&delivery);
                        self.begin(engine, inner, &delivery, now);
                        return Look::Go(Box::new(delivery));
                    }
                    Err(Refusal::Address(rest)) => return out(inner, rank, at, Why::Rests(rest)),
                    Err(Refusal::Reserve(reservation)) => return Look::Reserve(reservation),
                    Err(Refusal::Until(due)) => {
                        if fault::on(Fault::ChoiceBeforePermit) {
                            inner.queues[rank].swap(0, at);
                            let chosen = inner.queues[rank].pop_front();
                            chosen.into_iter().for_each(|chosen| inner.queues[0].push_front(chosen));
                        }
                        return Look::Until(due);
                    }
                    // Whose turn it is wakes this lane.
                    Err(Refusal::Turn) => return inner.hosts.next_due().map_or(Look::Nothing, Look::Until),
                }
            }
        }
        until.into_iter().chain(inner.hosts.next_due()).min().map_or(Look::Nothing, Look::Until)
    }
}

impl Inner {
    /// Whoever waits for a permit stands before others, and what must leave would keep its place behind them.
    fn let_go(&mut self, engine: &Engine) {
        let freed = self.hosts.free_all();
        self.put_first(freed);
        for queue in &mut self.queues {
            if queue.iter().all(|delivery| over(engine, delivery).is_none()) {
                continue;
            }
            for delivery in std::mem::take(queue) {
                match over(engine, &delivery) {
                    Some(why) => self.leaving.push_back((delivery, why)),
                    None => queue.push_back(delivery),
                }
            }
        }
    }
}

fn out(inner: &mut Inner, rank: usize, at: usize, why: Why) -> Look {
    match inner.queues[rank].remove(at) {
        Some(delivery) => Look::Out(Box::new(delivery), why),
        None => Look::Nothing,
    }
}

/// Why nobody here will ever send it.
fn over(engine: &Engine, delivery: &Delivery) -> Option<Why> {
    if !engine.leases.ours(delivery.subscriber.shard(), delivery.epoch) {
        return Some(Why::Lost);
    }
    ended(delivery).map(Why::Ended)
}

/// What becomes of a delivery whose broadcast has ended.
fn ended(delivery: &Delivery) -> Option<DeliveryState> {
    match delivery.live.state() {
        BroadcastState::Running | BroadcastState::Paused | BroadcastState::Held => None,
        BroadcastState::Cancelled if fault::on(Fault::StopIgnored) => None,
        BroadcastState::Superseded if fault::on(Fault::SupersessionIgnored) => None,
        // After a crash nobody knows whether it had begun.
        state if delivery.recovered && state != BroadcastState::Done => Some(DeliveryState::Unknown),
        BroadcastState::Superseded => Some(DeliveryState::Superseded),
        BroadcastState::Expired => Some(DeliveryState::Expired),
        BroadcastState::Cancelled | BroadcastState::Done => Some(DeliveryState::Cancelled),
    }
}

/// The checks of every try: is its broadcast still to be sent, is the person as they were decided for, does the way work?
fn must_leave(engine: &Engine, delivery: &Delivery, down: bool) -> Option<Why> {
    if let Some(why) = over(engine, delivery) {
        return Some(why);
    }
    match delivery.live.state() {
        BroadcastState::Paused if fault::on(Fault::PauseIgnored) => {}
        BroadcastState::Paused | BroadcastState::Held => return Some(Why::Paused),
        _ => {}
    }
    let quiet = delivery.quiet_from.is_some_and(|from| engine.clock.calendar() >= from);
    let confirmed =
        delivery.confirmations.is_some_and(|known| lock(&delivery.live.confirmed).since(delivery.subscriber, known));
    let changed = lock(&engine.changed).since(delivery.subscriber, delivery.version, delivery.overflows);
    (down || quiet || confirmed || changed && !fault::on(Fault::ChangeIgnored)).then_some(Why::Afresh)
}
