//! Signing in: a token with the scope `read`, shown once, for a cookie that scripts can't read and other sites can't send.

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::page::{self, Refused};
use super::session::{self, COOKIE, LASTS};
use crate::api::gate::Door;
use crate::api::{Problem, Scope, token_hash};

#[derive(Deserialize)]
pub struct Going {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct Shown {
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

pub async fn form(going: web::Query<Going>) -> HttpResponse {
    page::answer(StatusCode::OK, "sign-in", json!({ "next": within(&going.next), "signed_out": true }))
}

pub async fn sign_in(
    door: web::Data<Door>,
    request: HttpRequest,
    shown: web::Form<Shown>,
) -> Result<HttpResponse, Refused> {
    ours(&request)?;
    let hash = token_hash(shown.token.trim());
    let refuse = |status, why: &str| {
        let data = json!({ "next": within(&shown.next), "why": why, "signed_out": true });
        page::answer(status, "sign-in", data)
    };
    let Some(caller) = door.token(&hash).await? else {
        return Ok(refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            "This token is not known. Check that all of it was copied.",
        ));
    };
    if !caller.may(Scope::Read) {
        return Ok(refuse(StatusCode::UNPROCESSABLE_ENTITY, "This token has no scope read, which the console needs."));
    }
    let word = session::begin(&*door.app.store, hash, door.app.clock.calendar()).await.map_err(Problem::from)?;
    Ok(HttpResponse::SeeOther()
        .insert_header((LOCATION, within(&shown.next)))
        .cookie(cookie(&door, word, LASTS.as_secs() as i64))
        .finish())
}

pub async fn sign_out(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    ours(&request)?;
    if let Some(given) = request.cookie(COOKIE) {
        session::end(&*door.app.store, given.value()).await.map_err(Problem::from)?;
    }
    Ok(HttpResponse::SeeOther()
        .insert_header((LOCATION, "/console/sign-in"))
        .cookie(cookie(&door, String::new(), 0))
        .finish())
}

fn cookie(door: &Door, word: String, seconds: i64) -> Cookie<'static> {
    Cookie::build(COOKIE, word)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(door.app.config.public_url().starts_with("https://"))
        .max_age(time::Duration::seconds(seconds))
        .finish()
}

/// Where to go on: only within the console, whatever a link says.
fn within(next: &str) -> &str {
    let plain = next.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_-?=&.".contains(&b));
    let inside = next == "/console" || next.starts_with("/console/") || next.starts_with("/console?");
    if plain && inside && !next.starts_with("/console/sign") { next } else { "/console" }
}

/// A form of another site's is not taken: browsers say where a request comes from.
pub(super) fn ours(request: &HttpRequest) -> Result<(), Problem> {
    match request.headers().get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Problem::forbidden("This form was sent from another site.")),
    }
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn one_goes_on_within_the_console_and_nowhere_else() {
        for good in ["/console", "/console/incidents/inc_1", "/console/broadcasts/brd_1?message=2"] {
            assert_eq!(within(good), good);
        }
        for bad in [
            "",
            "//evil.example",
            "https://evil.example",
            "/console\\evil",
            "/consoles",
            "/v1/events",
            "/console/sign-out",
            "/console/\r\nset-cookie: a=b",
        ] {
            assert_eq!(within(bad), "/console", "{bad:?}");
        }
    }
}
