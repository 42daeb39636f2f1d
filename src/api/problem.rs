//! What an error looks like from outside: a problem document of RFC 9457, with the place (`pointer`) where there is one. What
//! went wrong inside is logged, not told.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

use crate::ingest::IngestError;
use crate::ingest::event::BadEvent;
use crate::store::StoreError;

#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    /// The last part of `type`: `/docs/problems#<word>`.
    pub word: &'static str,
    pub title: &'static str,
    pub detail: String,
    /// A JSON pointer into the body, or the name of a header or parameter.
    pub pointer: Option<String>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, word: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, word, title, detail: detail.into(), pointer: None, retry_after: None }
    }

    /// 400, with the place; empty for the whole.
    pub fn bad(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        let bad = Problem::new(StatusCode::BAD_REQUEST, "bad-request", "What was sent can't be read", detail);
        Problem { pointer: Some(pointer.into()), ..bad }
    }

    pub fn unauthorized(detail: &str) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed", detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub fn method() -> Problem {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Problem::new(status, "method", "Not this method", "this place does not take that method")
    }

    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", "It contradicts what is there", detail)
    }

    pub fn too_large(limit: u64) -> Problem {
        let detail = format!("a body has at most {}", crate::quantity::Size(limit));
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    pub fn too_slow() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "Too slow", "the body did not come in time")
    }

    pub fn too_many(seconds: u64) -> Problem {
        let detail = "more requests than server.rate allows; wait as Retry-After says";
        let many = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail);
        Problem { retry_after: Some(seconds.max(1)), ..many }
    }

    /// 503: nothing was taken; the same again later is right.
    pub fn unavailable(detail: &str, seconds: u64) -> Problem {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem { retry_after: Some(seconds.max(1)), ..Problem::new(status, "unavailable", "Not now", detail) }
    }

    pub fn error(self) -> Result<HttpResponse, Problem> {
        Err(self)
    }

    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("/docs/problems#{}", self.word), "title": self.title, "status": self.status.as_u16(),
            "detail": self.detail,
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
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
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
            IngestError::Conflict { .. } | IngestError::ModeConflict { .. } => Problem::conflict(error.to_string()),
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
