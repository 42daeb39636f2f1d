//! What an error looks like from outside: a problem document of RFC 9457, with the place (`pointer`) where there is one. What
//! went wrong inside is logged, not told.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

use super::kinds::{self, Kind};
use crate::ingest::IngestError;
use crate::ingest::event::BadEvent;
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub kind: &'static Kind,
    pub detail: String,
    /// A JSON pointer into the body, the path of an element of XML, or the name of a header or parameter.
    pub pointer: Option<String>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(kind: &'static Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), pointer: None, retry_after: None }
    }

    /// 400, with the place; empty for the whole.
    pub fn bad(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem { pointer: Some(pointer.into()), ..Problem::new(&kinds::BAD_REQUEST, detail) }
    }

    pub fn unauthorized(detail: &str) -> Problem {
        Problem::new(&kinds::UNAUTHORIZED, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(&kinds::FORBIDDEN, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(&kinds::NOT_FOUND, detail)
    }

    pub fn method() -> Problem {
        Problem::new(&kinds::METHOD, "this place does not take that method")
    }

    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(&kinds::CONFLICT, detail)
    }

    pub fn too_large(limit: u64) -> Problem {
        Problem::new(&kinds::TOO_LARGE, format!("a body has at most {}", crate::quantity::Size(limit)))
    }

    pub fn too_slow() -> Problem {
        Problem::new(&kinds::TOO_SLOW, "the body did not come in time")
    }

    /// `limit`: the key of the configuration that allows no more.
    pub fn too_many(limit: &str, seconds: u64) -> Problem {
        let detail = format!("more requests than {limit} allows; wait as Retry-After says");
        Problem { retry_after: Some(seconds.max(1)), ..Problem::new(&kinds::TOO_MANY_REQUESTS, detail) }
    }

    /// 503: nothing was taken; the same again later is right.
    pub fn unavailable(detail: &str, seconds: u64) -> Problem {
        Problem { retry_after: Some(seconds.max(1)), ..Problem::new(&kinds::UNAVAILABLE, detail) }
    }

    pub fn error(self) -> Result<HttpResponse, Problem> {
        Err(self)
    }

    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("/docs/problems#{}", self.kind.word), "title": self.kind.title,
            "status": self.kind.status.as_u16(), "detail": self.detail,
        });
        if let Some(pointer) = &self.pointer {
            document["pointer"] = json!(pointer);
        }
        document
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.kind.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if self.kind.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.body(self.document().to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        if !matches!(error, StoreError::Full) {
            tracing::error!(%error, "a request failed at the store");
        }
        Problem::unavailable("the store does not answer now", 1)
    }
}

impl From<BadEvent> for Problem {
    fn from(error: BadEvent) -> Problem {
        Problem::bad(error.pointer, error.message)
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Problem {
        match error {
            IngestError::Bad(bad) => bad.into(),
            IngestError::Conflict { .. } | IngestError::ModeConflict { .. } | IngestError::NotProposed { .. } => {
                Problem::conflict(error.to_string())
            }
            IngestError::Full { retry_after } => {
                Problem::unavailable("the queue is full", retry_after.as_millis().div_ceil(1000) as u64)
            }
            IngestError::Store(detail) => {
                tracing::error!(detail, "an event was not taken");
                Problem::unavailable("the store does not answer now", 1)
            }
        }
    }
}
