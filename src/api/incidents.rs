//! `/v1/incidents`: the list, newest first, and one incident with its timeline. An incident is named by its id or its key.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{limit, query};
use super::broadcasts;
use super::gate::Door;
use super::problem::Problem;
use crate::id::{IncidentId, UpdateId};
use crate::incident::Incident;
use crate::store::{BroadcastFilter, UpdateRow};

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

pub async fn one(door: web::Data<Door>, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::not_found(format!("there is no incident {:?}", name.as_str()));
    let store = &door.app.store;
    let id = match name.parse::<IncidentId>() {
        Ok(id) => id,
        Err(_) => store.incident_by_key(&name).await?.ok_or_else(missing)?,
    };
    let (incident, threads) = store.incident(id).await?.ok_or_else(missing)?;
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
        "id": incident.id, "key": incident.key, "mode": incident.mode, "opened": incident.opened,
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
