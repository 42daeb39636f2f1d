//! `POST /v1/send`: an event that a person sends by a plan of their choice, or its words to themselves alone. Body:
//! `{"event": {…}, "plan": "…", "to_me": "kind:address"}`; with `to_me` nothing is recorded and nobody else is told.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::body::Body;
use super::gate::Door;
use super::preview::Wish;
use super::problem::Problem;
use super::subscriber::challenge::{direct, random, said};
use super::token::{Caller, Scope};
use crate::channel::Parcel;
use crate::render::message::Fields;
use crate::{pipeline, preview};

pub async fn send(door: web::Data<Door>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Broadcast)?;
    let wish = Wish::read(&door, &caller, &body, &["to_me"])?;
    if wish.to_me.is_some() {
        return to_me(&door, wish).await;
    }
    let Ok(_room) = door.waiting.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("too many events wait for the store", 1));
    };
    let ingested = pipeline::ingest(&door.app, wish.event, wish.plan.as_deref()).await?;
    let answer = json!({
        "incident": ingested.incident, "key": ingested.key, "update": ingested.update,
        "broadcasts": ingested.broadcasts, "duplicate": ingested.duplicate, "late": ingested.late,
    });
    Ok(if ingested.duplicate { HttpResponse::Ok().json(answer) } else { HttpResponse::Accepted().json(answer) })
}

/// The words of each step to one address, in the language of the subscriber whose address it is.
async fn to_me(door: &Door, wish: Wish) -> Result<HttpResponse, Problem> {
    let Wish { event, plan, to_me } = wish;
    let (kind, value) = address(door, &to_me.unwrap_or_default())?;
    let app = &door.app;
    let whose = app.store.subscriber_by_address(&kind, &value).await?;
    let own = whose.as_ref().and_then(|s| s.addresses.iter().find(|a| a.kind == kind && a.value == value));
    if own.is_some_and(|own| own.suppressed) {
        return Err(Problem::conflict("the address is suppressed: nothing is sent to it"));
    }
    let mut secrets = own.map(|own| own.secrets.clone()).unwrap_or_default();
    if secrets.is_empty() && kind == "url" {
        // Nobody's webhook yet: signed so that it can be sent, with a key that no one knows.
        let fresh = crate::channel::webhook::new_secret();
        secrets = vec![fresh.map_err(|_| Problem::unavailable("no randomness", 1))?];
    }
    let (locale, zone) = match &whose {
        Some(subscriber) => (subscriber.locale.clone(), subscriber.zone.clone()),
        None => (app.config.sender.locale.clone(), app.config.sender.zone.clone()),
    };
    let Some((_, channel)) = app.channels.iter().find(|(_, channel)| channel.address_kind == kind) else {
        return Err(Problem::conflict(format!("no channel is set up that reaches a {kind} address")));
    };
    let drawn = preview::draw(app, &event, plan.as_deref()).await?;
    let mut sent = Vec::new();
    for draw in &drawn.draws {
        let audience = &draw.step.audience;
        let words = preview::write(app, &event, &drawn, draw, &locale, &zone, channel.format, channel.markup);
        let filled = match words {
            Ok(words) => words
                .message
                .fill(&Fields { name: whose.as_ref().and_then(|s| s.name.as_deref()), ..Fields::default() }),
            Err(error) => {
                sent.push(json!({ "audience": audience, "channel": channel.name, "outcome": "no_words", "detail": error.to_string() }));
                continue;
            }
        };
        let id = format!("msg_{}", random()?);
        let parcel = Parcel {
            id: id.clone(),
            broadcast: None,
            incident: None,
            to: value.as_str().into(),
            secrets: secrets.clone(),
            message: Arc::new(filled.into()),
            name: None,
            unsubscribe_url: None,
            urgent: false,
            follows: None,
            at: app.clock.calendar(),
        };
        let outcome = direct(door, &kind, parcel).await?;
        sent.push(json!({ "audience": audience, "channel": channel.name, "id": id, "outcome": outcome.word(), "detail": said(&outcome) }));
    }
    Ok(HttpResponse::Ok().json(json!({ "to_me": sent })))
}

/// `kind:address`, or an e-mail address, a phone number or a URL as it is.
fn address(door: &Door, text: &str) -> Result<(String, String), Problem> {
    let validators = door.platforms.validators();
    let named = text.split_once(':').filter(|(kind, _)| validators.contains_key(*kind));
    let (kind, value) = match named {
        Some((kind, value)) => (kind, value),
        None if text.starts_with("http://") || text.starts_with("https://") => ("url", text),
        None if text.starts_with('+') => ("phone", text),
        None if text.contains('@') => ("email", text),
        None => {
            let kinds: Vec<&str> = validators.keys().map(String::as_str).collect();
            return Err(Problem::bad("/to_me", format!("write kind:address, with kind one of {}", kinds.join(" "))));
        }
    };
    let validate = validators.get(kind).ok_or_else(|| Problem::bad("/to_me", format!("unknown kind {kind:?}")))?;
    let value = validate(value).map_err(|why| Problem::bad("/to_me", why))?;
    Ok((kind.into(), value))
}
