//! `/v1/incidents`: the list, newest first, and one incident with its timeline. An incident is named by its id or its key.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{Body, limit, query};
use super::gate::Door;
use super::problem::Problem;
use super::token::Caller;
use super::{broadcasts, events};
use crate::id::{IncidentId, UpdateId};
use crate::incident::Incident;
use crate::ingest::event::Proposal;
use crate::plan::Thread;
use crate::store::{BroadcastFilter, UpdateRow};
use crate::{pipeline, signal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    open: bool,
    after: Option<IncidentId>,
    limit: Option<usize>,
}

pub async fn list(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: Asked = query(&request)?;
    let limit = limit(asked.limit)?;
    let found = door.app.store.incidents(asked.after, asked.open, limit).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.id);
    let items: Vec<Value> = found.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": next })))
}

/// The incident of this id or key.
pub async fn named(door: &Door, name: &str) -> Result<(Incident, Vec<Thread>), Problem> {
    let missing = || Problem::not_found(format!("there is no incident {name:?}"));
    let store = &door.app.store;
    let id = match name.parse::<IncidentId>() {
        Ok(id) => id,
        Err(_) => store.incident_by_key(name).await?.ok_or_else(missing)?,
    };
    store.incident(id).await?.ok_or_else(missing)
}

/// What signals proposed is so: from here on it is an incident like others, and its plans tell whom they are for. The body may say
/// what else is known of it.
pub async fn confirm(
    door: web::Data<Door>,
    caller: Caller,
    name: web::Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    settle(&door, &caller, &name, Proposal::Confirm, &body).await
}

/// It is not so: the incident ends, and nobody ever hears of it.
pub async fn dismiss(
    door: web::Data<Door>,
    caller: Caller,
    name: web::Path<String>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    settle(&door, &caller, &name, Proposal::Dismiss, &body).await
}

async fn settle(
    door: &Door,
    caller: &Caller,
    name: &str,
    proposal: Proposal,
    body: &Body,
) -> Result<HttpResponse, Problem> {
    let says = match body.0.is_empty() {
        true => Map::new(),
        false => match body.json()? {
            Value::Object(says) => says,
            _ => return Err(Problem::bad("", "expected an object: what is known of the incident, or {}")),
        },
    };
    let (incident, _) = named(door, name).await?;
    let event = signal::settling(&incident, proposal, says, &caller.principal(), door.app.clock.calendar())?;
    let ingested = pipeline::ingest(&door.app, event, None).await?;
    Ok(HttpResponse::Ok().json(events::shown(&ingested)))
}

pub async fn one(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let store = &door.app.store;
    let (incident, threads) = named(&door, &name).await?;
    let id = incident.id;
    let updates = store.updates(id).await?;
    let broadcasts = store.broadcasts(BroadcastFilter { incident: Some(id), ..Default::default() }, 1000).await?;
    let mut document = shown(&incident);
    document["threads"] = threads
        .iter()
        .map(|thread| {
            json!({ "audience": thread.audience, "released": thread.released, "status": thread.status,
                "severity": thread.severity })
        })
        .collect();
    document["updates"] = updates
        .iter()
        .map(|row| {
            let mut update = update(id, row);
            let of = broadcasts.iter().rev().filter(|(broadcast, _)| broadcast.number == row.number);
            update["broadcasts"] = of.map(|(broadcast, counts)| broadcasts::shown(broadcast, counts)).collect();
            update
        })
        .collect();
    Ok(HttpResponse::Ok().json(document))
}

fn shown(incident: &Incident) -> Value {
    json!({
        "id": incident.id, "key": incident.key, "mode": incident.mode, "proposed": incident.state.proposed, "opened": incident.opened,
        "closed": incident.closed, "updates": incident.last_number, "facts": incident.state.facts(),
    })
}

fn update(incident: IncidentId, row: &UpdateRow) -> Value {
    json!({
        "id": UpdateId { incident, number: row.number }, "number": row.number, "source": row.source, "at": row.at,
        "taken": row.taken, "late": row.late, "occasion": row.occasion, "by": row.said_by,
        "corrects": row.corrects.map(|number| UpdateId { incident, number }), "facts": row.facts,
    })
}
