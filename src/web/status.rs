//! `/`: what everyone may know of what is open: what, since when, what to do, when to hear more. It says what was released to an
//! audience of everyone, not what was merely reported, and never shows an exercise.

use std::sync::Mutex;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::incidents::told;
use super::page::{self, Refused};
use crate::api::gate::Door;
use crate::cap::told::is_for_everyone;
use crate::clock::{Instant, Time};
use crate::incident::{Clearance, Incident, Mode, Status};
use crate::store::{Broadcast, BroadcastFilter, BroadcastState};

/// Incidents looked through, the newest first.
pub const MOST: usize = 100;

/// How long what has ended stays on the page.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// In the hour when everybody asks, the store is asked once a second.
pub const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Kept(Mutex<Option<(Instant, Value)>>);

impl Kept {
    fn get(&self, now: Instant) -> Option<Value> {
        let kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.as_ref().filter(|(at, _)| now.saturating_sub(*at) < FRESH).map(|(_, page)| page.clone())
    }

    fn set(&self, now: Instant, page: Value) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((now, page));
    }
}

pub async fn show(door: web::Data<Door>) -> Result<HttpResponse, Refused> {
    let now = door.app.clock.monotonic();
    let document = match door.web.status.get(now) {
        Some(kept) => kept,
        None => {
            let document = read(&door).await?;
            door.web.status.set(now, document.clone());
            document
        }
    };
    Ok(page::answer(StatusCode::OK, "status", document))
}

async fn read(door: &Door) -> Result<Value, Refused> {
    let app = &door.app;
    let now = app.clock.calendar();
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for incident in app.store.incidents(None, false, MOST).await? {
        if !is_shown(&incident, now) {
            continue;
        }
        let filter = BroadcastFilter { incident: Some(incident.id), ..Default::default() };
        let broadcasts = app.store.broadcasts(filter, 1000).await?;
        let released: Vec<&Broadcast> =
            broadcasts.iter().map(|(broadcast, _)| broadcast).filter(|broadcast| is_public(door, broadcast)).collect();
        let Some(latest) = released.iter().max_by_key(|broadcast| (broadcast.version, broadcast.id)) else { continue };
        let document = shown(door, latest, &released, incident.opened, now);
        match latest.facts.status.is_some_and(Status::ended) {
            true => ended.push(document),
            false => open.push(document),
        }
    }
    Ok(json!({ "sender": app.config.sender.name, "open": open, "ended": ended, "now": now, "public": true,
        "may_report": app.config.signals.public && !app.config.components.is_empty() }))
}

/// No exercise, and not over for long.
pub fn is_shown(incident: &Incident, now: Time) -> bool {
    incident.mode == Mode::Real && incident.closed.is_none_or(|closed| now.since(closed) <= REMEMBERED)
}

/// Said to everyone, and not taken back by a stop.
fn is_public(door: &Door, broadcast: &Broadcast) -> bool {
    is_for_everyone(&door.app.config, broadcast)
        && broadcast.released.is_some()
        && broadcast.state != BroadcastState::Cancelled
}

fn shown(door: &Door, latest: &Broadcast, released: &[&Broadcast], opened: Time, now: Time) -> Value {
    let facts = latest.facts.view(Clearance::Public);
    let mut document = told(&door.app.config, &facts, now);
    document["started"] = json!(facts.started_at.unwrap_or(opened));
    document["updated"] = json!(latest.released);
    let mut codes: Vec<&str> = released.iter().map(|broadcast| broadcast.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    document["codes"] = json!(codes);
    document["tone"] = json!(if document["ended"] == true { "good" } else { "bad" });
    document
}
