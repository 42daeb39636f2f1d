//! `/v1/sources`: where foreign webhooks come in, each in its vendor's own format.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::body::Body;
use super::gate::Door;
use super::problem::Problem;
use super::token::{Caller, Scope};
use crate::ingest::source::Source;
use crate::ingest::source::example::lower;
use crate::ingest::source::intake::Taken;
use crate::ingest::source::sns::Refused;

/// A document, proved by the vendor's signature where it signs, else by a token of ours. Everything that it says is on disk when
/// this answers.
pub async fn take(
    door: web::Data<Door>,
    name: web::Path<String>,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    // Nobody has proved anything yet: which there are is not for everyone.
    let source = door.app.sources.get(&name).ok_or_else(|| Problem::not_found("there is no source of this name"))?;
    let Ok(_room) = door.waiting.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("too many events wait for the store", 1));
    };
    let document =
        || serde_json::from_slice(&body.0).map_err(|error| Problem::bad("", format!("the body is no JSON: {error}")));
    if !source.topics.is_empty() {
        match door.app.sources.amazon.takes(&document()?, &source.topics).await {
            Ok(false) => {}
            Ok(true) => return Ok(HttpResponse::Ok().json(json!({ "results": [] }))),
            Err(Refused::Forged(why)) => return Err(Problem::forbidden(why)),
            Err(Refused::Away(why)) => return Err(Problem::unavailable(why, 5)),
        }
    }
    match source.is_signed() {
        true if !source.topics.is_empty() || source.proves(&hyper_headers(&request), &body.0) => {}
        true => return Err(Problem::forbidden("the signature is not that of this document with the source's secret")),
        false => door.caller(&request).await?.needs(Scope::Ingest)?,
    }
    let counted = |what: &'static str| {
        metrics::counter!("loudhailer_source_events_total", "source" => source.name.clone(), "what" => what)
            .increment(1);
    };
    if door.app.sources.is_muted(&source.name) {
        counted("muted");
        return Ok(HttpResponse::Ok().json(json!({ "muted": true, "results": [] })));
    }
    let mut results = Vec::new();
    let mut refused = None;
    for said in source.read(&document()?, &headers(&request))? {
        let taken = match source.take(&door.app, said).await {
            Ok(taken) => taken,
            // What comes after it in the document is taken all the same.
            Err(error) => {
                refused = refused.or(Some(error));
                continue;
            }
        };
        results.push(match taken {
            Taken::Ingested(ingested) => {
                counted(if ingested.duplicate { "repeated" } else { "taken" });
                super::events::shown(&ingested)
            }
            Taken::Repeated(key) => {
                counted("repeated");
                json!({ "key": key, "duplicate": true })
            }
            Taken::OpensNothing(key) => {
                counted("nothing");
                json!({ "key": key, "nothing": "no incident of this key is known, and this opens none" })
            }
        });
    }
    if let Some(error) = refused {
        return Err(error.into());
    }
    let new = results.iter().any(|result| result["duplicate"] == json!(false));
    let mut answer = if new { HttpResponse::Accepted() } else { HttpResponse::Ok() };
    Ok(answer.json(json!({ "results": results })))
}

pub async fn list(door: web::Data<Door>) -> HttpResponse {
    let items: Vec<Value> = door.app.sources.iter().map(|source| shown(&door, source)).collect();
    HttpResponse::Ok().json(json!({ "items": items }))
}

pub async fn mute(door: web::Data<Door>, _: Caller, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    set(&door, &name, true).await
}

pub async fn unmute(door: web::Data<Door>, _: Caller, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    set(&door, &name, false).await
}

async fn set(door: &Door, name: &str, muted: bool) -> Result<HttpResponse, Problem> {
    let source = find(door, name)?;
    door.app.mute_source(&source.name, muted).await?;
    Ok(HttpResponse::Ok().json(shown(door, source)))
}

fn shown(door: &Door, source: &Source) -> Value {
    json!({
        "name": source.name, "format": source.format.name, "title": source.format.title, "signed": source.is_signed(),
        "muted": door.app.sources.is_muted(&source.name),
        "url": format!("{}/v1/sources/{}", door.app.config.public_url(), source.name),
    })
}

fn find<'a>(door: &'a Door, name: &str) -> Result<&'a Source, Problem> {
    door.app.sources.get(name).ok_or_else(|| {
        let known: Vec<&str> = door.app.sources.iter().map(|source| source.name.as_str()).collect();
        Problem::not_found(format!("there is no source {name:?} (known: {})", known.join(" ")))
    })
}

fn headers(request: &HttpRequest) -> BTreeMap<String, String> {
    lower(request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))))
}

/// The server's headers are of another version of the same library.
fn hyper_headers(request: &HttpRequest) -> hyper::HeaderMap {
    let pairs = request.headers().iter().filter_map(|(name, value)| {
        let name = hyper::header::HeaderName::try_from(name.as_str()).ok()?;
        Some((name, hyper::header::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    pairs.collect()
}
