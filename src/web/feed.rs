//! `/feed/cap.xml`: what the public page says as alerts of CAP 1.2, for programs that show those of many senders. Of what is open,
//! and of what ended within a day; an alert has its place for as long as its incident is kept.

use std::sync::{Arc, Mutex};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

use super::status::{FRESH, MOST, is_shown};
use crate::api::{Problem, gate::Door};
use crate::cap::feed::{self, ATOM, Feed};
use crate::cap::{self, told, write};
use crate::clock::Instant;
use crate::id::UpdateId;
use crate::incident::Mode;

#[derive(Default)]
pub struct Kept(Mutex<Option<(Instant, Arc<Feed>)>>);

impl Kept {
    fn get(&self, now: Instant) -> Option<Arc<Feed>> {
        let kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.as_ref().filter(|(at, _)| now.saturating_sub(*at) < FRESH).map(|(_, feed)| feed.clone())
    }

    fn set(&self, now: Instant, feed: Arc<Feed>) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((now, feed));
    }
}

pub async fn show(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    Ok(answer(ATOM, current(&door).await?.atom.clone()))
}

pub async fn one(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::not_found("there is no alert of this name: /feed/cap.xml names those that there are");
    let id: UpdateId = id.parse().map_err(|_| missing())?;
    if let Some(alert) = current(&door).await?.alerts.get(&id) {
        return Ok(answer(cap::MEDIA, alert.clone()));
    }
    // An older one.
    let app = &door.app;
    let (incident, _) = app.store.incident(id.incident).await?.ok_or_else(missing)?;
    if incident.mode == Mode::Exercise {
        return Err(missing());
    }
    let told = told::of(app.store.as_ref(), &app.config, incident.id).await?;
    let at = told.iter().position(|told| told.id == id).ok_or_else(missing)?;
    let alert = write::alert(&app.config, incident.mode, &told, at).ok_or_else(missing)?;
    Ok(answer(cap::MEDIA, alert))
}

async fn current(door: &Door) -> Result<Arc<Feed>, Problem> {
    let app = &door.app;
    let now = app.clock.monotonic();
    if let Some(kept) = door.web.feed.get(now) {
        return Ok(kept);
    }
    let mut all = Vec::new();
    for incident in app.store.incidents(None, false, MOST).await? {
        if is_shown(&incident, app.clock.calendar()) {
            all.push(told::of(app.store.as_ref(), &app.config, incident.id).await?);
        }
    }
    let feed = Arc::new(feed::feed(&app.config, &all));
    door.web.feed.set(now, feed.clone());
    Ok(feed)
}

fn answer(media: &str, text: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format!("{media}; charset=utf-8")))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(text)
}
