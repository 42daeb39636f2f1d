//! `/v1/channels`: whether each works, what waits in it, how fast it may go; and its brake.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::gate::Door;
use super::problem::Problem;
use crate::audience::route::ChannelId;
use crate::channel::registry::Channel;
use crate::dispatch::breaker::State;
use crate::dispatch::lane::Lane;
use crate::plan::Priority;

pub async fn list(door: web::Data<Door>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "items": all(&door) }))
}

pub fn all(door: &Door) -> Vec<Value> {
    let weights = door.app.engine.weights();
    let channels = door.app.channels.iter();
    channels.filter_map(|(id, channel)| Some(shown(door, channel, door.app.engine.lanes.get(id)?, &weights))).collect()
}

pub async fn one(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (id, channel) = door.app.channel(&name).ok_or_else(|| missing(&door, &name))?;
    let lane = door.app.engine.lanes.get(id).ok_or_else(|| missing(&door, &name))?;
    Ok(HttpResponse::Ok().json(shown(&door, channel, lane, &door.app.engine.weights())))
}

pub async fn pause(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    set(&door, &name, true).await
}

pub async fn resume(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    set(&door, &name, false).await
}

async fn set(door: &Door, name: &str, paused: bool) -> Result<HttpResponse, Problem> {
    let (id, channel) = door.app.channel(name).ok_or_else(|| missing(door, name))?;
    door.app.engine.pause_channel(*id, paused).await?;
    let lane = door.app.engine.lanes.get(id).ok_or_else(|| missing(door, name))?;
    Ok(HttpResponse::Ok().json(shown(door, channel, lane, &door.app.engine.weights())))
}

fn missing(door: &Door, name: &str) -> Problem {
    let known: Vec<&str> = door.app.channels.iter().map(|(_, channel)| channel.name.as_str()).collect();
    Problem::not_found(format!("there is no channel {name:?} (known: {})", known.join(" ")))
}

/// `health`: `working`, `paused`, `down` (an open incident says so), `failing` (the breaker is open) or `recovering`.
pub fn health(lane: &Lane, now: crate::clock::Instant) -> &'static str {
    match (lane.paused(), lane.down(), lane.breaker(now).0) {
        (true, ..) => "paused",
        (_, true, _) => "down",
        (_, _, State::Open) => "failing",
        (_, _, State::HalfOpen) => "recovering",
        (_, _, State::Closed) => "working",
    }
}

fn shown(door: &Door, channel: &Channel, lane: &Lane, weights: &BTreeMap<ChannelId, u32>) -> Value {
    let now = door.app.clock.monotonic();
    let (state, until) = lane.breaker(now);
    let steady = door.app.clock.steady();
    let lessons = lane.lessons(now);
    let queue: Map<String, Value> = lane
        .waiting()
        .iter()
        .enumerate()
        .map(|(rank, n)| (Priority::from_rank(rank as u8).word().to_string(), json!(n)))
        .collect();
    json!({
        "name": channel.name, "platform": channel.platform.name, "title": channel.platform.title, "kind": channel.kind,
        "address_kind": channel.address_kind, "format": channel.format, "weight": channel.weight,
        "effective_weight": weights.get(&lane.settings.id).map(|thousandths| f64::from(*thousandths) / 1000.0),
        "depends": channel.depends, "health": health(lane, now), "paused": lane.paused(),
        "breaker": {
            "state": match state { State::Closed => "closed", State::Open => "open", State::HalfOpen => "half_open" },
            "until": until.filter(|_| state == State::Open).map(|until| steady.plus(until.saturating_sub(now))),
        },
        "queue": queue, "on_wire": lane.on_wire(),
        "limits": {
            "rate": channel.rates.channel, "account_rate": channel.rates.account, "host_rate": channel.rates.host,
            "address_rate": channel.rates.address, "concurrency": channel.concurrency, "learned": lessons.learned,
            "learned_by_hosts": lessons.hosts, "slow_start": lessons.slow_start,
        },
    })
}
