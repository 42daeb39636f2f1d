//! A lane's turns: room for the outcome, a look, and then the attempt, the row of what must leave, or the wait for what the look
//! named. A turn that is woken looks again; the last one ends with the engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::Lane;
use super::look::Look;
use crate::dispatch::breaker::State;
use crate::dispatch::live::Delivery;
use crate::dispatch::{Engine, recorder};

/// Turn after turn, until the engine stops.
pub async fn run(engine: Arc<Engine>, lane: Arc<Lane>) {
    loop {
        tokio::select! {
            biased;
            () = engine.stop.cancelled() => return,
            () = turn(&engine, &lane) => {}
        }
    }
}

/// What a slot that has come free may send at once. Where that is nothing, the lane's own turn finds out what to wait for.
pub fn next(engine: &Arc<Engine>, lane: &Arc<Lane>) -> Option<(Delivery, OwnedSemaphorePermit)> {
    while !engine.stop.is_cancelled()
        && let Ok(room) = engine.room.clone().try_acquire_owned()
    {
        let ways = engine.ways();
        match lane.look(engine) {
            Look::Go(delivery) => return Some((*delivery, room)),
            Look::Out(delivery, why) => recorder::leave(engine, lane, *delivery, why, ways),
            _ => break,
        }
    }
    lane.wake();
    None
}

async fn turn(engine: &Arc<Engine>, lane: &Arc<Lane>) {
    // No attempt begins without room for its outcome.
    let Ok(room) = engine.room.clone().acquire_owned().await else { return };
    let woken = lane.turn.notified();
    let now = engine.clock.monotonic();
    let ways = engine.ways();
    let look = lane.look(engine);
    if !matches!(look, Look::Until(_) | Look::Nothing) {
        lane.turns.called(); // there may be more
    }
    match look {
        Look::Go(delivery) => crate::pipeline::deliver(engine, lane, *delivery, room),
        Look::Out(delivery, why) => recorder::leave(engine, lane, *delivery, why, ways),
        Look::Until(due) => {
            drop(room);
            tokio::select! {
                biased;
                () = woken => {}
                () = engine.clock.sleep_until(due) => {}
            }
        }
        Look::Reserve(reservation) => {
            drop(room);
            match engine.reserve(&reservation).await {
                Ok(reserved) => lane.reserved(&reserved, engine.clock.monotonic()),
                Err(error) => {
                    tracing::error!(%error, channel = lane.settings.name, "a limit could not be reserved; the lane waits");
                    engine.clock.sleep(Duration::from_secs(1)).await;
                }
            }
        }
        Look::Nothing => {
            drop(room);
            // An open breaker lets a trial through later: then the planner decides what goes this way again.
            match lane.breaker(now) {
                (State::Open, Some(until)) => {
                    tokio::select! {
                        biased;
                        () = woken => {}
                        () = engine.clock.sleep_until(until) => {
                            engine.ways_changed();
                        }
                    }
                }
                _ => woken.await,
            }
        }
    }
}
