//! `/report`: everyone may say that something does not work, without signing in and without a script. It is a signal, no more: what
//! is said here is shown to nobody but the operator.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{self, Refused};
use super::sign::ours;
use super::words::text;
use crate::api::gate::Door;
use crate::api::{Problem, reports};
use crate::signal::LONGEST;

#[derive(Deserialize)]
pub struct Filled {
    #[serde(default)]
    component: String,
    #[serde(default)]
    text: String,
    /// No person sees this field; what fills in everything does.
    #[serde(default)]
    website: String,
}

pub async fn form(door: web::Data<Door>) -> Result<HttpResponse, Refused> {
    open(&door)?;
    Ok(shown(&door, StatusCode::OK, json!({})))
}

pub async fn send(
    door: web::Data<Door>,
    request: HttpRequest,
    filled: web::Form<Filled>,
) -> Result<HttpResponse, Refused> {
    open(&door)?;
    ours(&request).map_err(refused)?;
    let Filled { component, text, website } = filled.into_inner();
    if website.is_empty()
        && let Err(problem) = reports::public(&door, &request, &component, &text).await
    {
        let again = json!({ "why": why(&problem), "text": text, "component": component });
        return Ok(shown(&door, problem.kind.status, again));
    }
    Ok(shown(&door, StatusCode::OK, json!({ "thanks": true })))
}

fn why(problem: &Problem) -> String {
    match (problem.kind.status, problem.pointer.as_deref()) {
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            "We have heard of this several times from where you are. Thank you: it counts.".into()
        }
        (_, Some("/component")) => "Please say what does not work.".into(),
        (_, Some("/text")) => format!("Please write at most {LONGEST} characters."),
        _ => "This could not be taken just now. Please try again in a moment.".into(),
    }
}

/// There is something to report about, and the operator wants to hear of it.
fn open(door: &Door) -> Result<(), Refused> {
    match door.app.config.signals.public && !door.app.config.components.is_empty() {
        true => Ok(()),
        false => Err(refused(Problem::not_found("There is nothing here."))),
    }
}

fn refused(problem: Problem) -> Refused {
    Refused::at("/report", problem)
}

fn shown(door: &Door, status: StatusCode, mut data: Value) -> HttpResponse {
    let config = &door.app.config;
    let chosen = data["component"].as_str().unwrap_or_default().to_string();
    let components = config.components.iter();
    data["components"] = components
        .map(|(id, known)| json!({ "id": id, "title": text(&known.title, &config.sender.locale), "chosen": *id == chosen }))
        .collect();
    data["sender"] = json!(config.sender.name);
    data["public"] = json!(true);
    data["longest"] = json!(LONGEST);
    page::answer(status, "report", data)
}
