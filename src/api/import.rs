//! `POST /v1/subscribers:import`: CSV (`text/csv`) or NDJSON (`application/x-ndjson`) of any size, streamed. `?verified=true`
//! vouches for the addresses, `?audience=…` is for rows that name none. Answers with the report when all is on disk.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;

use super::body::query;
use super::gate::Door;
use super::problem::Problem;
use crate::audience::import::{Format, ImportError, Importer, Options};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    format: Option<Format>,
    #[serde(default)]
    verified: bool,
    audience: Option<String>,
}

/// How long the next piece of the file may take to come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub async fn subscribers(
    door: web::Data<Door>,
    request: HttpRequest,
    mut payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked: Asked = query(&request)?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = match (asked.format, content_type.split(';').next().unwrap_or_default().trim()) {
        (Some(format), _) => format,
        (None, "text/csv") => Format::Csv,
        (None, "application/x-ndjson" | "application/ndjson" | "application/jsonl") => Format::Ndjson,
        _ => return Err(Problem::bad("Content-Type", "is text/csv or application/x-ndjson")),
    };
    let app = &door.app;
    let options = Options::new(&app.config, door.platforms.validators(), asked.verified, asked.audience);
    let mut importer = Importer::new(format, options, app.store.clone(), Some(app.engine.clone()), app.clock.clone());
    loop {
        let chunk = tokio::time::timeout(PATIENCE, payload.next()).await.map_err(|_| Problem::too_slow())?;
        match chunk {
            Some(Ok(chunk)) => importer.feed(&chunk).await?,
            Some(Err(_)) => return Err(Problem::bad("", "the body was cut off; what came before is imported")),
            None => break,
        }
    }
    Ok(HttpResponse::Ok().json(importer.finish().await?))
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Problem {
        match error {
            ImportError::Header { .. } => Problem::bad("", error.to_string()),
            ImportError::Store(error) => error.into(),
        }
    }
}
