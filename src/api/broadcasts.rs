//! `/v1/broadcasts`: who was told how far, and the hand on the brake. `:stop`, `:pause` and a suppression are answered when no
//! attempt begins any more that they forbid.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{limit, query};
use super::gate::Door;
use super::problem::Problem;
use super::token::Caller;
use crate::id::{BroadcastId, IncidentId, UpdateId};
use crate::plan::Held;
use crate::store::{Broadcast, BroadcastFilter, BroadcastState, Counts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    incident: Option<IncidentId>,
    state: Option<BroadcastState>,
    after: Option<BroadcastId>,
    limit: Option<usize>,
}

pub async fn list(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: Asked = query(&request)?;
    let limit = limit(asked.limit)?;
    let filter = BroadcastFilter { incident: asked.incident, state: asked.state, before: asked.after };
    let found = door.app.store.broadcasts(filter, limit).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|(last, _)| last.id);
    let items: Vec<Value> = found.iter().map(|(broadcast, counts)| shown(broadcast, counts)).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": next })))
}

pub async fn one(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let broadcast = find(&door, &id).await?;
    Ok(HttpResponse::Ok().json(whole(&door, &broadcast).await?))
}

/// With everyone counted who is in the audience, and how fast it goes.
pub async fn whole(door: &Door, broadcast: &Broadcast) -> Result<Value, Problem> {
    let (counts, unread) = door.app.store.counts(broadcast).await?;
    let mut document = shown(broadcast, &with_unread(counts, unread, broadcast.state));
    document["counts"]["unread"] = json!(if broadcast.state.live() { unread } else { 0 });
    if let Some(live) = door.app.engine.live(broadcast.id) {
        let open = counts.open() + unread;
        let rate = live.rate(door.app.clock.monotonic());
        document["rate"] = json!((rate * 10.0).round() / 10.0);
        let left = (rate > 0.0 && open > 0).then(|| Duration::from_secs_f64((open as f64 / rate).min(1e9)));
        document["seconds_left"] = json!(left.map(|left| left.as_secs()));
    }
    Ok(document)
}

/// Whom no page had read when the broadcast ended has come to the same end.
fn with_unread(mut counts: Counts, unread: i64, state: BroadcastState) -> Counts {
    match state {
        BroadcastState::Cancelled => counts.cancelled += unread,
        BroadcastState::Superseded => counts.superseded += unread,
        BroadcastState::Expired => counts.expired += unread,
        _ => return counts,
    }
    counts.selected += unread;
    counts
}

/// Recipients by how they ended; `open` are those still to be told. What is open when a broadcast ends ends as it does.
pub fn shown(broadcast: &Broadcast, counts: &Counts) -> Value {
    let counts = counts.in_broadcast(broadcast.state);
    let mut told = json!(counts);
    told["open"] = json!(counts.open());
    let held_until = match broadcast.held {
        Held::Until(due) if broadcast.state == BroadcastState::Held => Some(due),
        _ => None,
    };
    let waits_for = match (broadcast.state, broadcast.held) {
        (BroadcastState::Held, Held::Approval) => Some("approval"),
        (BroadcastState::Held, Held::Until(_)) => Some("time"),
        _ => None,
    };
    json!({
        "id": broadcast.id, "incident": broadcast.incident, "incident_key": broadcast.incident_key,
        "update": UpdateId { incident: broadcast.incident, number: broadcast.number }, "audience": broadcast.audience,
        "plan": broadcast.plan, "step": broadcast.step.name, "routes": broadcast.step.routes,
        "purpose": broadcast.purpose, "occasion": broadcast.occasion, "priority": broadcast.priority,
        "mode": broadcast.selection.mode, "state": broadcast.state, "waits_for": waits_for, "held_until": held_until,
        "created": broadcast.created, "released": broadcast.released, "ended": broadcast.ended,
        "deadline": broadcast.deadline, "check_code": broadcast.code, "counts": told,
    })
}

pub async fn find(door: &Door, text: &str) -> Result<Broadcast, Problem> {
    let missing = || Problem::not_found(format!("there is no broadcast {text:?}"));
    let id: BroadcastId = text.parse().map_err(|_| missing())?;
    door.app.store.broadcast(id).await?.ok_or_else(missing)
}

pub async fn stop(door: web::Data<Door>, caller: Caller, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    use BroadcastState::{Cancelled, Held, Paused, Running};
    change(&door, &caller, &id, vec![Held, Running, Paused], Cancelled).await
}

pub async fn pause(door: web::Data<Door>, caller: Caller, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    change(&door, &caller, &id, vec![BroadcastState::Running], BroadcastState::Paused).await
}

pub async fn resume(door: web::Data<Door>, caller: Caller, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    change(&door, &caller, &id, vec![BroadcastState::Paused], BroadcastState::Running).await
}

/// The same again is no error: who repeats a stop wants it stopped.
async fn change(
    door: &Door,
    caller: &Caller,
    id: &str,
    from: Vec<BroadcastState>,
    to: BroadcastState,
) -> Result<HttpResponse, Problem> {
    let broadcast = find(door, id).await?;
    let changed = door.app.engine.change_state(broadcast.id, from, to, &caller.name).await?;
    let broadcast = find(door, id).await?;
    if !changed && broadcast.state != to {
        return Err(Problem::conflict(format!("{} is {}", broadcast.id, broadcast.state)));
    }
    Ok(HttpResponse::Ok().json(whole(door, &broadcast).await?))
}

pub async fn release(door: web::Data<Door>, caller: Caller, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let broadcast = find(&door, &id).await?;
    let app = &door.app;
    if !app.engine.release(broadcast.id, &caller.name).await? && broadcast.released.is_none() {
        return Err(Problem::conflict(format!("{} is {} and was never released", broadcast.id, broadcast.state)));
    }
    app.engine.notice(&[broadcast.id]).await?;
    let broadcast = find(&door, &id).await?;
    Ok(HttpResponse::Ok().json(whole(&door, &broadcast).await?))
}

/// Everything that is held, running or paused ends. What can't be stopped now is named, so that nobody thinks it was.
pub async fn stop_all(door: web::Data<Door>, caller: Caller) -> Result<HttpResponse, Problem> {
    use BroadcastState::{Cancelled, Held, Paused, Running};
    let (mut stopped, mut failed) = (Vec::new(), Vec::new());
    for broadcast in door.app.store.live().await? {
        let from = vec![Held, Running, Paused];
        match door.app.engine.change_state(broadcast.id, from, Cancelled, &caller.name).await {
            Ok(true) => stopped.push(broadcast.id),
            Ok(false) => {} // ended meanwhile by itself
            Err(error) => {
                tracing::error!(%error, broadcast = %broadcast.id, "a broadcast could not be stopped");
                failed.push(broadcast.id);
            }
        }
    }
    match failed.is_empty() {
        true => Ok(HttpResponse::Ok().json(json!({ "stopped": stopped }))),
        false => {
            let names: Vec<String> = failed.iter().map(ToString::to_string).collect();
            Err(Problem::unavailable(&format!("not stopped: {}", names.join(" ")), 1))
        }
    }
}
