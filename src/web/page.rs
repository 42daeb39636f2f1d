//! A page: a template of `pages/` over JSON, with the headers that let it load its own files and nothing else. What can't be
//! shown is said as a page too, and who is not signed in is led to the door.

use std::fmt;
use std::sync::OnceLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use handlebars::Handlebars;
use serde_json::{Value, json};

use super::files::{Pages, linked};
use super::words;
use crate::api::{Caller, Problem};
use crate::store::StoreError;

/// Its own style, script, pictures, stream and frames; nothing inline, nothing of anybody else's, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A mail as its reader sees it: styles of its own, and no script, no request, no origin.
const MAIL_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; base-uri 'none'; frame-ancestors 'self'";

/// A page of the console over `data`. `tab` marks where in the navigation it is.
pub fn console(caller: &Caller, name: &str, tab: &str, mut data: Value) -> HttpResponse {
    data["at"] = json!({ (tab): true });
    data["reader"] = json!((!caller.is_local()).then_some(&caller.name));
    answer(StatusCode::OK, name, data)
}

/// The page `name` over `data`.
pub fn answer(status: StatusCode, name: &str, mut data: Value) -> HttpResponse {
    data["style"] = json!(linked("console.css"));
    data["script"] = json!(linked("console.js"));
    data["icon"] = json!(linked("icon.svg"));
    match registry().render(name, &data) {
        Ok(html) => headed(status, POLICY).body(html),
        Err(error) => {
            tracing::error!(%error, page = name, "a page could not be written");
            headed(StatusCode::INTERNAL_SERVER_ERROR, POLICY).body("This page could not be written.")
        }
    }
}

pub fn mail(html: String) -> HttpResponse {
    headed(StatusCode::OK, MAIL_POLICY).body(html)
}

fn headed(status: StatusCode, policy: &str) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "same-origin"))
        .insert_header(("x-content-type-options", "nosniff"));
    response
}

fn registry() -> &'static Handlebars<'static> {
    static REGISTRY: OnceLock<Handlebars<'static>> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut registry = Handlebars::new();
        words::register(&mut registry);
        for (name, text) in Pages::all() {
            // They are in the binary, and a test renders each.
            if let Err(error) = registry.register_template_string(&name, text) {
                tracing::error!(%error, name, "a page of this binary can't be read");
            }
        }
        registry
    })
}

/// What stands in for a page that can't be shown.
#[derive(Debug)]
pub struct Refused {
    problem: Problem,
    /// Where the reader was going.
    path: String,
}

impl Refused {
    pub fn at(path: &str, problem: Problem) -> Refused {
        Refused { problem, path: path.into() }
    }
}

/// Whether people rather than programs look at this place.
pub fn is_page(path: &str) -> bool {
    let within = |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == "/" || path == "/report" || within("/console") || within("/docs")
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused::at("/console", problem)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        Problem::from(error).into()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.problem.kind.status
    }

    fn error_response(&self) -> HttpResponse {
        if self.problem.kind.status == StatusCode::UNAUTHORIZED && self.path.starts_with("/console") {
            let to = format!("/console/sign-in?next={}", words::encoded(&self.path));
            return HttpResponse::SeeOther()
                .insert_header((LOCATION, to))
                .insert_header((CACHE_CONTROL, "no-store"))
                .finish();
        }
        let data = json!({ "heading": self.problem.kind.title, "text": self.problem.detail,
            "forbidden": self.problem.kind.status == StatusCode::FORBIDDEN });
        let mut response = answer(self.problem.kind.status, "refused", data);
        if let Some(seconds) = self.problem.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub async fn nothing_here() -> Result<HttpResponse, Refused> {
    Err(Problem::not_found("There is no such page.").into())
}
