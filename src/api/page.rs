//! The small pages that a link in a message leads to: one with a button, one that says what was done, one for a link that is not
//! ours or no longer good. They load nothing, and
//! speak their reader's language, or mark which one they speak.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use handlebars::html_escape;

use super::gate::Door;
use super::problem::Problem;
use crate::id::SubscriberId;

/// In which language, as its tag, a page speaks.
pub struct Language<'a>(pub &'a str);

pub fn with_button(door: &Door, language: Language<'_>, title: &str, text: &str, button: &str) -> HttpResponse {
    let form = format!("<form method=\"post\"><button>{}</button></form>", html_escape(button));
    page(door, StatusCode::OK, language, title, text, &form)
}

pub fn saying(door: &Door, language: Language<'_>, title: &str, text: &str) -> HttpResponse {
    page(door, StatusCode::OK, language, title, text, "")
}

/// 404, in the sender's language: nobody knows whose link it was to be.
pub fn dead_link(door: &Door) -> HttpResponse {
    let senders = &door.app.config.sender.locale;
    let templates = door.app.templates.load();
    let (language, said) = templates.consent(senders, senders);
    page(door, StatusCode::NOT_FOUND, Language(language), &said.dead_link_title, &said.dead_link, "")
}

/// The language of whoever a link was sent to; the sender's, where they are gone.
pub async fn locale(door: &Door, subscriber: SubscriberId) -> Result<String, Problem> {
    let found = door.app.store.subscriber(subscriber).await?;
    Ok(found.map_or_else(|| door.app.config.sender.locale.clone(), |found| found.locale))
}

fn page(door: &Door, status: StatusCode, language: Language<'_>, title: &str, text: &str, form: &str) -> HttpResponse {
    let (sender, title, text) = (html_escape(&door.app.config.sender.name), html_escape(title), html_escape(text));
    let lang = html_escape(language.0);
    let style = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
        button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.3rem;background:#0b4f9c;color:#fff}\
        button:focus-visible{outline:3px solid #f5a623}";
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_LANGUAGE, language.0))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ))
        .body(format!(
            "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title} · {sender}</title><style>{style}</style></head>\
             <body><main><p>{sender}</p><h1>{title}</h1><p>{text}</p>{form}</main></body></html>"
        ))
}
