//! `POST /v1/events`: native JSON, CloudEvents in structured, binary and batch mode, and alerts of CAP 1.2. 202 says that the event, its update
//! and every broadcast it calls for are on disk; 200 with `duplicate: true`, that they were before; a batch is answered with
//! 200 and one result an item, in order, each with the status that it would have had alone.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Body, query};
use super::gate::Door;
use super::problem::Problem;
use super::token::{Caller, Scope};
use crate::cap::{self, intake::Taken};
use crate::ingest::Ingested;
use crate::ingest::cloudevents::{Incoming, read_http};
use crate::ingest::event::Event;
use crate::pipeline;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The plan that a person chose, instead of those that match.
    plan: Option<String>,
}

pub async fn take(
    door: web::Data<Door>,
    caller: Caller,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let started = std::time::Instant::now();
    let Asked { plan } = query(&request)?;
    if let Some(name) = &plan {
        caller.needs(Scope::Broadcast)?;
        known_plan(&door, name)?;
    }
    let Ok(_room) = door.waiting.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("too many events wait for the store", 1));
    };
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if cap::is_alert(content_type)? {
        let answer = alert(&door, &body.0, &caller, plan.as_deref()).await?;
        metrics::histogram!("loudhailer_ingest_seconds").record(started.elapsed());
        return Ok(answer);
    }
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let answer = match read_http(content_type, headers, &body.0, &caller.principal())? {
        Incoming::One(event) => {
            let ingested = one(&door, event, plan.as_deref()).await?;
            HttpResponse::build(status(&ingested)).json(shown(&ingested))
        }
        Incoming::Batch(items) => {
            let mut results = Vec::with_capacity(items.len());
            for item in items {
                let result = match item {
                    Ok(event) => one(&door, event, plan.as_deref()).await,
                    Err(bad) => Err(bad.into()),
                };
                results.push(match result {
                    Ok(ingested) => {
                        let mut result = shown(&ingested);
                        result["status"] = json!(status(&ingested).as_u16());
                        result
                    }
                    Err(problem) => problem.document(),
                });
            }
            HttpResponse::Ok().json(json!({ "results": results }))
        }
    };
    metrics::histogram!("loudhailer_ingest_seconds").record(started.elapsed());
    Ok(answer)
}

async fn one(door: &Door, event: Event, plan: Option<&str>) -> Result<Ingested, Problem> {
    Ok(pipeline::ingest(&door.app, event, plan).await?)
}

/// An alert of CAP is an event of each incident that it is of: nearly always of one.
async fn alert(door: &Door, body: &[u8], caller: &Caller, plan: Option<&str>) -> Result<HttpResponse, Problem> {
    let alert = cap::read(body)?;
    let mut results = cap::intake::take(&door.app, &alert, &caller.principal(), plan).await?;
    let answer = |taken: &Taken| match taken {
        Taken::Ingested(ingested) => (status(ingested), shown(ingested)),
        Taken::Nothing { key, why } => (StatusCode::OK, json!({ "key": key, "nothing": why })),
    };
    if results.len() == 1
        && let Some(only) = results.pop()
    {
        let (status, shown) = answer(&only?);
        return Ok(HttpResponse::build(status).json(shown));
    }
    let results = results.into_iter().map(|result| match result {
        Ok(taken) => {
            let (status, mut shown) = answer(&taken);
            shown["status"] = json!(status.as_u16());
            shown
        }
        Err(error) => Problem::from(error).document(),
    });
    Ok(HttpResponse::Ok().json(json!({ "results": results.collect::<Vec<Value>>() })))
}

fn known_plan(door: &Door, name: &str) -> Result<(), Problem> {
    let plans = door.app.plans.load();
    if plans.all.iter().any(|plan| plan.name == name) {
        return Ok(());
    }
    let nearest = plans.all.iter().map(|plan| plan.name.as_str()).min_by_key(|known| strsim::levenshtein(known, name));
    let nearest = nearest.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
    Err(Problem::bad("plan", format!("there is no plan {name:?}{nearest}")))
}

fn status(ingested: &Ingested) -> StatusCode {
    if ingested.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED }
}

pub fn shown(ingested: &Ingested) -> Value {
    json!({
        "incident": ingested.incident, "key": ingested.key, "update": ingested.update,
        "broadcasts": ingested.broadcasts, "duplicate": ingested.duplicate, "late": ingested.late,
    })
}
