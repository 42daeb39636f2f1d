//! The ticker acts when the calendar says so: releases what was held off, ends what is past its deadline, reminds, and notes
//! commitments that were not kept.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::plan;
use crate::store::{BroadcastState, Tick, Timer, TimerKind};

/// Timers are read so often at most …
const GATHER: Duration = Duration::from_millis(10);
/// … and at least, since the calendar may be set while this sleeps by a clock that is not.
const AT_LEAST: Duration = Duration::from_secs(60);

pub async fn run(engine: Arc<Engine>) {
    let mut shards = engine.leases.changes();
    loop {
        let woken = engine.tick.notified();
        engine.turns.ticker.begins();
        if !engine.leases.lead(engine.clock.monotonic()) {
            // Another node's ticker acts.
            tokio::select! {
                biased;
                () = engine.stop.cancelled() => return,
                _ = shards.changed() => continue,
            }
        }
        let next = match due(&engine).await {
            Ok(next) => {
                engine.turns.ticker.made(1);
                next
            }
            Err(error) => {
                tracing::error!(%error, "timers can't be read; trying again");
                Some(engine.clock.calendar().plus(Duration::from_secs(5)))
            }
        };
        let next = next.map(|next| engine.clock.monotonic() + next.since(engine.clock.calendar()).min(AT_LEAST));
        next.into_iter().for_each(|next| engine.turns.ticker.due(next));
        let sleep = async {
            match next {
                Some(next) => engine.clock.sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = engine.stop.cancelled() => return,
            // Many events a second wake it, and none of them sets a timer that is due in the same moment.
            () = woken => tokio::time::sleep(GATHER).await,
            () = sleep => {}
        }
    }
}

async fn due(engine: &Arc<Engine>) -> crate::store::Result<Option<Time>> {
    loop {
        let (timers, next) = engine.store.due_timers(engine.clock.calendar()).await?;
        if timers.is_empty() {
            return Ok(next);
        }
        for timer in timers {
            act(engine, &timer).await?;
            engine.store.end_timer(timer.kind, timer.subject, timer.due).await?;
        }
    }
}

async fn act(engine: &Arc<Engine>, timer: &Timer) -> crate::store::Result<()> {
    let now = engine.clock.calendar();
    match timer.kind {
        TimerKind::Release => engine.release(BroadcastId(timer.subject), "clock").await.map(drop)?,
        TimerKind::Deadline => {
            use BroadcastState::{Held, Paused, Running};
            engine
                .change_state(
                    BroadcastId(timer.subject),
                    vec![Held, Running, Paused],
                    BroadcastState::Expired,
                    "deadline",
                )
                .await?;
        }
        TimerKind::Reminder => remind(engine, BroadcastId(timer.subject), now).await?,
        TimerKind::Commitment => {
            let incident = IncidentId(timer.subject);
            tracing::warn!(%incident, due = %timer.due, "an update was promised by now, and none has come");
        }
    }
    Ok(())
}

/// Speaks again where a step wants to be heard at least so often, unless something newer was said.
async fn remind(engine: &Arc<Engine>, id: BroadcastId, now: Time) -> crate::store::Result<()> {
    let Some(last) = engine.store.broadcast(id).await? else { return Ok(()) };
    loop {
        let Some((incident, threads)) = engine.store.incident(last.incident).await? else { return Ok(()) };
        let thread = threads.into_iter().find(|thread| thread.audience == last.audience);
        let newer =
            thread.and_then(|thread| thread.released.first().copied()).is_some_and(|at| Some(at) != last.released);
        if newer || incident.closed.is_some() {
            return Ok(());
        }
        let draw = plan::remind(&last, &incident.state.facts(), now, &mut engine.chance());
        let tick = Tick { incident: incident.id, version: incident.version, draws: vec![draw] };
        if let Some(drawn) = engine.store.tick(tick, last.templates, now).await? {
            engine.take_drawn(drawn);
            return Ok(());
        }
        // The incident has changed meanwhile: decide again.
    }
}
