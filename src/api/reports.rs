//! `POST /v1/reports`: somebody sees that something does not work. Everyone may say so, within `signals.rate`, and is then one of
//! their network; with a token one speaks for its owner, or for whom that names. `/v1/signals`: what was said within the window.

use std::net::IpAddr;

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::body::{Body, limit, query};
use super::gate::Door;
use super::problem::Problem;
use super::token::Scope;
use crate::app::App;
use crate::clock::Time;
use crate::signal::{self, Heard};
use crate::store::Signal;

/// The longest name of an origin, in bytes.
const NAME: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    component: String,
    #[serde(default)]
    text: String,
    origin: Option<String>,
}

pub async fn take(door: web::Data<Door>, request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    let origin = match request.headers().contains_key(AUTHORIZATION) {
        true => {
            let caller = door.caller(&request).await?;
            caller.needs(Scope::Ingest)?;
            Some(caller.name)
        }
        false if door.app.config.signals.public => None,
        false => return Err(Problem::unauthorized("send a token as Authorization: Bearer …")),
    };
    let report = body.json()?;
    let report: Report = serde_json::from_value(report).map_err(|error| Problem::bad("", error.to_string()))?;
    let taken = match (origin, report.origin) {
        (None, Some(_)) => return Err(Problem::bad("/origin", "only who has a token speaks for somebody else")),
        (None, None) => public(&door, &request, &report.component, &report.text).await?,
        (Some(token), whom) => {
            if whom.as_ref().is_some_and(|whom| whom.is_empty() || whom.len() > NAME) {
                return Err(Problem::bad("/origin", format!("a name has 1 to {NAME} bytes")));
            }
            let origin = format!("token/{token}{}", whom.map(|whom| format!("/{whom}")).unwrap_or_default());
            let signal = signal::signal(&door.app, &report.component, origin, true, &report.text)?;
            told(&door, signal).await?
        }
    };
    Ok(HttpResponse::Accepted().json(json!({ "origins": taken.origins, "incident": taken.incident })))
}

/// The report of somebody who has no token: as one of their network.
pub async fn public(door: &Door, request: &HttpRequest, component: &str, text: &str) -> Result<Heard, Problem> {
    // What is wrong in it costs nothing, and what is right counts.
    let mut signal = signal::signal(&door.app, component, String::new(), false, text)?;
    signal.origin = origin(&door.app, door.may_report(request)?);
    told(door, signal).await
}

async fn told(door: &Door, signal: Signal) -> Result<Heard, Problem> {
    let Ok(_room) = door.waiting.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("too many events wait for the store", 1));
    };
    Ok(signal::take(&door.app, signal).await?)
}

/// Nobody's address is kept: a network has a name that only this installation can make.
fn origin(app: &App, network: IpAddr) -> String {
    let tag = ring::hmac::sign(&app.key, format!("report {network}").as_bytes());
    format!("public/{}", tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<usize>,
}

pub async fn list(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: Asked = query(&request)?;
    let window = door.app.config.signals.window.0;
    let since = Time(door.app.clock.calendar().0.saturating_sub(window.as_millis() as i64));
    let items = door.app.store.signals(since, limit(asked.limit)?).await?;
    Ok(HttpResponse::Ok().json(json!({ "items": items })))
}
