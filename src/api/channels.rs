//! `/v1/channels`: whether each works, what waits in it, how fast it may go; and its brake.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::body::Body;
use super::gate::Door;
use super::problem::Problem;
use crate::audience::route::ChannelId;
use crate::channel::registry::Channel;
use crate::clock::Time;
use crate::config::suggest;
use crate::dispatch::Resumed;
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
    answer(&door, *id, channel)
}

pub async fn pause(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (id, channel) = door.app.channel(&name).ok_or_else(|| missing(&door, &name))?;
    door.app.engine.pause_channel(*id).await?;
    answer(&door, *id, channel)
}

/// Somebody else has its credentials.
pub async fn compromised(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (id, channel) = door.app.channel(&name).ok_or_else(|| missing(&door, &name))?;
    door.app.engine.compromise_channel(*id, channel.digests(&door.app.key)).await?;
    answer(&door, *id, channel)
}

pub async fn resume(door: web::Data<Door>, name: web::Path<String>, body: Body) -> Result<HttpResponse, Problem> {
    let (id, channel) = door.app.channel(&name).ok_or_else(|| missing(&door, &name))?;
    let same = same_credentials(&body)?;
    match door.app.engine.resume_channel(*id, channel.digests(&door.app.key), same).await? {
        Some(Resumed::Refused { since, secrets }) => Err(Problem::conflict(refused(&name, since, &secrets))),
        _ => answer(&door, *id, channel),
    }
}

/// `{"same_credentials": true}`, `{}` or nothing.
fn same_credentials(body: &Body) -> Result<bool, Problem> {
    const KEY: &str = "same_credentials";
    if body.0.is_empty() {
        return Ok(false);
    }
    let wish = body.json()?;
    let Value::Object(wish) = &wish else { return Err(Problem::bad("", "the body is an object, or empty")) };
    if let Some(key) = wish.keys().find(|key| *key != KEY) {
        return Err(Problem::bad(format!("/{key}"), format!("unknown key {key:?}{}", suggest(key, [KEY].into_iter()))));
    }
    match wish.get(KEY) {
        None => Ok(false),
        Some(Value::Bool(same)) => Ok(*same),
        Some(_) => Err(Problem::bad(format!("/{KEY}"), "is true or false")),
    }
}

fn refused(name: &str, since: Time, secrets: &[String]) -> String {
    let why = match secrets {
        [] => "and its settings have no secret by which it could be seen that its credentials were changed".to_string(),
        secrets => format!(
            "and what somebody else has is still in its settings ({}); change it at the platform, put the new one into the \
             configuration and start the server with it",
            secrets.join(" ")
        ),
    };
    format!(
        "the channel {name} is compromised since {since}, {why}. If the credentials may stay as they are, say so: \
         --same-credentials, or {{\"same_credentials\": true}}"
    )
}

fn answer(door: &Door, id: ChannelId, channel: &Channel) -> Result<HttpResponse, Problem> {
    let lane = door.app.engine.lanes.get(&id).ok_or_else(|| missing(door, &channel.name))?;
    Ok(HttpResponse::Ok().json(shown(door, channel, lane, &door.app.engine.weights())))
}

fn missing(door: &Door, name: &str) -> Problem {
    let known: Vec<&str> = door.app.channels.iter().map(|(_, channel)| channel.name.as_str()).collect();
    Problem::not_found(format!("there is no channel {name:?} (known: {})", known.join(" ")))
}

/// `health`: `working`, `compromised` (somebody else has its credentials), `paused`, `down` (an open incident says so), `failing` (the breaker is open) or `recovering`.
pub fn health(lane: &Lane, now: crate::clock::Instant) -> &'static str {
    if lane.compromised().is_some() {
        return "compromised";
    }
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
        "compromised": lane.compromised().map(|compromised| {
            let others = door.app.channels.iter().map(|(_, other)| other).filter(|other| other.name != channel.name);
            let same: Vec<&str> =
                others.filter(|other| channel.shares_secrets_with(other)).map(|other| other.name.as_str()).collect();
            json!({ "since": compromised.since, "same_secrets": same })
        }),
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
