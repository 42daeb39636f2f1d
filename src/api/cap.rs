//! `/v1/incidents/{id}/cap`: what everyone was told of an incident, as an alert of CAP 1.2; the latest, or that of one update. Also of
//! an exercise, which the feed never shows.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::body::query;
use super::gate::Door;
use super::incidents::named;
use super::problem::Problem;
use crate::cap::{MEDIA, told, write};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    update: Option<i64>,
}

pub async fn show(
    door: web::Data<Door>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let Asked { update } = query(&request)?;
    let app = &door.app;
    let (incident, _) = named(&door, &name).await?;
    let told = told::of(app.store.as_ref(), &app.config, incident.id).await?;
    let at = match update {
        None => told.len().checked_sub(1),
        Some(number) => told.iter().position(|told| told.id.number == number),
    };
    let alert = at.and_then(|at| write::alert(&app.config, incident.mode, &told, at));
    match alert {
        Some(alert) => {
            Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, format!("{MEDIA}; charset=utf-8"))).body(alert))
        }
        None => {
            Err(Problem::not_found("nothing of this was told to an audience of everyone, so there is no alert of it"))
        }
    }
}
