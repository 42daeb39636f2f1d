//! `POST /v1/subscribers:import`: a file of any size, streamed. CSV with a header row, or NDJSON (`application/x-ndjson`, or
//! `?format=ndjson`). Leaves: the report of the import; the good rows are on disk when it is answered.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;

use super::body::query;
use super::gate::Door;
use super::problem::Problem;
use crate::audience::import::{Format, ImportError, Importer, Options};

/// How long the next piece of a file may take to come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    format: Option<Format>,
    /// Addresses whose row does not say so count as verified.
    #[serde(default)]
    verified: bool,
    /// For rows that name none.
    audience: Option<String>,
}

pub async fn take(
    door: web::Data<Door>,
    request: HttpRequest,
    mut payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let Asked { format, verified, audience } = query(&request)?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = format.or_else(|| of_type(kind));
    let format = format
        .ok_or_else(|| Problem::bad("format", "say ?format=csv or ?format=ndjson, or a Content-Type of text/csv"))?;
    let app = &door.app;
    let options = Options {
        verified,
        audience,
        locale: app.config.sender.locale.clone(),
        zone: app.config.sender.zone.clone(),
        audiences: app.config.audiences.keys().cloned().collect(),
        validators: door.platforms.validators(),
    };
    let mut importer = Importer::new(format, options, app.store.clone(), Some(app.engine.clone()), app.clock.clone());
    while let Some(chunk) = tokio::time::timeout(PATIENCE, payload.next()).await.map_err(|_| Problem::too_slow())? {
        let chunk = chunk.map_err(|_| Problem::bad("", "the file was cut off; what came before is imported"))?;
        importer.feed(&chunk).await.map_err(refused)?;
    }
    let report = importer.finish().await.map_err(refused)?;
    Ok(HttpResponse::Ok().json(report))
}

fn of_type(content_type: &str) -> Option<Format> {
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/csv" => Some(Format::Csv),
        "application/x-ndjson" | "application/jsonl" | "application/ndjson" => Some(Format::Ndjson),
        _ => None,
    }
}

fn refused(error: ImportError) -> Problem {
    match error {
        ImportError::Header { .. } => Problem::bad("", error.to_string()),
        ImportError::Store(error) => error.into(),
    }
}
