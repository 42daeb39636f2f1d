//! `POST /v1/subscribers:import`: CSV (`text/csv`) or NDJSON (`application/x-ndjson`) of any size, streamed. `?verified=true`
//! vouches for the addresses, `?audience=…` is for rows that name none. Answers with the report when all is on disk.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use serde::Deserialize;

use super::body::query;
use super::gate::Door;
use super::problem::Problem;
use crate::audience::import::{Format, ImportError, Importer, Options, Report};

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
    // In a task of its own, since who hangs up ends the request: what came whole is written all the same.
    let importing = actix_web::rt::spawn(async move {
        loop {
            match tokio::time::timeout(PATIENCE, payload.next()).await {
                Ok(Some(Ok(chunk))) => importer.feed(&chunk).await?,
                Ok(None) => return Ok::<Report, Problem>(importer.finish().await?),
                Ok(Some(Err(_))) => {
                    let rows = importer.cut_off().await?.rows;
                    return Err(Problem::bad(
                        "",
                        format!("the body was cut off; of {rows} rows before, the good ones are imported"),
                    ));
                }
                Err(_) => {
                    importer.cut_off().await?;
                    return Err(Problem::too_slow());
                }
            }
        }
    });
    let report = importing.await.map_err(|_| Problem::unavailable("the import was ended", 1))??;
    Ok(HttpResponse::Ok().json(report))
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Problem {
        match error {
            ImportError::Header { .. } => Problem::bad("", error.to_string()),
            ImportError::Store(error) => error.into(),
        }
    }
}
