//! The planner: the most urgent work first, one unit at a time. Open rows that are due are decided afresh; pages of running
//! broadcasts are decided into manifests, as far as some lane they can use has room.

use std::sync::Arc;
use std::time::Duration;

use super::again::rows;
use super::follow::Wish;
use super::lane::Lane;
use super::live::Live;
use super::page::page;
use super::{Attempting, Engine, adopt, confirm, lock};
use crate::audience::route::ChannelId;
use crate::clock::{Instant, Time};
use crate::id::BroadcastId;
use crate::plan::Priority;
use crate::store::{Broadcast, BroadcastState, CONFIRMS, StoreError, UNDECIDED};

pub async fn run(engine: Arc<Engine>) {
    let mut shards = engine.leases.changes();
    loop {
        let woken = engine.plan.notified();
        tokio::pin!(woken);
        let next = tokio::select! {
            biased;
            () = engine.stop.cancelled() => return,
            next = next(&engine) => next,
        };
        if next.is_ok() {
            engine.turns.planner.made(1);
        }
        match next {
            Ok(Next::More) => tokio::task::yield_now().await,
            Ok(Next::Wait(due)) => {
                let sleep = async {
                    match due {
                        Some(due) => engine.clock.sleep(due.since(engine.clock.steady())).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = engine.stop.cancelled() => return,
                    () = woken => {}
                    // A lease that lasts again lets lanes go on.
                    _ = shards.changed() => engine.lanes.values().for_each(|lane| lane.wake()),
                    () = sleep => {}
                }
            }
            Err(error) => {
                match error {
                    StoreError::Fenced => tracing::debug!("a shard has another owner by now"),
                    error => tracing::error!(%error, "planning failed; trying again"),
                }
                adopt::read_anew(&engine).await;
                tokio::select! {
                    biased;
                    () = engine.stop.cancelled() => return,
                    () = engine.clock.sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    }
}

enum Next {
    More,
    /// Nothing to do before that time, or before somebody wakes the planner.
    Wait(Option<Time>),
}

/// What is new here first, then one unit of work.
async fn next(engine: &Arc<Engine>) -> crate::store::Result<Next> {
    adopt::run(engine).await?;
    unit(engine).await
}

/// One unit of the most urgent work.
async fn unit(engine: &Arc<Engine>) -> crate::store::Result<Next> {
    engine.wake_waiting().await?;
    let mut next_due: Option<Time> = None;
    for priority in Priority::ALL.iter().rev().copied() {
        let now = engine.clock.steady();
        for (lane, due) in lanes_with_rows(engine, priority) {
            if due <= now {
                if engine.lanes.get(&lane).is_some_and(|lane| !lane.roomy(priority)) {
                    continue; // it wakes the planner when it has room
                }
                let found = match lane {
                    CONFIRMS => confirm::lapse(engine, priority, now).await?,
                    lane => rows(engine, lane, priority, now).await?,
                };
                if found {
                    return Ok(Next::More);
                }
            }
            // Whoever looked and found none may have seen when the next is due.
            if let Some(due) = lock(&engine.hints).get(&(priority, lane)).filter(|due| **due > now) {
                next_due = Some(next_due.map_or(*due, |next| next.min(*due)));
            }
        }
        match next_broadcast(engine, priority) {
            Paging::Now(live) => {
                page(engine, &live, live.next_shards(engine.own())).await?;
                return Ok(Next::More);
            }
            Paging::Later(due) => {
                let due = now.plus(due.saturating_sub(engine.clock.monotonic()));
                next_due = Some(next_due.map_or(due, |next| next.min(due)));
            }
            Paging::None => {}
        }
    }
    Ok(Next::Wait(next_due))
}

fn lanes_with_rows(engine: &Engine, priority: Priority) -> Vec<(ChannelId, Time)> {
    let hints = lock(&engine.hints);
    let of = hints.range((priority, UNDECIDED)..=(priority, ChannelId(u16::MAX)));
    of.map(|((_, lane), due)| (*lane, *due)).collect()
}

/// There is a unit of work that could be done now.
pub(super) fn waited_for(engine: &Engine) -> bool {
    let now = engine.clock.steady();
    let roomy = |lane: &ChannelId, priority| engine.lanes.get(lane).is_none_or(|lane| lane.roomy(priority));
    Priority::ALL.iter().any(|priority| {
        lanes_with_rows(engine, *priority).iter().any(|(lane, due)| *due <= now && roomy(lane, *priority))
            || matches!(next_broadcast(engine, *priority), Paging::Now(_))
    })
}

enum Paging {
    Now(Arc<Live>),
    /// Only parked rows would come of it: not before that time.
    Later(Instant),
    None,
}

/// The oldest running broadcast of this priority with a page left and a lane with room.
fn next_broadcast(engine: &Engine, priority: Priority) -> Paging {
    let (now, own) = (engine.clock.monotonic(), engine.own());
    let running = |live: &&Arc<Live>| {
        live.broadcast.priority == priority
            && live.state() == BroadcastState::Running
            && !live.paged(own)
            && !asks_about_attempts(engine, live)
    };
    let mut later: Option<Instant> = None;
    for live in lock(&engine.live).values().filter(running) {
        let roomy = lanes_of(engine, live).filter(|lane| lane.roomy(priority)).map(|lane| lane.settings.id).collect();
        match lock(&live.feeds).page_due(&roomy, now) {
            Some(due) if due <= now => return Paging::Now(live.clone()),
            Some(due) => later = Some(later.map_or(due, |later| later.min(due))),
            None => {}
        }
    }
    later.map_or(Paging::None, Paging::Later)
}

/// Whom an earlier broadcast told, and what its messages are known by, is known once its last attempts are recorded.
fn asks_about_attempts(engine: &Engine, live: &Live) -> bool {
    let Broadcast { id, incident, audience, selection, .. } = &live.broadcast;
    let named = selection.told_by.iter().chain(&selection.untold_by);
    let wish = Wish::of(&live.broadcast);
    let follows = lanes_of(engine, live).any(|lane| wish.may(lane.settings.driver.follows()));
    let asks = |earlier: &BroadcastId, attempting: &Attempting| {
        named.clone().any(|named| *named == earlier.0)
            || (selection.only_if_told || follows)
                && (&attempting.incident, &attempting.audience) == (incident, audience)
                && earlier < id
    };
    lock(&engine.attempting).iter().any(|(earlier, attempting)| asks(earlier, attempting))
}

fn lanes_of<'a>(engine: &'a Engine, live: &'a Live) -> impl Iterator<Item = &'a Arc<Lane>> {
    let names = || live.broadcast.step.routes.iter().flat_map(|route| &route.0);
    let used: Vec<&Arc<Lane>> = engine
        .lanes
        .values()
        .filter(move |lane| names().any(|name| *name == lane.settings.kind || *name == lane.settings.name))
        .collect();
    // Without any lane of its routes everyone is unreachable: any lane will do to say so.
    if used.is_empty() { engine.lanes.values().collect::<Vec<_>>().into_iter() } else { used.into_iter() }
}
